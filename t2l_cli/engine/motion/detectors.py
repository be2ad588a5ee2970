"""Adapters for torchvision's RAFT and Mask R-CNN: flow between two frames, the mask of a class in one frame.

The networks are arguments; this module does not load weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2l_cli.engine.motion.dis import FLOW_WIDTH
from t2l_cli.engine.motion.flow import Flow, FlowFunction, Work, resize_flow
from t2l_cli.engine.motion.foreground import over_time
from t2l_cli.engine.runtime import memory_guard

RAFT_STEP = 8  # px: sides of RAFT's inputs are multiples of this
RAFT_LEAST = 128  # px: minimum side of RAFT's inputs; below, its fourth correlation level is empty
SCORE = 0.5  # minimum score of a detection
SOLID = 0.5  # value above which a pixel of a detection's mask is set

MaskFunction = Callable[[Tensor], Tensor]  # a frame (3, H, W) uint8 -> (H, W) bool, the foreground


def raft_flow(network: nn.Module, device: torch.device) -> FlowFunction:
    """The flow function of a RAFT network. Frames are enlarged to the size that RAFT needs, and padded.

    ``network(a, b)``: from pictures (1, 3, h, w) in [-1, 1] to a list of flows (1, 2, h, w) px, the best last.
    """
    network = _ready(network, device)

    @torch.no_grad()
    def flow(a: Tensor, b: Tensor) -> Tensor:
        size = (a.shape[-2], a.shape[-1])
        up = max(1.0, RAFT_LEAST / min(size), FLOW_WIDTH / size[1])
        seen = (round(size[0] * up), round(size[1] * up))
        pad = [0, -seen[1] % RAFT_STEP, 0, -seen[0] % RAFT_STEP]
        pictures = [_enlarged(frame.to(device)[None].float() / 127.5 - 1, seen) for frame in (a, b)]
        with memory_guard(device):
            found = network(*(F.pad(picture, pad, mode="replicate") for picture in pictures))[-1]
        return resize_flow(found[..., : seen[0], : seen[1]], size)[0].cpu()

    return flow


def _ready(network: nn.Module, device: torch.device) -> nn.Module:
    with memory_guard(device):
        return network.to(device).eval()


def _enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[-2:]) == size:
        return picture
    return F.interpolate(picture, size=size, mode="bicubic", align_corners=False).clamp(-1, 1)


def class_mask(network: nn.Module, number: int, device: torch.device) -> MaskFunction:
    """The mask function of a Mask R-CNN: the union of all instances of class ``number``.

    ``network([picture])``, with a picture (3, H, W) in [0, 1], returns a list of one dict: labels (N,), scores (N,),
    masks (N, 1, H, W) in [0, 1].
    """
    network = _ready(network, device)

    @torch.no_grad()
    def mask(frame: Tensor) -> Tensor:
        with memory_guard(device):
            found = network([frame.to(device).float() / 255])[0]
        own = (found["labels"] == number) & (found["scores"] >= SCORE)
        union: Tensor = (found["masks"][own, 0] > SOLID).any(0)
        return union.cpu()

    return mask


def detect(frames: Tensor, function: MaskFunction, flow: Flow) -> Work[Tensor]:
    """The masks (T, h, w) bool, at the flow's size, of ``frames`` (T, 3, H, W) uint8; yields (i, n) after every frame.

    Masks are averaged along the flow, so that an object that the detector misses in a few frames is filled in.
    """
    masks = []
    for t, frame in enumerate(frames):
        own = function(frame)[None, None].float()
        masks.append(F.interpolate(own, size=flow.size, mode="area")[0, 0])
        yield t + 1, len(frames)
    return torch.from_numpy(over_time(torch.stack(masks).numpy(), flow)) > SOLID
