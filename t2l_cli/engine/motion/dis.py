"""OpenCV's DIS flow, started from zero or from matched points: from zero, it loses objects that move by more than a few
px per frame.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from t2l_cli.engine.motion.matches import clear_matches

FLOW_WIDTH = 384  # px: in narrower pictures DIS misses fine detail, so they are enlarged to about this width or more
LEAST_MATCHES = 8  # with fewer matches there is no guess
MOST_POINTS = 2000  # maximum SIFT points per frame

Numbers = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


def dis(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    """The DIS flow (2, h, w) float32 px from ``a`` to ``b``, both (3, h, w) uint8. ``start``: an initial guess."""
    (first, second), up = _enlarged(a, b)
    if start is None:
        guess = np.zeros((*first.shape, 2), np.float32)
    else:
        size = (first.shape[1], first.shape[0])
        guess = cv2.resize(start.permute(1, 2, 0).contiguous().numpy(), size, interpolation=cv2.INTER_NEAREST) * up
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    field = method.calc(first, second, np.ascontiguousarray(guess, np.float32))
    if up > 1:
        field = cv2.resize(field, (a.shape[-1], a.shape[-2]), interpolation=cv2.INTER_AREA) / up
    return torch.from_numpy(np.ascontiguousarray(field)).permute(2, 0, 1).contiguous()


def matched(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor] | None:
    """Guesses of the flow from ``a`` to ``b`` and back, (2, h, w) px each: at a pixel, that of the nearest SIFT match.

    None if the frames have too few matches.
    """
    (first, second), up = _enlarged(a, b)
    sift = cv2.SIFT.create(MOST_POINTS, contrastThreshold=0.01)
    (points, features), (others, targets) = (sift.detectAndCompute(grey, None) for grey in (first, second))
    if features is None or targets is None or min(len(features), len(targets)) < LEAST_MATCHES:
        return None
    there, back = clear_matches(features, targets), clear_matches(targets, features)
    pairs = [(i, j) for i, j in there.items() if back.get(j) == i]
    if len(pairs) < LEAST_MATCHES:
        return None
    start = np.array([points[i].pt for i, _ in pairs], np.float32) / up
    end = np.array([others[j].pt for _, j in pairs], np.float32) / up
    size = (a.shape[-2], a.shape[-1])
    return _nearest(start, end - start, size), _nearest(end, start - end, size)


def _nearest(places: Numbers, values: Numbers, size: tuple[int, int]) -> Tensor:
    """(2, h, w) of ``size`` (h, w): at each pixel, the row of ``values`` (N, 2) of the nearest of ``places`` (N, 2)."""
    at = np.clip(places.round().astype(int), 0, [size[1] - 1, size[0] - 1])
    holes = np.ones(size, np.uint8)
    holes[at[:, 1], at[:, 0]] = 0
    _, labels = cv2.distanceTransformWithLabels(holes, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros((int(labels.max()) + 1, 2), np.float32)
    table[labels[at[:, 1], at[:, 0]]] = values
    return torch.from_numpy(table[labels]).permute(2, 0, 1).contiguous()


def _enlarged(a: Tensor, b: Tensor) -> tuple[tuple[Bytes, Bytes], int]:
    """Both frames (3, h, w) as enlarged grey pictures (h * up, w * up), and the factor up."""
    h, w = a.shape[-2:]
    up = max(1, math.ceil(FLOW_WIDTH / w - 0.25))
    greys = []
    for frame in (a, b):
        grey = cv2.cvtColor(frame.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
        large = cv2.resize(grey, (w * up, h * up), interpolation=cv2.INTER_CUBIC) if up > 1 else grey
        greys.append(np.asarray(large, np.uint8))
    return (greys[0], greys[1]), up
