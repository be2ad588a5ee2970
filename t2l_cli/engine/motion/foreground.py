"""Which pixels are the foreground, told by motion alone: they neither move with the camera nor look like what the
camera saw there at other times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from t2l_cli.engine.motion.camera import Array, Camera, apply, fit_camera, mosaic_bounds
from t2l_cli.engine.motion.flow import Flow, Work, pixel_centres, warp

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
ROUNDS = 3  # camera without the last round's foreground, then the foreground against that camera
COLOUR_FLOOR, MOTION_FLOOR = 0.02, 0.3  # of differences in [0, 1] and of px: what noise alone may reach
NOISE = 4.0  # times the median difference: what noise alone may reach
MOSAIC_FRAMES = 40  # frames that the median mosaic is made of, at most
STRIP_ROWS = 32  # of the mosaic in work at a time
COLOUR, MOTION = 0.7, 0.5  # weights of the two; together above 1 they tell foreground
MEMORY = 0.85  # of a frame's say in the next one
LEAST_PART = 0.25  # of the largest component's area, for another one to count
LEAST_AREA = 0.002  # of the frame, for the largest
LEAST_FRAMES = 0.15  # of the video that must show a foreground for it to be believed


@dataclass(frozen=True)
class Foreground:
    """masks: (T, h, w) bool; camera: fitted without them. ``found``: False where nothing moves on its own."""

    masks: Tensor
    camera: Camera
    found: bool


def find_foreground(frames: Tensor, flow: Flow) -> Work[Foreground]:
    """The foreground of ``frames`` (T, 3, h, w) uint8, of the flow's size; yields (round, rounds)."""
    exclude: Tensor | None = None
    for k in range(ROUNDS):
        camera = fit_camera(flow, exclude)
        moving = motion_residual(flow, camera.matrices)
        score = over_time(_scores(frames, camera, moving, exclude), flow)
        masks = [_clean(s) for s in score]
        exclude = torch.from_numpy(np.stack([cv2.dilate(m, _disk(2)) for m in masks])) > 0
        yield k + 1, ROUNDS
    found = torch.from_numpy(np.stack(masks)) > 0
    present = found.flatten(1).any(1)
    if present.sum() < max(2, LEAST_FRAMES * len(frames)) and present.sum() < len(frames):
        found = torch.zeros_like(found)
    return Foreground(found, fit_camera(flow, exclude), bool(found.any()))


def _scores(frames: Tensor, camera: Camera, moving: Float, exclude: Tensor | None) -> Float:
    """(h, w) for every frame: above 1 where it is foreground. ``moving``: (T, h, w) px, otherwise than the camera.

    ``exclude``: (T, h, w) bool, the foreground as far as it is known.
    """
    # the median over pixels that are not foreground already, else a large object raises its own bar
    motion = moving / (NOISE * _median(moving, exclude) + MOTION_FLOOR)
    # the camera's view is made of what is sure: neither foreground so far nor moving, then of what does not move
    doubt = np.stack([cv2.dilate((m > 1).astype(np.uint8), _disk(3)) for m in motion])
    doubt = 2 * doubt + (0 if exclude is None else exclude.numpy().astype(np.uint8))
    colour = _colour_residual(frames, camera.matrices, np.asarray(doubt, np.uint8))
    exclude = torch.from_numpy(doubt > 0) if exclude is None else exclude
    colour = colour / (NOISE * _median(colour, exclude) + COLOUR_FLOOR)
    # flow is blurred: around an object the background seems to move too, but its colours are the background's
    motion = np.minimum(motion, 2) * np.clip(2 * colour, 0.2, 1)
    score = COLOUR * np.minimum(colour, 2) + MOTION * motion
    return np.stack([cv2.GaussianBlur(one, (0, 0), 0.7) for one in score])


def over_time(scores: Float, flow: Flow) -> Float:
    """``scores`` (T, h, w) averaged along ``flow``, near frames counting more: a frame that tells little hears others,
    and what is seen for a moment alone counts less.
    """
    own = torch.from_numpy(scores)[:, None]
    pair = torch.cat([own, torch.ones_like(own)], 1)  # sum and weight
    n = len(pair) - 1
    heard = []
    for order, field, ok in (
        (range(n), flow.backward, flow.backward_ok),
        (range(n - 1, -1, -1), flow.forward, flow.forward_ok),
    ):
        total = pair.clone()
        for t in order:  # from frame t to t + 1, then from t + 1 to t
            start, end = (t, t + 1) if field is flow.backward else (t + 1, t)
            total[end] += MEMORY * (warp(total[start : start + 1], field[t : t + 1]) * ok[t])[0]
        heard.append(total)
    both = heard[0] + heard[1] - pair
    return np.asarray((both[:, 0] / both[:, 1]).numpy())


def _median(values: Float, exclude: Tensor | None) -> float:
    own = values if exclude is None or exclude.all() else values[~exclude.numpy()]
    return float(np.median(own))


def motion_residual(flow: Flow, matrices: Array) -> Float:
    """(T, h, w) px: how far each pixel moves otherwise than the camera, the lesser of forward and backward.

    The lesser, because what is about to be hidden has no honest flow ahead but has one back.
    """
    points = pixel_centres(flow.size)
    n = len(flow.forward)
    inverse = np.linalg.inv(matrices)
    out = np.full((n + 1, *flow.size), np.inf, np.float32)
    for t in range(n):
        for a, b, field, ok in (
            (t, t + 1, flow.forward[t], flow.forward_ok[t]),
            (t + 1, t, flow.backward[t], flow.backward_ok[t]),
        ):
            step = torch.from_numpy(inverse[b] @ matrices[a]).float()
            rest = apply((step / step[2, 2])[None], points)[0] - points
            residual = (field.permute(1, 2, 0) - rest).norm(dim=-1)
            residual[~ok] = math.inf
            out[a] = np.minimum(out[a], residual.numpy())
    out[np.isinf(out)] = 0  # no flow to trust: colour decides
    return out


def _colour_residual(frames: Tensor, matrices: Array, doubt: Bytes) -> Float:
    """(T, h, w) in [0, 1]: difference of each frame from the median of all, as the camera saw them."""
    size = (frames.shape[-2], frames.shape[-1])
    left, top, right, bottom = mosaic_bounds(matrices, size)
    shift = np.array([[1, 0, -math.floor(left)], [0, 1, -math.floor(top)], [0, 0, 1.0]])
    shape = (math.ceil(right) - math.floor(left) + 1, math.ceil(bottom) - math.floor(top) + 1)
    middle = median_mosaic(frames, [shift @ m for m in matrices], shape, doubt)
    out = np.empty((len(frames), *size), np.float32)
    for t, frame in enumerate(frames):
        seen = cv2.warpPerspective(
            middle, shift @ matrices[t], size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        picture = frame.permute(1, 2, 0).numpy().astype(np.float32)
        difference = np.abs(picture - seen.astype(np.float32)).mean(-1) / 255
        out[t] = cv2.GaussianBlur(difference, (0, 0), 0.7)
    return out


def median_mosaic(frames: Tensor, matrices: list[Array], shape: tuple[int, int], doubt: Bytes) -> Bytes:
    """The median of up to ``MOSAIC_FRAMES`` frames, each moved by its matrix into a picture of ``shape``.

    shape: (width, height). doubt: (T, h, w), 0 to 3: everywhere the pixels that are least in doubt count.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MOSAIC_FRAMES)).round().astype(int))
    pictures, kinds = [], []
    for t in chosen:
        frame = frames[t].permute(1, 2, 0).contiguous().numpy()
        kind = 4 - doubt[t]  # 0: not seen
        pictures.append(_warped(frame, matrices[t], shape))
        kinds.append(cv2.warpPerspective(kind, matrices[t], shape, flags=cv2.INTER_NEAREST))
    stack, kind = np.stack(pictures), np.stack(kinds)
    out = np.zeros((shape[1], shape[0], 3), np.uint8)
    for y in range(0, shape[1], STRIP_ROWS):
        rows = slice(y, y + STRIP_ROWS)
        level = kind[:, rows]
        counts = (level == level.max(0)) & (level > 0)
        values = torch.from_numpy(stack[:, rows].astype(np.float32))
        values[~torch.from_numpy(counts)] = math.nan
        out[rows] = torch.nan_to_num(values.nanmedian(0).values).byte().numpy()
    return out


def _warped(picture: Bytes, matrix: Array, shape: tuple[int, int]) -> Bytes:
    """``picture`` moved by ``matrix`` into one of ``shape`` = (width, height); its border is not darkened."""
    moved = cv2.warpPerspective(picture, matrix, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _disk(radius: int) -> Bytes:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _clean(score: Float) -> Bytes:
    """(h, w) 0 or 1: where ``score`` is above 1, without specks, gaps and holes."""
    unit = max(1, round(min(score.shape) / 90))
    rim = 4 * unit  # closing must not eat the border
    mask = cv2.morphologyEx((score > 1).astype(np.uint8), cv2.MORPH_OPEN, _disk(unit))
    mask = cv2.copyMakeBorder(mask, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disk(3 * unit))[rim:-rim, rim:-rim]
    return fill_holes(large_components(np.ascontiguousarray(mask, np.uint8)))


def large_components(mask: Bytes) -> Bytes:
    """The largest component of ``mask`` (h, w), unless it is a speck, and others not much smaller."""
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    areas = stats[1:, cv2.CC_STAT_AREA]
    out = np.zeros_like(mask)
    if n > 1 and areas.max() >= LEAST_AREA * mask.size:
        out[np.isin(labels, 1 + np.flatnonzero(areas >= LEAST_PART * areas.max()))] = 1
    return out


def fill_holes(mask: Bytes) -> Bytes:
    """``mask`` (h, w) of 0 and 1 with all that it encloses."""
    outside = np.pad(mask, 1)
    cv2.floodFill(outside, None, (0, 0), 2)
    return np.asarray(outside[1:-1, 1:-1] != 2, np.uint8)
