"""torchvision's RAFT and Mask R-CNN in the fit's terms: flow between two frames, the mask of a class in one frame.

The networks are handed in; where their weights come from is not this module's business.
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

RAFT_STEP = 8  # px: sides of what RAFT sees are multiples of it
RAFT_LEAST = 128  # px: below, its fourth correlation level is empty
SCORE = 0.5  # of a detection, for it to count
SOLID = 0.5  # of a detection's mask

MaskFunction = Callable[[Tensor], Tensor]  # a frame (3, H, W) uint8 -> (H, W) bool, the foreground


def raft_flow(network: nn.Module, device: torch.device) -> FlowFunction:
    """The flow function of a RAFT: ``network(a, b)`` of pictures (1, 3, h, w) in [-1, 1] gives its flows in px, the
    last (1, 2, h, w) the best. Frames are enlarged to where it works well, and padded.
    """
    network = network.to(device).eval()

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


def _enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[-2:]) == size:
        return picture
    return F.interpolate(picture, size=size, mode="bicubic", align_corners=False).clamp(-1, 1)


def class_mask(network: nn.Module, number: int, device: torch.device) -> MaskFunction:
    """The mask of all instances of class ``number`` by a Mask R-CNN: ``network([picture])``, (3, H, W) in [0, 1], gives
    a dict of labels (N,), scores (N,) and masks (N, 1, H, W) in [0, 1].
    """
    network = network.to(device).eval()

    @torch.no_grad()
    def mask(frame: Tensor) -> Tensor:
        with memory_guard(device):
            found = network([frame.to(device).float() / 255])[0]
        own = (found["labels"] == number) & (found["scores"] >= SCORE)
        union: Tensor = (found["masks"][own, 0] > SOLID).any(0)
        return union.cpu()

    return mask


def detect(frames: Tensor, function: MaskFunction, flow: Flow) -> Work[Tensor]:
    """(T, h, w) bool at the flow's size: the masks of ``frames`` (T, 3, H, W) uint8; yields (i, n) after every frame.

    Frames hear their neighbours along the flow: what a detector misses for a moment is filled in.
    """
    masks = []
    for t, frame in enumerate(frames):
        own = function(frame)[None, None].float()
        masks.append(F.interpolate(own, size=flow.size, mode="area")[0, 0])
        yield t + 1, len(frames)
    return torch.from_numpy(over_time(torch.stack(masks).numpy(), flow)) > SOLID
