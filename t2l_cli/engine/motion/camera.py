"""How the camera moves, and the object: one matrix a frame, into the px of a reference frame.

From optical flow: RANSAC between neighbouring frames, chained to the reference. Matrices are (3, 3) float64 and map
homogeneous px (x, y, 1); pixel centres are integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from t2l_cli.engine.motion.flow import Flow, pixel_centres

Array = npt.NDArray[np.float64]
Model = Literal["homography", "affine", "similarity"]
INLIER = 0.5  # px of the flow's frames
MOST_POINTS = 8000  # of a frame that RANSAC sees
LEAST_POINTS = 24  # below, nothing moves
MOSAIC = 3.0  # frames' areas: a homography that spreads the video further is trusted no more


@dataclass(frozen=True)
class Camera:
    """Frame t's px go to the reference frame's by ``matrices[t]``, (T, 3, 3); ``model`` is what was fitted."""

    matrices: Array
    model: Model
    reference: int


def fit_camera(flow: Flow, exclude: Tensor | None = None) -> Camera:
    """The camera from ``flow``, foreground left out: ``exclude`` (T, h, w) bool. Homographies, or affine maps
    where the chained homographies spread the frames over more than ``MOSAIC`` times their area.
    """
    reference = (len(flow.forward) + 1) // 2
    own = None if exclude is None else ~exclude
    matrices = chain(pair_motions(flow, own, "homography"), reference)
    if spread(matrices, flow.size) <= MOSAIC:
        return Camera(matrices, "homography", reference)
    affine = chain(pair_motions(flow, own, "affine"), reference)
    if _stretch(affine) <= 2 * _stretch(matrices):
        return Camera(affine, "affine", reference)
    return Camera(matrices, "homography", reference)


def pair_motions(flow: Flow, own: Tensor | None, model: Model) -> list[Array | None]:
    """From each frame to the next: a (3, 3) matrix of what ``own`` (T, h, w) bool shows; None where too little is."""
    shown = flow.forward_ok if own is None else flow.forward_ok & own[:-1]
    return [region_motion(field, ok, model) for field, ok in zip(flow.forward, shown, strict=True)]


def region_motion(field: Tensor, own: Tensor, model: Model) -> Array | None:
    """How the pixels ``own`` (h, w) bool move along ``field`` (2, h, w), as a (3, 3) matrix; None where too few do."""
    start = pixel_centres((own.shape[0], own.shape[1]))[own]
    end = start + field.permute(1, 2, 0)[own]
    step = max(1, len(start) // MOST_POINTS)
    # OpenCV takes only arrays without gaps
    return _motion(start[::step].contiguous().numpy(), end[::step].contiguous().numpy(), model)


def _motion(start: npt.NDArray[np.float32], end: npt.NDArray[np.float32], model: Model) -> Array | None:
    if len(start) < LEAST_POINTS:
        return None
    matrix: Array | None
    if model == "homography":
        found, _ = cv2.findHomography(start, end, cv2.RANSAC, INLIER)
        matrix = None if found is None else np.asarray(found, np.float64)
    else:
        estimate = cv2.estimateAffine2D if model == "affine" else cv2.estimateAffinePartial2D
        rows, _ = estimate(start, end, ransacReprojThreshold=INLIER if model == "affine" else 2 * INLIER)
        matrix = None if rows is None else np.vstack([rows, [0.0, 0.0, 1.0]])
    if matrix is None or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-3:
        return None
    return matrix


def chain(motions: list[Array | None], reference: int) -> Array:
    """(T, 3, 3): every frame to the ``reference`` by its neighbours' ``motions``; None counts as rest."""
    steps = [np.eye(3) if m is None else m for m in motions]
    chained = [np.eye(3)] * (len(steps) + 1)
    for t in range(reference - 1, -1, -1):
        chained[t] = chained[t + 1] @ steps[t]
    for t in range(reference + 1, len(chained)):
        chained[t] = chained[t - 1] @ np.linalg.inv(steps[t - 1])
    return np.stack([m / m[2, 2] for m in chained])


def apply(matrices: Tensor, points: Tensor) -> Tensor:
    """``points`` (h, w, 2) by ``matrices`` (B, 3, 3): (B, h, w, 2)."""
    linear = torch.einsum("hwj,bij->bhwi", points, matrices[:, :, :2]) + matrices[:, None, None, :, 2]
    return linear[..., :2] / linear[..., 2:].clamp(min=1e-3)


def corners(matrices: Array, size: tuple[int, int]) -> Array:
    """(T, 4, 2): where the corners of frames of ``size`` = (h, w) go."""
    h, w = size
    square = np.array([[0, 0, 1], [w - 1, 0, 1], [w - 1, h - 1, 1], [0, h - 1, 1]], dtype=np.float64)
    moved = np.einsum("cj,tij->tci", square, matrices)
    return np.asarray(moved[..., :2] / np.where(moved[..., 2:] > 1e-3, moved[..., 2:], 1e-3))


def mosaic_bounds(matrices: Array, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in reference px of all frames together."""
    at = corners(matrices, size).reshape(-1, 2)
    (left, top), (right, bottom) = at.min(0), at.max(0)
    return float(left), float(top), float(right), float(bottom)


def spread(matrices: Array, size: tuple[int, int]) -> float:
    """Area of the mosaic's box in frames."""
    left, top, right, bottom = mosaic_bounds(matrices, size)
    return (right - left + 1) * (bottom - top + 1) / (size[0] * size[1])


def _stretch(matrices: Array) -> float:
    """The most that a frame is enlarged or reduced."""
    scale = np.sqrt(np.abs(np.linalg.det(matrices[:, :2, :2])))
    return float(max(scale.max(), 1 / max(scale.min(), 1e-6)))
