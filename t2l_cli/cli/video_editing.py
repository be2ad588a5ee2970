"""One edit of a video, from the parameters to files: atlas -> a training per layer -> frames with the edit on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from t2l_cli.cli.bars import duration
from t2l_cli.cli.editing import absolute, introduce, load_eyes, optimise
from t2l_cli.cli.fitted_atlas import fitted_atlas
from t2l_cli.cli.fitting import FitRequest
from t2l_cli.cli.interrupt import Interruption, exit_code
from t2l_cli.cli.naming import claimed, default_output
from t2l_cli.cli.pixels import bytes_of, picture_bytes, tensor_of
from t2l_cli.cli.run_record import RunDir, Timings, check_run_dir, describe, spared, write_record
from t2l_cli.cli.settings import Earlier, read_run
from t2l_cli.cli.terminal import Terminal
from t2l_cli.cli.videos import Excerpt, codec_of, frames_in_memory, open_atlas, open_clip
from t2l_cli.config import EditConfig
from t2l_cli.errors import DivergedError, RequestError, T2LError
from t2l_cli.media.compositing import rgba
from t2l_cli.media.encode import Codec, VideoWriter, check_video_output
from t2l_cli.media.output import check_output, save_layer
from t2l_cli.media.paths import shown
from t2l_cli.progress import counted
from t2l_cli.settings import VIDEO, edit_config

if TYPE_CHECKING:
    from t2l_cli.engine.atlas.model import Atlas, LayerName
    from t2l_cli.engine.layers import EditLayer

_LAYERS = ("foreground", "background")


@dataclass(frozen=True)
class VideoRequest:
    """One checked command line; ``configs`` has an entry for each layer that is edited."""

    source: str
    output: Path
    configs: dict[str, EditConfig]
    codec: Codec
    overwrite: bool
    run_dir: Path | None
    atlas: Path | None
    resolution: int | None
    frames: str | None
    fit: FitRequest  # without an atlas
    clip_weights: Path | None
    offline: bool

    def layer_file(self, name: str) -> Path:
        """Where the painted atlas layer goes: beside the video."""
        return self.output.with_name(f"{self.output.stem}-{name}.png")


def checked(flags: Mapping[str, Any], settings: Mapping[str, Any]) -> VideoRequest:
    """The request that the command's parameters make; RequestError where it cannot be carried out."""
    earlier = Earlier() if flags["config"] is None else read_run(flags["config"])
    source = flags["clip_path"] or earlier.source
    if source is None:
        raise RequestError('name a video and say what it should show: t2l edit-video video.mp4 "rusty car".')
    prompts = _prompts(flags, earlier)
    own = {setting.name: settings[setting.name] for setting in VIDEO.settings}
    configs = {name: edit_config(VIDEO, texts, flags["preset"], own, earlier.config) for name, texts in prompts.items()}
    codec = codec_of(flags["codec"])
    first = next(iter(prompts.values()))[0]
    suffix = ".mov" if codec == "prores" else ".mp4"
    output = Path(flags["output"] or default_output(source, first, suffix))
    atlas = flags["atlas"] or (None if earlier.atlas is None else Path(earlier.atlas))
    if atlas is not None and not os.path.exists(atlas):
        raise RequestError(f"there is no atlas {shown(atlas)}.")
    for option in ("mask", "mask_class"):
        if atlas is not None and flags[option] is not None:
            name = "--atlas" if flags["atlas"] is not None else f"the atlas of --config, {shown(atlas)}"
            raise RequestError(
                f"--{option.replace('_', '-')} helps to fit an atlas and does nothing beside {name}: leave one out."
            )
    weights = flags["clip_weights"] or earlier.clip_weights
    if weights is not None and not os.path.isfile(weights):
        raise RequestError(f"there is no file {shown(weights)} for --clip-weights.")
    if flags["mask"] is not None and not os.path.exists(flags["mask"]):
        raise RequestError(f"there is no mask {shown(flags['mask'])}.")
    request = VideoRequest(
        source=str(source),
        output=output,
        configs=configs,
        codec=codec,
        overwrite=flags["overwrite"],
        run_dir=flags["run_dir"],
        atlas=atlas,
        resolution=flags["resolution"],
        frames=flags["frames"],
        fit=_fit_request(flags, str(source), next(iter(configs.values())).device),
        clip_weights=None if weights is None else Path(weights),
        offline=flags["offline"],
    )
    _check_outputs(request, (source, atlas, weights, flags["mask"], flags["config"]))
    return request


def _check_outputs(request: VideoRequest, inputs: tuple[str | Path | None, ...]) -> None:
    """RequestError where one of the request's outputs cannot or should not be written."""
    files = [request.layer_file(name) for name in request.configs]
    check_video_output(request.output, request.overwrite, *inputs, codec=request.codec)
    for file in files:
        check_output(file, request.overwrite, *inputs)
    if request.run_dir is not None:
        check_run_dir(request.run_dir, request.overwrite, inputs, [request.output, *files])


def _fit_request(flags: Mapping[str, Any], source: str, device: str) -> FitRequest:
    """The fit that is made where no atlas is given; RequestError where it cannot be."""
    fit = FitRequest(
        Path(source),
        Path(),
        mask=flags["mask"],
        mask_class=flags["mask_class"],
        flow=flags["flow"],
        preset=flags["fit_preset"],
        device=device,
        offline=flags["offline"],
    )
    fit.config()
    return fit


def _prompts(flags: Mapping[str, Any], earlier: Earlier) -> dict[str, tuple[str, ...]]:
    """Layer -> prompts, from PROMPT and --layer, from --foreground and --background, or from an earlier run."""
    named: dict[str, tuple[str, ...]] = {name: (flags[name],) for name in _LAYERS if flags[name] is not None}
    if flags["layer"] not in (None, *_LAYERS):
        raise RequestError(f"--layer must be foreground or background, not {flags['layer']!r}.")
    if flags["prompts"]:
        if named:
            raise RequestError("give prompts either as PROMPT with --layer, or by --foreground and --background.")
        return {flags["layer"] or "foreground": tuple(flags["prompts"])}
    if named or earlier.layers:
        return named or earlier.layers or {}
    raise RequestError('say what the video should show: t2l edit-video video.mp4 "rusty car".')


def run(request: VideoRequest, terminal: Terminal) -> None:
    """Carry ``request`` out; the result so far is written, too, after Ctrl-C and after a divergence."""
    timings = Timings()
    with claimed(request.output, request.run_dir), Interruption(terminal.quiet) as interruption:
        excerpt = open_clip(request.source, request.frames, terminal)
        device = next(iter(request.configs.values())).device
        if request.atlas is None:
            atlas = fitted_atlas(excerpt, request.fit, terminal, interruption)
        else:
            atlas = open_atlas(request.atlas, excerpt, terminal, request.resolution, device)
        timings.lap("atlas")
        painted = _paint(request, excerpt, atlas, terminal, interruption)
        timings.lap("optimise")
        written = _write(request, excerpt, atlas, painted.layers, terminal)
        timings.lap("finish")
        record = next(iter(painted.records.values())) | {
            "command": "edit-video",
            "ended": "diverged" if painted.failure else "interrupted" if interruption.requested else "done",
            "source": absolute(request.source),
            "output": absolute(request.output),
            "frames": list(excerpt.span),
            "atlas": None if request.atlas is None else absolute(request.atlas),
            "clip_weights": None if request.clip_weights is None else absolute(request.clip_weights),
            "layers": {name: list(request.configs[name].prompts) for name in painted.records},
            "details": painted.records,
            "seconds": timings.seconds,
        }
        if request.run_dir is not None:
            with spared(request.run_dir, terminal.warn):
                write_record(request.run_dir, record)
        terminal.note(
            f"{duration(timings.seconds['optimise'])} of training, {duration(timings.seconds['finish'])} to map it back"
        )
        terminal.result(written, record)
    if painted.failure:
        raise painted.failure
    if interruption.requested:
        raise typer.Exit(exit_code(interruption.requested))


@dataclass
class _Painted:
    """The edit layers that were trained, by name, what is to be said of each, and the divergence that ended it."""

    layers: dict[str, EditLayer] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    failure: DivergedError | None = None


def _paint(
    request: VideoRequest, excerpt: Excerpt, atlas: Atlas, terminal: Terminal, interruption: Interruption
) -> _Painted:
    """Train the layers that are asked for, one after the other, until an interruption or a divergence.

    Where that comes before the first step of the first one, it is raised: there is nothing to keep.
    """
    from t2l_cli.engine.video import VideoEdit

    painted = _Painted()
    frames = frames_in_memory(excerpt)
    shared = next(iter(request.configs.values()))
    video, runtime, sha256 = load_eyes(shared, request.clip_weights, request.offline, terminal)
    for name, config in request.configs.items():
        edit = VideoEdit(frames, atlas, cast("LayerName", name), video, config, runtime)
        terminal.note(f"the {name}:")
        introduce(edit, terminal)
        run_dir = None if request.run_dir is None else RunDir(request.run_dir / name, terminal.warn)
        interruption.be_patient()
        if interruption.requested:  # while this layer was prepared; those before it are kept
            break
        last, painted.failure = optimise(edit, terminal, interruption, run_dir)
        if last is not None:
            painted.layers[name] = layer = edit.result()
            painted.records[name] = describe(edit, sha256, last, "edit-video")
            if run_dir is not None:
                run_dir.keep_layer(rgba(*bytes_of(layer)).whole())
        if painted.failure or interruption.requested:
            break
    if painted.failure and not painted.layers:
        raise painted.failure
    return painted


def _write(
    request: VideoRequest, excerpt: Excerpt, atlas: Atlas, layers: dict[str, EditLayer], terminal: Terminal
) -> list[Path]:
    """Write the video and the painted atlas layers; the paths written. Where the video cannot be, the layers stay."""
    written = [request.output]
    quantised = {}
    for name, layer in layers.items():
        pixels = bytes_of(layer)
        quantised[name] = layer_of(*pixels)
        save_layer(request.layer_file(name), rgba(*pixels), request.overwrite)
        written.append(request.layer_file(name))
    try:
        map_back(excerpt, atlas, quantised, request.output, request.codec, request.overwrite, terminal)
    except T2LError:
        kept = ", ".join(shown(file) for file in written[1:])
        terminal.warn(f"what was painted is kept: {kept}; t2l composite lays it over the video")
        raise
    except BaseException:
        for file in written[1:]:
            with contextlib.suppress(OSError):
                file.unlink()
        raise
    return written


def layer_of(rgb: Any, alpha: Any) -> EditLayer:
    """A picture's layer from its bytes (H, W, 3) and (H, W)."""
    from t2l_cli.engine.layers import EditLayer

    return EditLayer(tensor_of(rgb)[None], tensor_of(alpha)[None])


def map_back(
    excerpt: Excerpt,
    atlas: Atlas,
    layers: Mapping[str, EditLayer],
    output: Path,
    codec: Codec,
    overwrite: bool,
    terminal: Terminal,
) -> None:
    """Lay painted atlas ``layers`` over the video, frame by frame; with codec prores the edit alone."""
    from t2l_cli.engine.atlas.mapping import Mapper

    mapper = Mapper(atlas, layers.get("foreground"), layers.get("background"))
    with (
        VideoWriter(output, excerpt.info, codec, excerpt.span, overwrite) as writer,
        counted(excerpt.read(), excerpt.frames, "mapping back", terminal) as frames,
    ):
        for t, frame in enumerate(frames):
            if codec == "prores":
                writer.write(frame, *bytes_of(mapper.layer(t)))
            else:
                writer.write(frame, picture_bytes(mapper.over(tensor_of(frame.rgb), t)))
    for note in writer.notes:
        terminal.note(f"note: {note}")
