"""A fit of an atlas, from the parameters to the finished fit: what fit-atlas and edit-video share."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2l_cli.cli.fit_state import FitState
from t2l_cli.cli.interrupt import Interruption
from t2l_cli.cli.terminal import Terminal
from t2l_cli.cli.videos import Excerpt, fitted_key, frames_in_memory
from t2l_cli.config import FitConfig
from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media.images import load_mask
from t2l_cli.media.output import FORMATS
from t2l_cli.media.paths import shown
from t2l_cli.media.videos import probe
from t2l_cli.progress import downloading, tracked
from t2l_cli.settings import FIT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from t2l_cli.engine.fit.fit import AtlasFit
    from t2l_cli.engine.motion.detectors import MaskFunction
    from t2l_cli.engine.motion.flow import FlowFunction
    from t2l_cli.engine.motion.masks import FrameMask


@dataclass(frozen=True)
class FitRequest:
    """One command line of fit-atlas, or what edit-video needs of one."""

    video: Path
    output: Path
    frames: str | None = None
    mask: Path | None = None
    mask_frame: int = 0
    mask_class: str | None = None
    flow: str | None = None
    preset: str = "standard"
    size: int | None = None
    visits: int | None = None
    seed: int | None = None
    device: str | None = None
    threads: int | None = None
    run_dir: Path | None = None
    resume: bool = False
    overwrite: bool = False
    offline: bool = False

    def config(self) -> FitConfig:
        """The fit's settings; RequestError where one is out of range, or two exclude each other."""
        if self.mask_class is not None and self.mask is not None:
            raise RequestError("give --mask or --mask-class, not both.")
        mask_class = None if self.mask_class is None else self.mask_class.strip().lower()
        own = {setting.name: getattr(self, setting.name) for setting in FIT.settings}
        config = FIT.configure(own | {"mask_class": mask_class}, self.preset)
        if config.mask_class is not None:
            from t2l_cli.weights.vision import class_number

            class_number(config.mask_class)
        return config

    def key(self, excerpt: Excerpt) -> str:
        """A name for what the fit makes of these very frames, mask and settings."""
        return fitted_key(excerpt, dataclasses.replace(self.config(), device="auto"), self.mask, self.mask_frame)


def fitting(
    excerpt: Excerpt,
    request: FitRequest,
    terminal: Terminal,
    interruption: Interruption,
    state: FitState,
    before: dict[str, Any] | None = None,
) -> AtlasFit:
    """Run the fit to its end or to an interruption that leaves something to show; ``state`` is kept for the latter.

    before: what ``state`` held, to go on from. Who calls drops ``state`` when the finished atlas is written.
    """
    work = _begun(excerpt, request, terminal, before)
    height, width = work.size
    terminal.note(f"fitting an atlas to {excerpt.frames} frames at {width} x {height}, seed {work.config.seed}")
    interruption.be_patient()
    told = False
    with tracked(work, terminal) as steps:
        for _ in steps:
            if work.ready and not told:
                told = True
                if not work.found_foreground:
                    terminal.warn("nothing moves but the camera: the background alone is fitted; --mask says otherwise")
            if interruption.requested:
                break
            if work.ready:
                _kept(state.keep_now_and_then, work, terminal)
    if interruption.requested:
        if not work.ready:
            raise interruption.requested
        _kept(state.keep, work, terminal)
    return work


def _begun(excerpt: Excerpt, request: FitRequest, terminal: Terminal, before: dict[str, Any] | None) -> AtlasFit:
    """The fit before its first step."""
    import torch

    from t2l_cli.engine.fit.fit import AtlasFit
    from t2l_cli.engine.runtime import resolve

    if request.threads is not None:
        if not 1 <= request.threads <= 1024:
            raise RequestError(f"--threads must be between 1 and 1024, not {request.threads}.")
        torch.set_num_threads(request.threads)
    config = request.config()
    runtime = resolve(config.device)
    masks: Tensor | FrameMask | MaskFunction | None = None
    flow: FlowFunction | None = None
    if before is None:  # flow and masks are known where a fit goes on
        flow = _flow_function(config, request.offline, runtime.device, terminal)
        masks = _masks(config, request, excerpt, runtime.device, terminal)
    work = AtlasFit(frames_in_memory(excerpt), config, excerpt.identity(), masks, flow, runtime)
    if before is not None:
        work.resume(before)
    return work


def _kept(keep: Any, work: AtlasFit, terminal: Terminal) -> None:
    """Keep the state by ``keep``; where it cannot be written, the fit itself still goes on."""
    try:
        keep(work)
    except OutputError as error:
        terminal.warn(f"{error} The fit could not be resumed from here.")


def report(quality: Any, terminal: Terminal) -> None:
    """Say how good the atlas is, and what would help."""
    terminal.note(
        f"rebuilt from the atlas: {quality.psnr:.1f} dB; points stay on their place within {quality.residual:.2f} px"
    )
    for line in quality.advice:
        terminal.note(f"advice: {line}")


def _flow_function(config: FitConfig, offline: bool, device: torch.device, terminal: Terminal) -> FlowFunction | None:
    """RAFT, where it is asked for; None: DIS."""
    if config.flow == "dis":
        return None
    from t2l_cli.engine.motion.detectors import raft_flow
    from t2l_cli.weights.networks import load_raft
    from t2l_cli.weights.vision import RAFT

    with downloading(RAFT, terminal) as tell:
        return raft_flow(load_raft(offline, tell), device)


def _masks(
    config: FitConfig, request: FitRequest, excerpt: Excerpt, device: torch.device, terminal: Terminal
) -> Tensor | FrameMask | MaskFunction | None:
    """What the fit is given of masks: a detector, the user's, or nothing."""
    if config.mask_class is not None:
        from t2l_cli.engine.motion.detectors import class_mask
        from t2l_cli.weights.networks import load_mask_rcnn
        from t2l_cli.weights.vision import MASK_RCNN, class_number

        with downloading(MASK_RCNN, terminal) as tell:
            return class_mask(load_mask_rcnn(request.offline, tell), class_number(config.mask_class), device)
    return None if request.mask is None else _given_masks(request.mask, request.mask_frame, excerpt)


def _given_masks(path: Path, frame: int, excerpt: Excerpt) -> Tensor | FrameMask:
    """The user's mask: one picture for ``frame``, or a video or folder with one for every frame of the video."""
    import torch

    from t2l_cli.engine.motion.masks import FrameMask

    info, (first, end) = excerpt.info, excerpt.span
    if os.path.isfile(path) and path.suffix.lower() in {*FORMATS, ".gif"}:
        if not first <= frame < end:
            raise RequestError(f"--mask-frame {frame} is not among the frames {first} to {end - 1}.")
        return FrameMask(frame - first, torch.from_numpy(load_mask(path, (info.width, info.height))))
    own = probe(path)
    if own.frames not in (info.frames, excerpt.frames):
        raise RequestError(f"{shown(path)} has {own.frames} masks, the video {info.frames} frames; give one a frame.")
    if (own.width, own.height) != (info.width, info.height):
        raise RequestError(
            f"the masks {shown(path)} are {own.width} x {own.height} px, the video {info.width} x {info.height}."
        )
    span = excerpt.span if own.frames == info.frames else (0, own.frames)
    frames = Excerpt(own, span).read()
    return torch.stack([torch.from_numpy(f.rgb).float().mean(2).round().to(torch.uint8) for f in frames])
