"""The work of render-atlas and fit-atlas: from a checkpoint or a video to an atlas folder with its previews."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from t2l_cli.cli.fit_state import FitState
from t2l_cli.cli.fitting import FitRequest, fitting, report
from t2l_cli.cli.interrupt import Interruption, exit_code
from t2l_cli.cli.naming import claimed
from t2l_cli.cli.pixels import picture_bytes, tensor_of
from t2l_cli.cli.run_record import check_run_dir, spared, write_record
from t2l_cli.cli.terminal import Terminal
from t2l_cli.cli.videos import Excerpt, open_atlas, open_clip
from t2l_cli.errors import OutputError, T2LError
from t2l_cli.media.encode import VideoWriter
from t2l_cli.media.images import save_picture
from t2l_cli.media.paths import shown
from t2l_cli.media.videos import Frame, VideoInfo
from t2l_cli.progress import counted

if TYPE_CHECKING:
    from torch import Tensor

    from t2l_cli.engine.atlas.model import Atlas
    from t2l_cli.engine.fit.fit import AtlasFit

SQUARE = 0.06  # of the frame's shorter side: a square of the checkerboard


def render(
    path: Path,
    output: Path,
    video: Path | None,
    frames: str | None,
    resolution: int | None,
    device: str,
    overwrite: bool,
    terminal: Terminal,
) -> None:
    """Write the atlas folder ``output`` with its previews, and say how well it holds the video."""
    from t2l_cli.atlases.store import check_atlas_output, is_atlas_folder, save_atlas

    check_atlas_output(output, overwrite, path, video)
    excerpt = None if video is None else open_clip(video, frames, terminal)
    with claimed(output):
        atlas = open_atlas(path, excerpt, terminal, resolution, device)
        record: dict[str, Any] = {
            "command": "render-atlas",
            "atlas": str(path),
            "video": dataclasses.asdict(atlas.video),
        }
        if excerpt is not None:
            record["psnr"] = round_trip(atlas, excerpt, terminal)
            origin = atlas.origin | {"round_trip_psnr": record["psnr"]}
            atlas = dataclasses.replace(atlas, video=excerpt.identity(), origin=origin)
            terminal.note(f"rebuilt from the atlas, the video has a PSNR of {record['psnr']:.1f} dB")
        elif not is_atlas_folder(path):
            record["networks_psnr"] = atlas.origin["networks_psnr"]
            terminal.note(f"the pictures hold the networks' own video with a PSNR of {record['networks_psnr']:.1f} dB")
            terminal.note(f"taken to be of {atlas.video.frames} frames; --clip-file checks that, and how well it fits")
        save_atlas(atlas, output, overwrite, beside=partial(_beside, atlas, terminal))
    terminal.result([output], record)


def round_trip(atlas: Atlas, excerpt: Excerpt, terminal: Terminal) -> float:
    """Mean PSNR, in dB, of the video rebuilt from the atlas."""
    from t2l_cli.engine.atlas.discretize import round_trip as one

    with counted(excerpt.read(), excerpt.frames, "round trip", terminal) as frames:
        figures = [one(atlas, tensor_of(frame.rgb), t) for t, frame in enumerate(frames)]
    return round(sum(figures) / len(figures), 2)


def _beside(atlas: Atlas, terminal: Terminal, folder: Path, record: dict[str, Any] | None = None) -> None:
    """Write into ``folder`` alpha.png, the opacity of the middle frame, checkerboard.mp4, and ``record``, if any."""
    from fractions import Fraction

    from t2l_cli.engine.atlas.mapping import Mapper, reconstruct
    from t2l_cli.engine.atlas.quality import checkerboard

    video = atlas.video
    save_picture(folder / "alpha.png", picture_bytes(atlas.alpha[video.frames // 2].expand(3, -1, -1)), overwrite=True)
    side = max(4.0, SQUARE * min(video.width, video.height))
    boards = [checkerboard(layer, side) for layer in (atlas.foreground, atlas.background)]
    half = [dataclasses.replace(board, alpha=board.alpha * 0.5) for board in boards]
    mapper = Mapper(atlas, *half)
    rate = Fraction(video.rate or 25).limit_denominator(1001) or Fraction(1, 1001)
    info = VideoInfo(folder, video.width, video.height, video.frames, rate, 1 / rate, audio=False, names=(), notes=())
    with (
        VideoWriter(folder / "checkerboard.mp4", info, overwrite=True) as writer,
        counted(range(video.frames), video.frames, "checkerboard", terminal) as frames,
    ):
        for t in frames:
            picture = picture_bytes(mapper.over(reconstruct(atlas, t), t))
            writer.write(Frame(picture, t, 1), picture)
    if record is not None:
        write_record(folder, record)


def fit(request: FitRequest, terminal: Terminal) -> None:
    """Fit an atlas to a video and write its folder; also after Ctrl-C, as far as it is."""
    from t2l_cli.atlases.store import as_stored, check_atlas_output, save_atlas

    config, again = request.config(), request.overwrite or request.resume
    inputs = (request.video, request.mask)
    check_atlas_output(request.output, again, *inputs)
    if request.run_dir is not None:
        check_run_dir(request.run_dir, again, inputs, [request.output, state_file(request.output)])
    with claimed(request.output, request.run_dir), Interruption(terminal.quiet) as interruption:
        excerpt = open_clip(request.video, request.frames, terminal)
        state = FitState(state_file(request.output), request.key(excerpt))
        if os.path.exists(state.path) and not request.resume:
            terminal.note(f"an interrupted fit is there, {shown(state.path)}: --resume would go on with it")
        before = state.load() if request.resume else None
        work = fitting(excerpt, request, terminal, interruption, state, before)
        stopped = interruption.requested is not None
        atlas, quality = as_stored(work.result()), work.quality()
        record = {
            "command": "fit-atlas",
            "source": str(request.video.absolute()),
            "output": str(request.output.absolute()),
            "frames": list(excerpt.span),
            "mask": None if request.mask is None else str(request.mask.absolute()),
            "config": dataclasses.asdict(config),
            "found_foreground": work.found_foreground,
            "quality": dataclasses.asdict(quality),
            "ended": "interrupted" if stopped else "done",
        }
        try:
            save_atlas(atlas, request.output, again, beside=partial(_beside, atlas, terminal, record=record))
        except T2LError:  # the folder was painted in meanwhile, or the disk is full
            with contextlib.suppress(OutputError):
                state.keep(work)
                terminal.warn(f"the fit is kept in {shown(state.path)}: --resume writes its atlas")
            raise
        if not stopped:
            state.drop()
        if request.run_dir is not None:
            with spared(request.run_dir, terminal.warn):
                _keep(request.run_dir, work, atlas, record)
        report(quality, terminal)
        if stopped:
            terminal.note("the same command with --resume goes on from here")
        terminal.result([request.output], record)
        if interruption.requested:
            raise typer.Exit(exit_code(interruption.requested))


def state_file(output: Path) -> Path:
    """Where an interrupted fit of the atlas folder ``output`` is kept: beside it."""
    return output.with_name(f"{output.name}.resume")


def _keep(folder: Path, work: AtlasFit, atlas: Atlas, record: dict[str, Any]) -> None:
    """Write what a person can judge the fit by: the mask, the flow and the rebuilt video, five frames of each."""
    from t2l_cli.engine.atlas.mapping import reconstruct
    from t2l_cli.engine.motion.flow import flow_picture

    folder.mkdir(exist_ok=True)

    def save(name: str, t: int, picture: Tensor) -> None:
        save_picture(folder / f"{name}-{t:05d}.png", picture_bytes(picture), overwrite=True)

    last = atlas.video.frames - 1
    for t in sorted({round(k * last / 4) for k in range(5)}):
        save("mask", t, work.masks[t].float().expand(3, -1, -1) / 255)
        save("alpha", t, atlas.alpha[t].expand(3, -1, -1))
        save("rebuilt", t, reconstruct(atlas, t))
        if t < last:
            save("flow", t, flow_picture(work.flow.forward[t], work.flow.forward_ok[t]))
    write_record(folder, record)
