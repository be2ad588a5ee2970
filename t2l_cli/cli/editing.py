"""One edit, from the parameters to files: config -> picture and CLIP -> the engine's steps -> layer over the photo.

Imported by a command that has work to do: it brings the picture libraries, and torch once the picture is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from t2l_cli.cli.bars import duration
from t2l_cli.cli.interrupt import Interruption, exit_code
from t2l_cli.cli.naming import default_output
from t2l_cli.cli.pixels import planes_of, rows_of
from t2l_cli.cli.run_record import RunDir, Timings, check_run_dir, describe
from t2l_cli.cli.settings import Earlier, read_run
from t2l_cli.cli.terminal import Terminal
from t2l_cli.config import EditConfig
from t2l_cli.errors import DivergedError, RequestError
from t2l_cli.media.compositing import over
from t2l_cli.media.images import Picture, check_output, load_mask, load_picture, save_picture
from t2l_cli.media.paths import shown
from t2l_cli.progress import downloading, tracked
from t2l_cli.settings import PHOTO, edit_config

if TYPE_CHECKING:
    from t2l_cli.engine.clip import Clip
    from t2l_cli.engine.edit import Edit
    from t2l_cli.engine.optimize import Step
    from t2l_cli.engine.photo import PhotoEdit
    from t2l_cli.engine.runtime import Runtime


@dataclass(frozen=True)
class Request:
    """One checked command line."""

    source: str
    output: Path
    config: EditConfig
    overwrite: bool
    run_dir: Path | None
    mask: str | None
    clip_weights: Path | None
    offline: bool


def checked(flags: Mapping[str, Any], settings: Mapping[str, Any]) -> Request:
    """The request that the command's parameters make; RequestError where it cannot be carried out."""
    earlier = Earlier() if flags["config"] is None else read_run(flags["config"])
    source = flags["image"] or earlier.source
    if source is None:
        raise RequestError('name a photo and say what it should show: t2l edit-image photo.jpg "crochet swan".')
    config = edit_config(PHOTO, tuple(flags["prompts"] or ()), flags["preset"], settings, earlier.config)
    mask = flags["mask"] or earlier.mask
    if source == "-" and str(mask) == "-":
        raise RequestError("the picture and the mask cannot both come from the standard input.")
    output = flags["output"] or default_output(source, config.prompts[0])
    if str(output) == "-" and flags["as_json"]:
        raise RequestError("-o - and --json both write to the standard output; choose one.")
    weights = flags["clip_weights"] or earlier.clip_weights
    if weights is not None and not os.path.isfile(weights):
        raise RequestError(f"there is no file {shown(weights)} for --clip-weights.")
    inputs = (source, mask, flags["config"], weights)
    check_output(output, flags["overwrite"], *inputs)
    if flags["run_dir"] is not None:
        check_run_dir(flags["run_dir"], flags["overwrite"], inputs, [Path(output)])
    return Request(
        source=source,
        output=Path(output),
        config=config,
        overwrite=flags["overwrite"],
        run_dir=flags["run_dir"],
        mask=None if mask is None else str(mask),
        clip_weights=None if weights is None else Path(weights),
        offline=flags["offline"],
    )


def run(request: Request, terminal: Terminal) -> None:
    """Carry ``request`` out; the result so far is written, too, after Ctrl-C and after a divergence."""
    timings = Timings()
    with Interruption(terminal.quiet) as interruption:
        picture, edit, weights = _prepare(request, terminal)
        timings.lap("start")
        run_dir = None if request.run_dir is None else RunDir(request.run_dir, terminal.warn)
        interruption.be_patient()
        last, failure = optimise(edit, terminal, interruption, run_dir)
        if last is None:
            raise failure or KeyboardInterrupt
        timings.lap("optimise")
        record = describe(edit, weights, last)
        record["ended"] = "diverged" if failure else "interrupted" if interruption.requested else "done"
        _finish(request, terminal, picture, edit, record, run_dir, timings)
    if failure:
        raise failure
    if interruption.requested:
        raise typer.Exit(exit_code(interruption.requested))


def _prepare(request: Request, terminal: Terminal) -> tuple[Picture, PhotoEdit, str | None]:
    """Read the picture and CLIP, in this order: what is quickly found wrong is said before torch is imported."""
    picture = load_picture(request.source)
    for note in picture.notes:
        terminal.note(f"note: {note}")
    check_output(request.output, request.overwrite, size=picture.size)
    mask = None if request.mask is None else load_mask(request.mask, picture.size)
    config = request.config
    clip, runtime, sha256 = load_eyes(config, request.clip_weights, request.offline, terminal)

    from t2l_cli.engine.photo import PhotoEdit

    edit = PhotoEdit(planes_of(picture.rgb), clip, config, runtime, None if mask is None else planes_of(mask))
    introduce(edit, terminal)
    return picture, edit, sha256


def load_eyes(
    config: EditConfig, weights: Path | None, offline: bool, terminal: Terminal
) -> tuple[Clip, Runtime, str | None]:
    """CLIP on the device that ``config`` asks for, with a download shown; the runtime; the weights' SHA-256."""
    from t2l_cli.engine.clip import Clip
    from t2l_cli.engine.runtime import resolve
    from t2l_cli.weights.loading import load_clip
    from t2l_cli.weights.registry import MINI, MINI_ABOUT

    if config.clip == MINI:
        terminal.note(MINI_ABOUT)
    runtime = resolve(config.device, config.precision)
    with downloading(config.clip, terminal) as tell:
        loaded = load_clip(config.clip, weights, offline, tell)
    return Clip(loaded.model, loaded.tokenizer, runtime.device, runtime.dtype), runtime, loaded.sha256


def introduce(edit: Edit, terminal: Terminal) -> None:
    """Say what was chosen for the user."""
    config = edit.config
    height, width = edit.size
    terminal.note(
        f"{config.clip} on {edit.runtime.device}, training at {width} x {height}, "
        f"{edit.n_steps} steps, {config.views.n_views} views, seed {config.seed}"
    )
    if edit.roi_chosen and edit.roi:
        terminal.note(f'what is there now: "{edit.roi}" (chosen by CLIP; --roi says otherwise)')
    elif edit.roi_chosen:
        terminal.note("what is there now: CLIP finds none of the prompt's words in the picture; --roi names it")


def optimise(
    edit: Edit, terminal: Terminal, interruption: Interruption, run_dir: RunDir | None
) -> tuple[Step | None, DivergedError | None]:
    """Run the steps to their end, an interruption or a divergence; the last step that was done, and the divergence."""
    last = None
    try:
        with tracked(edit, terminal) as steps:
            for step in steps:
                last = step
                if run_dir is not None:
                    run_dir.add(step, edit)
                if interruption.requested:
                    break
    except DivergedError as error:
        return last, error
    if edit.tries:
        scores = ", ".join(f"{one.score:.3f} (seed {one.seed})" for one in edit.tries)
        terminal.note(f"tries by CLIP's judgement: {scores}; seed {edit.seed} was continued")
    return last, None


def _finish(
    request: Request,
    terminal: Terminal,
    picture: Picture,
    edit: PhotoEdit,
    record: dict[str, Any],
    run_dir: RunDir | None,
    timings: Timings,
) -> None:
    """Write the composite and, with --run-dir, all the rest; then say where."""
    layer = rows_of(edit.full_layer())
    rgb = over(layer, picture.rgb)
    notes = save_picture(request.output, rgb, picture.alpha, picture.icc, picture.exif, request.overwrite)
    timings.lap("finish")
    record |= {
        "source": absolute(request.source),
        "output": absolute(request.output),
        "mask": None if request.mask is None else absolute(request.mask),
        "clip_weights": None if request.clip_weights is None else absolute(request.clip_weights),
        "picture_size": list(picture.size),
        "seconds": timings.seconds,
    }
    if run_dir is not None:
        run_dir.finish(record, picture, layer, request.output)
    for note in notes:
        terminal.note(f"note: {note}")
    terminal.note(f"{record['steps_done']} steps in {duration(timings.seconds['optimise'])}, seed {edit.seed}")
    if str(request.output) != "-":
        terminal.result([request.output], record)


def absolute(path: str | Path) -> str:
    """``path`` for the record: absolute; "-" stays."""
    return "-" if str(path) == "-" else str(Path(path).absolute())
