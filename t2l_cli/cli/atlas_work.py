"""The work of render-atlas and fit-atlas: from a checkpoint or a clip to an atlas folder with its previews."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from t2l_cli.cli.clips import Excerpt, frames_in_memory, open_atlas, open_clip
from t2l_cli.cli.interrupt import Interruption
from t2l_cli.cli.naming import claimed
from t2l_cli.cli.pixels import picture_bytes, tensor_of
from t2l_cli.cli.progress import track
from t2l_cli.cli.run_record import check_run_dir, write_record
from t2l_cli.cli.terminal import INTERRUPTED, Terminal
from t2l_cli.config import FitConfig, fit_preset
from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media.encode import ClipWriter
from t2l_cli.media.images import load_mask, save_picture
from t2l_cli.media.output import FORMATS
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.videos import ClipInfo, Frame, probe

if TYPE_CHECKING:
    from torch import Tensor

    from t2l_cli.engine.atlas.fit import AtlasFit
    from t2l_cli.engine.atlas.masks import FrameMask
    from t2l_cli.engine.atlas.model import Atlas

SQUARE = 0.06  # of the frame's shorter side: a square of the checkerboard


def render(
    path: Path,
    output: Path,
    clip: Path | None,
    frames: str | None,
    resolution: int | None,
    device: str,
    overwrite: bool,
    terminal: Terminal,
) -> None:
    """Write the atlas folder ``output`` with its previews, and say how well it holds the clip."""
    from t2l_cli.atlases.store import check_atlas_output, is_atlas_folder, save_atlas

    check_atlas_output(output, overwrite)
    excerpt = None if clip is None else open_clip(clip, frames, terminal)
    with claimed(output):
        atlas = open_atlas(path, excerpt, terminal, resolution, device)
        record: dict[str, Any] = {"command": "render-atlas", "atlas": str(path), "clip": dataclasses.asdict(atlas.clip)}
        if excerpt is not None:
            record["psnr"] = round_trip(atlas, excerpt)
            origin = atlas.origin | {"round_trip_psnr": record["psnr"]}
            atlas = dataclasses.replace(atlas, clip=excerpt.identity(), origin=origin)
            terminal.note(f"rebuilt from the atlas, the clip has a PSNR of {record['psnr']:.1f} dB")
        elif not is_atlas_folder(path):
            terminal.note(f"taken to be of {atlas.clip.frames} frames; --clip-file checks that, and how well it fits")
        save_atlas(atlas, output, overwrite)
        previews(atlas, output)
    terminal.result([output], record)


def round_trip(atlas: Atlas, excerpt: Excerpt) -> float:
    """Mean PSNR, in dB, of the clip rebuilt from the atlas."""
    from t2l_cli.engine.atlas.discretize import round_trip as one

    figures = [one(atlas, tensor_of(frame.rgb), t) for t, frame in enumerate(excerpt.read())]
    return round(sum(figures) / len(figures), 2)


def previews(atlas: Atlas, folder: Path) -> None:
    """Write alpha.png, the opacity of the middle frame, and checkerboard.mp4 into ``folder``."""
    from fractions import Fraction

    from t2l_cli.engine.atlas.mapping import Mapper, reconstruct
    from t2l_cli.engine.atlas.quality import checkerboard

    clip = atlas.clip
    save_picture(folder / "alpha.png", picture_bytes(atlas.alpha[clip.frames // 2].expand(3, -1, -1)), overwrite=True)
    side = max(4.0, SQUARE * min(clip.width, clip.height))
    boards = [checkerboard(layer, side) for layer in (atlas.foreground, atlas.background)]
    half = [dataclasses.replace(board, alpha=board.alpha * 0.5) for board in boards]
    mapper = Mapper(atlas, *half)
    rate = Fraction(clip.rate or 25).limit_denominator(1001)
    info = ClipInfo(folder, clip.width, clip.height, clip.frames, rate, 1 / rate, audio=False, names=(), notes=())
    with ClipWriter(folder / "checkerboard.mp4", info, overwrite=True) as writer:
        for t in range(clip.frames):
            picture = picture_bytes(mapper.over(reconstruct(atlas, t), t))
            writer.write(Frame(picture, t, 1), picture)


@dataclass(frozen=True)
class FitRequest:
    """One command line of fit-atlas."""

    clip: Path
    output: Path
    frames: str | None = None
    mask: Path | None = None
    mask_frame: int = 0
    preset: str = "standard"
    size: int | None = None
    visits: int | None = None
    seed: int | None = None
    device: str | None = None
    threads: int | None = None
    run_dir: Path | None = None
    overwrite: bool = False

    def config(self) -> FitConfig:
        """The fit's settings; RequestError where one is out of range."""
        preset = fit_preset(self.preset)
        return dataclasses.replace(
            preset,
            size=preset.size if self.size is None else self.size,
            visits=preset.visits if self.visits is None else self.visits,
            seed=preset.seed if self.seed is None else self.seed,
            device=self.device or preset.device,
        )


def fit(request: FitRequest, terminal: Terminal) -> None:
    """Fit an atlas to a clip and write its folder; also after Ctrl-C, as far as it is."""
    from t2l_cli.atlases.store import check_atlas_output, save_atlas

    config = request.config()
    check_atlas_output(request.output, request.overwrite)
    if request.run_dir is not None:
        check_run_dir(request.run_dir, request.overwrite)
    with claimed(request.output), Interruption(terminal.quiet) as interruption:
        excerpt = open_clip(request.clip, request.frames, terminal)
        work = fitting(excerpt, config, request, terminal, interruption)
        atlas, quality = work.result(), work.quality()
        save_atlas(atlas, request.output, request.overwrite)
        previews(atlas, request.output)
        record = {
            "command": "fit-atlas",
            "source": str(request.clip.absolute()),
            "output": str(request.output.absolute()),
            "frames": list(excerpt.span),
            "config": dataclasses.asdict(config),
            "found_foreground": work.found_foreground,
            "quality": dataclasses.asdict(quality),
            "ended": "interrupted" if interruption.requested else "done",
        }
        write_record(request.output, record)
        if request.run_dir is not None:
            _keep(request.run_dir, work, atlas, record)
        report(quality, terminal)
        terminal.result([request.output], record)
        if interruption.requested:
            raise typer.Exit(INTERRUPTED)


def fitting(
    excerpt: Excerpt, config: FitConfig, request: FitRequest, terminal: Terminal, interruption: Interruption
) -> AtlasFit:
    """Run the fit to its end or to an interruption that leaves something to show."""
    import torch

    from t2l_cli.engine.atlas.fit import AtlasFit

    if request.threads is not None:
        if not 1 <= request.threads <= 1024:
            raise RequestError(f"--threads must be between 1 and 1024, not {request.threads}.")
        torch.set_num_threads(request.threads)
    masks = None if request.mask is None else _masks(request.mask, request.mask_frame, excerpt)
    work = AtlasFit(frames_in_memory(excerpt), config, excerpt.identity(), masks)
    height, width = work.size
    terminal.note(f"fitting an atlas to {excerpt.frames} frames at {width} x {height}, seed {config.seed}")
    interruption.be_patient()
    told = False
    with contextlib.closing(track(iter(work), terminal)) as steps:
        for _ in steps:
            if work.ready and not told:
                told = True
                if not work.found_foreground:
                    terminal.warn("nothing moves but the camera: the background alone is fitted; --mask says otherwise")
            if interruption.requested:
                if not work.ready:
                    raise KeyboardInterrupt
                break
    return work


def report(quality: Any, terminal: Terminal) -> None:
    """Say how good the atlas is, and what would help."""
    terminal.note(
        f"rebuilt from the atlas: {quality.psnr:.1f} dB; points stay on their place within {quality.residual:.2f} px"
    )
    for line in quality.advice:
        terminal.note(f"advice: {line}")


def _masks(path: Path, frame: int, excerpt: Excerpt) -> Tensor | FrameMask:
    """The user's mask: one picture for ``frame``, or a clip or folder with one for every frame of the clip."""
    import torch

    from t2l_cli.engine.atlas.masks import FrameMask

    info = excerpt.info
    if path.is_file() and path.suffix.lower() in {*FORMATS, ".gif"}:
        at = frame - excerpt.span[0]
        return FrameMask(at, torch.from_numpy(load_mask(path, (info.width, info.height))))
    own = probe(path)
    if own.frames != info.frames:
        raise RequestError(f"{shown(path)} has {own.frames} masks, the clip {info.frames} frames; give one a frame.")
    frames = Excerpt(own, excerpt.span).read()
    return torch.stack([torch.from_numpy(f.rgb).float().mean(2).round().to(torch.uint8) for f in frames])


def _keep(folder: Path, work: AtlasFit, atlas: Atlas, record: dict[str, Any]) -> None:
    """Write what a person can judge the fit by: the mask, the flow and the rebuilt clip, five frames of each."""
    from t2l_cli.engine.atlas.flow import flow_picture
    from t2l_cli.engine.atlas.mapping import reconstruct

    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"could not write to --run-dir {shown(folder)}: {reason(error)}.") from error

    def save(name: str, t: int, picture: Tensor) -> None:
        save_picture(folder / f"{name}-{t:05d}.png", picture_bytes(picture), overwrite=True)

    last = atlas.clip.frames - 1
    for t in sorted({round(k * last / 4) for k in range(5)}):
        save("mask", t, work.masks[t].float().expand(3, -1, -1) / 255)
        save("alpha", t, atlas.alpha[t].expand(3, -1, -1))
        save("rebuilt", t, reconstruct(atlas, t))
        if t < last:
            save("flow", t, flow_picture(work.flow.forward[t]))
    write_record(folder, record)
