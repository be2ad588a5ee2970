"""The motion of the camera: one matrix per frame, which maps its px to those of a reference frame.

Computed from optical flow: RANSAC between neighbouring frames, chained to the reference. Matrices are (3, 3) float64
and map homogeneous px (x, y, 1); pixel centres have integer coordinates.
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
INLIER = 0.5  # maximum error of an inlier, px of the flow's frames
MOST_POINTS = 8000  # about so many points per frame go into RANSAC
LEAST_POINTS = 24  # with fewer points no motion is estimated
MOSAIC = 3.0  # maximum area of the mosaic, in frames; above it, homographies are not trusted


@dataclass(frozen=True)
class Camera:
    """``matrices`` (T, 3, 3): number t maps px of frame t to px of frame ``reference``. ``model``: their kind."""

    matrices: Array
    model: Model
    reference: int


def fit_camera(flow: Flow, exclude: Tensor | None = None) -> Camera:
    """Fit the camera to ``flow`` outside of ``exclude`` (T, h, w) bool, the foreground.

    Fits homographies. If their mosaic is larger than ``MOSAIC`` frames, fits affine maps instead, unless these scale a
    frame more than twice as much.
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
    """The motion from each frame to the next, (3, 3), of the pixels in ``own`` (T, h, w) bool; None if too few."""
    shown = flow.forward_ok if own is None else flow.forward_ok & own[:-1]
    return [region_motion(field, ok, model) for field, ok in zip(flow.forward, shown, strict=True)]


def region_motion(field: Tensor, own: Tensor, model: Model) -> Array | None:
    """Fit a matrix (3, 3) to the flow ``field`` (2, h, w) of the pixels in ``own`` (h, w) bool; None if too few."""
    start = pixel_centres((own.shape[0], own.shape[1]))[own]
    end = start + field.permute(1, 2, 0)[own]
    step = max(1, len(start) // MOST_POINTS)
    # OpenCV needs contiguous arrays
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
    """(T, 3, 3): from every frame to the ``reference``, by chaining ``motions`` of neighbours; None means no motion."""
    steps = [np.eye(3) if m is None else m for m in motions]
    chained = [np.eye(3)] * (len(steps) + 1)
    for t in range(reference - 1, -1, -1):
        chained[t] = chained[t + 1] @ steps[t]
    for t in range(reference + 1, len(chained)):
        chained[t] = chained[t - 1] @ np.linalg.inv(steps[t - 1])
    return np.stack([m / m[2, 2] for m in chained])


def apply(matrices: Tensor, points: Tensor) -> Tensor:
    """Apply ``matrices`` (B, 3, 3) to ``points`` (h, w, 2): (B, h, w, 2)."""
    linear = torch.einsum("hwj,bij->bhwi", points, matrices[:, :, :2]) + matrices[:, None, None, :, 2]
    return linear[..., :2] / linear[..., 2:].clamp(min=1e-3)


def corners(matrices: Array, size: tuple[int, int]) -> Array:
    """(T, 4, 2): the corners (x, y) of frames of ``size`` = (h, w), mapped by ``matrices`` (T, 3, 3)."""
    h, w = size
    square = np.array([[0, 0, 1], [w - 1, 0, 1], [w - 1, h - 1, 1], [0, h - 1, 1]], dtype=np.float64)
    moved = np.einsum("cj,tij->tci", square, matrices)
    return np.asarray(moved[..., :2] / np.where(moved[..., 2:] > 1e-3, moved[..., 2:], 1e-3))


def mosaic_bounds(matrices: Array, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The bounding box (left, top, right, bottom) of all frames, in reference px."""
    at = corners(matrices, size).reshape(-1, 2)
    (left, top), (right, bottom) = at.min(0), at.max(0)
    return float(left), float(top), float(right), float(bottom)


def spread(matrices: Array, size: tuple[int, int]) -> float:
    """Area of the mosaic's bounding box, in units of a frame's area."""
    left, top, right, bottom = mosaic_bounds(matrices, size)
    return (right - left + 1) * (bottom - top + 1) / (size[0] * size[1])


def _stretch(matrices: Array) -> float:
    """The largest factor, at least 1, by which a frame is enlarged or reduced."""
    scale = np.sqrt(np.abs(np.linalg.det(matrices[:, :2, :2])))
    return float(max(scale.max(), 1 / max(scale.min(), 1e-6)))
