"""The user's masks of the foreground: checked, and propagated from one frame to all along the flow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.engine.motion.camera import region_motion
from t2l_cli.engine.motion.flow import Flow, warp
from t2l_cli.engine.motion.foreground import fill_holes
from t2l_cli.errors import RequestError

LEAST = 2e-4  # part of a frame: if no mask covers more, the masks are empty
MOST = 0.995  # part of a frame: if every mask covers more, the masks are full
BINS = 16  # histogram bins per colour channel
BAND = 0.02  # radius around the outline in which colours count, as a part of the short side
COLOUR_SAY = 1.2  # weight of the colours; above 1, clear colours overrule the flow


@dataclass(frozen=True)
class FrameMask:
    """A mask (H, W), in [0, 1] or uint8 0 to 255, of frame ``t`` (0-based) only."""

    t: int
    mask: Tensor


def check_masks(masks: Tensor, frames: Tensor) -> Tensor:
    """``masks`` (T, H, W), in [0, 1] or uint8 0 to 255, of ``frames`` (T, 3, H, W), as (T, H, W) bool.

    Raises RequestError if number or size differ, or if the masks are empty or full.
    """
    if masks.ndim != 3 or len(masks) != len(frames):
        raise RequestError(f"there are {len(masks)} masks and {len(frames)} frames; give one mask a frame.")
    have, need = tuple(masks.shape[-2:]), tuple(frames.shape[-2:])
    if have != need:
        raise RequestError(f"the mask is {have[1]} x {have[0]} px, the video {need[1]} x {need[0]}.")
    solid = _solid(masks)
    area = solid.float().mean((1, 2))
    if area.max() < LEAST:
        raise RequestError("the mask is empty: make the object white, or leave --mask out.")
    if area.min() > MOST:
        raise RequestError("the mask covers the whole frame: make only the object white, or leave --mask out.")
    return solid


def check_frame_mask(given: FrameMask, frames: Tensor) -> Tensor:
    """The mask of one frame as (H, W) bool. RequestError as ``check_masks``, and if there is no such frame."""
    if not 0 <= given.t < len(frames):
        raise RequestError(f"the mask is for frame {given.t}, the video has frames 0 to {len(frames) - 1}.")
    return check_masks(given.mask[None], frames[given.t : given.t + 1])[0]


def _solid(masks: Tensor) -> Tensor:
    if masks.dtype == torch.bool:
        return masks
    white = 255 if masks.dtype == torch.uint8 and masks.max() > 1 else 1
    return torch.stack([mask.float() > 0.5 * white for mask in masks])


def propagate(mask: Tensor, at: int, flow: Flow, frames: Tensor) -> Tensor:
    """Propagate ``mask`` (h, w) bool of frame ``at`` along ``flow`` to all ``frames`` (T, 3, h, w) uint8.

    Returns (T, h, w) bool.
    Where the flow is not reliable, the mask moves with the object as a whole. Near the outline colours count as well:
    flow is blurred there, and background that it drags into the mask would stay in it.
    """
    colours = _Colours(frames[at], mask)
    out = {at: mask.float()}
    for t in range(at + 1, len(frames)):
        ahead, ahead_ok = flow.forward[t - 1], flow.forward_ok[t - 1]
        read = _carried(out[t - 1], ahead, ahead_ok, flow.backward[t - 1], flow.backward_ok[t - 1])
        out[t] = _settled(read, colours, frames[t])
    for t in range(at - 1, -1, -1):
        ahead, ahead_ok = flow.backward[t], flow.backward_ok[t]
        read = _carried(out[t + 1], ahead, ahead_ok, flow.forward[t], flow.forward_ok[t])
        out[t] = _settled(read, colours, frames[t])
    return torch.stack([out[t] for t in range(len(out))]) > 0.5


def _carried(mask: Tensor, ahead: Tensor, ahead_ok: Tensor, back: Tensor, back_ok: Tensor) -> Tensor:
    """``mask`` (h, w) of one frame moved to its neighbour: (h, w) in [0, 1].

    ahead, back: the flow (2, h, w) px from the frame to the neighbour and back; ahead_ok, back_ok: (h, w) bool.
    """
    read = warp(mask[None, None], back[None], padding="zeros")[0, 0]
    motion = region_motion(ahead, ahead_ok & (mask > 0.5), "similarity")
    if motion is None:
        return read
    size = (mask.shape[1], mask.shape[0])
    whole = torch.from_numpy(cv2.warpAffine(mask.numpy(), motion[:2], size, flags=cv2.INTER_LINEAR))
    return torch.where(back_ok, read, whole)


def _settled(read: Tensor, colours: _Colours, frame: Tensor) -> Tensor:
    """``read`` (h, w) in [0, 1], corrected by the colours of ``frame`` near its outline, without specks and holes."""
    solid = (read.numpy() > 0.5).astype(np.uint8)
    side = 2 * max(2, round(BAND * min(solid.shape))) + 1
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    band = torch.from_numpy(np.asarray(cv2.dilate(solid, window) != cv2.erode(solid, window)))
    read = (read + COLOUR_SAY * (colours.likeness(frame) - 0.5) * band).clamp(0, 1)
    solid = np.asarray(cv2.medianBlur((read.numpy() > 0.5).astype(np.uint8), 3), np.uint8)
    # kept soft, by less than half a pixel: repeated thresholds would round corners off
    return 0.5 * read + 0.5 * torch.from_numpy(fill_holes(solid)).float()


class _Colours:
    """Colour histograms of an object and of its surroundings, from one frame (3, h, w) uint8 and its mask (h, w)."""

    def __init__(self, frame: Tensor, mask: Tensor) -> None:
        picture = frame.permute(1, 2, 0).contiguous().numpy()
        own = mask.numpy().astype(np.uint8)
        counts = [
            cv2.calcHist([picture], [0, 1, 2], part, [BINS] * 3, [0, 256] * 3).reshape(BINS, BINS, BINS)
            for part in (own, 1 - own)
        ]
        shares = [torch.from_numpy(c / max(1.0, float(c.sum())))[None, None] for c in counts]
        near = [F.avg_pool3d(s, 3, 1, 1, count_include_pad=False)[0, 0] + 1e-5 for s in shares]
        self._likeness = near[0] / (near[0] + near[1])

    def likeness(self, frame: Tensor) -> Tensor:
        """(h, w) in [0, 1]: above 0.5 where the colour is more frequent in the object than around it."""
        bins = (frame.long() * BINS) >> 8
        each = self._likeness[bins[0], bins[1], bins[2]].numpy()
        return torch.from_numpy(np.asarray(cv2.GaussianBlur(each, (0, 0), 1.0)))
