"""What a fit is given beside the frames: optical flow and masks, by networks that are downloaded or by the user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from t2l_cli.config import FitConfig
from t2l_cli.errors import RequestError
from t2l_cli.jobs.excerpt import Excerpt
from t2l_cli.media.images import load_mask
from t2l_cli.media.opening import is_still
from t2l_cli.media.paths import shown
from t2l_cli.media.videos import probe
from t2l_cli.progress import Reporter, downloading

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from t2l_cli.engine.motion.detectors import MaskFunction
    from t2l_cli.engine.motion.flow import FlowFunction
    from t2l_cli.engine.motion.masks import FrameMask


def flow_function(config: FitConfig, offline: bool, device: torch.device, reporter: Reporter) -> FlowFunction | None:
    """RAFT, where ``config`` asks for it; None: DIS."""
    if config.flow == "dis":
        return None
    from t2l_cli.engine.motion.detectors import raft_flow
    from t2l_cli.weights.networks import load_raft
    from t2l_cli.weights.vision import RAFT

    with downloading(RAFT, reporter) as tell:
        return raft_flow(load_raft(offline, tell), device)


def class_masks(name: str, offline: bool, device: torch.device, reporter: Reporter) -> MaskFunction:
    """Mask R-CNN, which finds the objects of the COCO class ``name``."""
    from t2l_cli.engine.motion.detectors import class_mask
    from t2l_cli.weights.coco import class_number
    from t2l_cli.weights.networks import load_mask_rcnn
    from t2l_cli.weights.vision import MASK_RCNN

    with downloading(MASK_RCNN, reporter) as tell:
        return class_mask(load_mask_rcnn(offline, tell), class_number(name), device)


def given_masks(path: Path, frame: int | None, excerpt: Excerpt) -> Tensor | FrameMask:
    """The user's mask: one picture for ``frame`` (None: the first), or a video or folder with one for every frame."""
    import torch

    from t2l_cli.engine.motion.masks import FrameMask

    info, (first, end) = excerpt.info, excerpt.span
    if os.path.isfile(path) and is_still(path):
        frame = first if frame is None else frame
        if not first <= frame < end:
            raise RequestError(f"--mask-frame {frame} is not among the frames {first} to {end - 1}.")
        return FrameMask(frame - first, torch.from_numpy(load_mask(path, (info.height, info.width))))
    own = probe(path)
    if own.frames not in (info.frames, excerpt.frames):
        raise RequestError(f"{shown(path)} has {own.frames} masks, the video {info.frames} frames; give one per frame.")
    if (own.width, own.height) != (info.width, info.height):
        raise RequestError(
            f"the masks {shown(path)} are {own.width} x {own.height} px, the video {info.width} x {info.height}."
        )
    span = excerpt.span if own.frames == info.frames else (0, own.frames)
    frames = Excerpt(own, span).read()
    return torch.stack([torch.from_numpy(f.rgb).float().mean(2).round().to(torch.uint8) for f in frames])
