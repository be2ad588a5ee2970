"""Optical flow between neighbouring frames, forward and backward, with masks of the pixels where both agree.

Flows are (x, y) in px of their own size: a point at p in frame t is at p + forward[t](p) in frame t + 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.engine.motion.dis import FLOW_WIDTH, dis, matched
from t2l_cli.errors import RequestError

GOOD = 0.95  # part of consistent pixels above which no better flow is searched for
AGREE = 1.0  # maximum px between a pixel and its position after going forward and backward

T = TypeVar("T")
Work = Generator[tuple[int, int], None, T]  # yields (done, total) for a progress bar, returns its result
FlowFunction = Callable[[Tensor, Tensor], Tensor]  # two frames (3, h, w) uint8 -> flow from a to b, (2, h, w) px


@dataclass(frozen=True)
class Flow:
    """Flow of T frames. forward, backward: (T - 1, 2, h, w) float32 px; *_ok: (T - 1, h, w) bool, where it is reliable.

    forward[t] leads from frame t to frame t + 1, backward[t] from frame t + 1 to frame t.
    """

    forward: Tensor
    backward: Tensor
    forward_ok: Tensor
    backward_ok: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the frames."""
        return self.forward.shape[-2], self.forward.shape[-1]

    def resized(self, size: tuple[int, int]) -> Flow:
        """The same motion for frames of another ``size`` (h, w), in their px."""
        if size == self.size:
            return self
        oks = [(F.interpolate(ok[:, None].float(), size=size, mode="area") > 0.5)[:, 0] for ok in self.oks]
        return Flow(resize_flow(self.forward, size), resize_flow(self.backward, size), *oks)

    @property
    def oks(self) -> tuple[Tensor, Tensor]:
        """``forward_ok`` and ``backward_ok``."""
        return self.forward_ok, self.backward_ok

    def to(self, device: torch.device) -> Flow:
        """The flow on ``device``."""
        return Flow(*(part.to(device) for part in (self.forward, self.backward, *self.oks)))


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """``flow`` (N, 2, h, w) resized to ``size``, with its values in px of that size."""
    h, w = flow.shape[-2:]
    smaller = size[0] <= h and size[1] <= w
    if smaller:
        out = F.interpolate(flow, size=size, mode="area")
    else:
        out = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    return out * flow.new_tensor([size[1] / w, size[0] / h])[None, :, None, None]


def flow_size(size: tuple[int, int], working: tuple[int, int]) -> tuple[int, int]:
    """The size (h, w) at which flow is computed for a video of ``size``: the working size, or larger if it is narrower
    than FLOW_WIDTH.
    """
    scale = min(1.0, max(working[1], FLOW_WIDTH) / size[1])
    return max(working[0], round(size[0] * scale)), max(working[1], round(size[1] * scale))


def estimate(frames: Tensor, size: tuple[int, int], function: FlowFunction | None = None) -> Work[Flow]:
    """The flow of ``frames`` (T, 3, H, W) uint8, resized to ``size`` (h, w); yields (i, n) after every pair."""
    seen = flow_size((frames.shape[-2], frames.shape[-1]), size)
    n = len(frames) - 1
    there: list[Tensor] = []
    back: list[Tensor] = []
    before = reduce_frame(frames[0], seen)
    for t in range(n):
        after = reduce_frame(frames[t + 1], seen)
        pair = _both_ways(before, after) if function is None else (function(before, after), function(after, before))
        for into, flow in zip((there, back), pair, strict=True):
            into.append(resize_flow(flow.float().cpu()[None], size)[0])
        before = after
        yield t + 1, n
    forward, backward = torch.stack(there), torch.stack(back)
    return Flow(forward, backward, agreement(forward, backward), agreement(backward, forward))


def _both_ways(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """DIS from ``a`` to ``b`` and back, (2, h, w) px each.

    If the two disagree too much, DIS is also started from matched points, and the more consistent pair is returned.
    """
    plain = (dis(a, b), dis(b, a))
    share = _shared(plain)
    if share > GOOD:
        return plain
    starts = matched(a, b)
    if starts is None:
        return plain
    guided = (dis(a, b, starts[0]), dis(b, a, starts[1]))
    return guided if _shared(guided) > share else plain


def _shared(pair: tuple[Tensor, Tensor]) -> float:
    """The part of the pixels of both frames that come back to where they started, in [0, 1]."""
    ahead, back = pair[0][None], pair[1][None]
    return (agreement(ahead, back).float().mean() + agreement(back, ahead).float().mean()).item() / 2


def reduce_frame(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """``frame`` (3, H, W) uint8 reduced to ``size`` (h, w); each pixel is the mean of the area that it covers."""
    if tuple(frame.shape[-2:]) == size:
        return frame
    array = cv2.resize(frame.permute(1, 2, 0).numpy(), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def warp(picture: Tensor, flow: Tensor, padding: str = "border") -> Tensor:
    """``picture`` (N, C, h, w) sampled at p + flow(p); ``flow``: (N, 2, h, w) px. Differentiable in ``picture``."""
    h, w = flow.shape[-2:]
    scale = flow.new_tensor([2 / w, 2 / h])
    at = (pixel_centres((h, w), flow.device) + flow.permute(0, 2, 3, 1) + 0.5) * scale - 1
    return F.grid_sample(picture, at, mode="bilinear", padding_mode=padding, align_corners=False)


def pixel_centres(size: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """(h, w, 2) float32: (x, y) of every pixel."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32, device=device) for n in size), indexing="ij")
    return torch.stack([x, y], -1)


def agreement(there: Tensor, back: Tensor) -> Tensor:
    """(N, h, w) bool: pixels that come back to within ``AGREE`` px without leaving the frame.

    there, back: (N, 2, h, w) px.
    """
    size = (there.shape[-2], there.shape[-1])
    limit = there.new_tensor([size[1] - 1, size[0] - 1])
    out = []
    for a, b in zip(there, back, strict=True):
        target = pixel_centres(size) + a.permute(1, 2, 0)  # (h, w, 2)
        inside = ((target >= 0) & (target <= limit)).all(-1)
        missed = (a + warp(b[None], a[None])[0]).norm(dim=0)
        out.append((missed < AGREE) & inside)
    return torch.stack(out)


def check_cuts(frames: Tensor, flow: Flow, first: int = 0) -> None:
    """Raise RequestError if the scene changes between two of ``frames`` (T, 3, h, w) uint8, of the flow's size.

    A pair is a cut if few of its pixels have consistent flow, fewer than usual in the video, and the colours differ as
    well. ``first``: the number in the video of frames[0].
    """
    share = flow.forward_ok.float().mean((1, 2))
    likeness = torch.tensor([_likeness(a, b) for a, b in itertools.pairwise(frames)])
    usual = share.median().item() if len(share) > 2 else 1.0
    suspects = (share < 0.3) & (share < 0.5 * usual) & (likeness < min(0.75, 0.9 * likeness.max().item() + 1e-6))
    for t in suspects.nonzero()[:, 0].tolist():
        cut, end = first + t + 1, first + len(frames)
        raise RequestError(
            f"the scene changes between frames {cut - 1} and {cut}: an atlas holds one scene.\n"
            f"Take one of them with --frames {first}:{cut} or --frames {cut}:{end}."
        )


def _likeness(a: Tensor, b: Tensor) -> float:
    """Similarity of the colours of two frames (3, h, w) uint8, 0 to 1: intersection of histograms of 8 x 8 x 8 bins."""
    counts = []
    for frame in (a, b):
        bins = (frame.long() >> 5).flatten(1)
        counts.append(torch.bincount(bins[0] * 64 + bins[1] * 8 + bins[2], minlength=512).float())
    return (torch.minimum(counts[0], counts[1]).sum() / counts[0].sum()).item()


def flow_picture(flow: Tensor, ok: Tensor) -> Tensor:
    """``flow`` (2, h, w) px as a picture (3, h, w) in [0, 1]: hue is the direction, saturation the length.

    Saturation is full at the 99th percentile of the pixels in ``ok`` (h, w) bool; pixels outside of it are black.
    """
    x, y = flow[0].numpy(), flow[1].numpy()
    length, angle = cv2.cartToPolar(x, y)
    trusted = ok.numpy()
    full = max(1e-3, float(np.quantile(length[trusted], 0.99))) if trusted.any() else 1.0
    hsv = np.stack([np.degrees(angle), np.clip(length / full, 0, 1), trusted.astype(np.float32)], -1)
    return torch.from_numpy(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).permute(2, 0, 1).contiguous()
