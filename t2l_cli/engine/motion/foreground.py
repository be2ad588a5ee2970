"""Finds the foreground by motion: pixels that neither move with the camera nor look like what it saw there at other
times.
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
ROUNDS = 3  # each round fits the camera outside of the last foreground, then finds the foreground with that camera
COLOUR_FLOOR, MOTION_FLOOR = 0.02, 0.3  # differences in [0, 1], and px, that noise may reach at least
NOISE = 4.0  # noise may reach this times the median difference, plus the floor
MOSAIC_FRAMES = 40  # maximum number of frames in the median mosaic
STRIP_ROWS = 32  # rows of the mosaic processed at a time
COLOUR, MOTION = 0.7, 0.5  # weights of the two scores; a sum above 1 means foreground
MEMORY = 0.85  # factor on a frame's weight per frame of distance
LEAST_PART = 0.25  # minimum area of further components, as a part of the largest component's
LEAST_AREA = 0.002  # minimum area of the largest component, as a part of the frame
LEAST_FRAMES = 0.15  # minimum part of the frames that must show a foreground


@dataclass(frozen=True)
class Foreground:
    """masks: (T, h, w) bool. camera: fitted outside of the masks. found: False if nothing except the camera moves."""

    masks: Tensor
    camera: Camera
    found: bool


def find_foreground(frames: Tensor, flow: Flow) -> Work[Foreground]:
    """Find the foreground of ``frames`` (T, 3, h, w) uint8, of the flow's size; yields (round, rounds)."""
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
    """Scores (T, h, w): above 1 where a pixel is foreground.

    ``moving``: (T, h, w), the ``motion_residual`` in px. ``exclude``: (T, h, w) bool, the foreground as known so far.
    """
    # 1. Motion relative to noise. Known foreground is left out of the median; a large object would raise it.
    motion = moving / (NOISE * _median(moving, exclude) + MOTION_FLOOR)
    # 2. Colour relative to noise: the difference from the background as the camera saw it at other times. That
    # background is made from the most certain pixels: not known as foreground first, not moving second.
    doubt = np.stack([cv2.dilate((m > 1).astype(np.uint8), _disk(3)) for m in motion])
    doubt = 2 * doubt + (0 if exclude is None else exclude.numpy().astype(np.uint8))
    colour = _colour_residual(frames, camera.matrices, np.asarray(doubt, np.uint8))
    exclude = torch.from_numpy(doubt > 0) if exclude is None else exclude
    colour = colour / (NOISE * _median(colour, exclude) + COLOUR_FLOOR)
    # 3. Their sum. Flow is blurred, so that the background around an object seems to move too; where the colour is the
    # background's, motion therefore counts less.
    motion = np.minimum(motion, 2) * np.clip(2 * colour, 0.2, 1)
    score = COLOUR * np.minimum(colour, 2) + MOTION * motion
    return np.stack([cv2.GaussianBlur(one, (0, 0), 0.7) for one in score])


def over_time(scores: Float, flow: Flow) -> Float:
    """The mean of ``scores`` (T, h, w) along ``flow``, with weights that decrease with the distance in frames.

    It fills in frames with a low score of their own, and lowers scores that are high for only a moment.
    """
    own = torch.from_numpy(scores)[:, None]
    pair = torch.cat([own, torch.ones_like(own)], 1)  # (T, 2, h, w): sum and weight
    n = len(pair) - 1
    heard = []
    for order, field, ok in (
        (range(n), flow.backward, flow.backward_ok),
        (range(n - 1, -1, -1), flow.forward, flow.forward_ok),
    ):
        total = pair.clone()
        for t in order:  # from frame t to t + 1 in the first pass, from t + 1 to t in the second
            start, end = (t, t + 1) if field is flow.backward else (t + 1, t)
            total[end] += MEMORY * (warp(total[start : start + 1], field[t : t + 1]) * ok[t])[0]
        heard.append(total)
    both = heard[0] + heard[1] - pair
    return np.asarray((both[:, 0] / both[:, 1]).numpy())


def _median(values: Float, exclude: Tensor | None) -> float:
    own = values if exclude is None or exclude.all() else values[~exclude.numpy()]
    return float(np.median(own))


def motion_residual(flow: Flow, matrices: Array) -> Float:
    """(T, h, w) px: distance between each pixel's flow and the camera's motion, the minimum of forward and backward.

    The minimum, because a point that is about to be hidden has no reliable forward flow, but a backward one.
    ``matrices``: (T, 3, 3), the camera.
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
    out[np.isinf(out)] = 0  # without reliable flow, colour decides
    return out


def _colour_residual(frames: Tensor, matrices: Array, doubt: Bytes) -> Float:
    """(T, h, w) in [0, 1]: difference between each frame and the median mosaic of all frames, seen by its camera.

    matrices: (T, 3, 3), the camera. doubt: as in ``median_mosaic``.
    """
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
    """The median of up to ``MOSAIC_FRAMES`` frames, each warped by its matrix into a picture of ``shape``: (H, W, 3).

    shape: (width, height). doubt: (T, h, w), 0 to 3: at each place only the pixels with the least doubt count.
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
    """``picture`` warped by ``matrix`` into one of ``shape`` = (width, height), without darkening its border."""
    moved = cv2.warpPerspective(picture, matrix, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _disk(radius: int) -> Bytes:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _clean(score: Float) -> Bytes:
    """(h, w) of 0 and 1: where ``score`` is above 1, without specks, gaps and holes."""
    unit = max(1, round(min(score.shape) / 90))
    rim = 4 * unit  # padding, so that closing does not remove pixels at the border
    mask = cv2.morphologyEx((score > 1).astype(np.uint8), cv2.MORPH_OPEN, _disk(unit))
    mask = cv2.copyMakeBorder(mask, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disk(3 * unit))[rim:-rim, rim:-rim]
    return fill_holes(large_components(np.ascontiguousarray(mask, np.uint8)))


def large_components(mask: Bytes) -> Bytes:
    """The largest component of ``mask`` (h, w), and those not much smaller; nothing if the largest is a speck."""
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    areas = stats[1:, cv2.CC_STAT_AREA]
    out = np.zeros_like(mask)
    if n > 1 and areas.max() >= LEAST_AREA * mask.size:
        out[np.isin(labels, 1 + np.flatnonzero(areas >= LEAST_PART * areas.max()))] = 1
    return out


def fill_holes(mask: Bytes) -> Bytes:
    """``mask`` (h, w) of 0 and 1 with its holes filled."""
    outside = np.pad(mask, 1)
    cv2.floodFill(outside, None, (0, 0), 2)
    return np.asarray(outside[1:-1, 1:-1] != 2, np.uint8)
