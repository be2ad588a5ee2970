"""Points of two pictures that look alike: Lowe's test on SIFT descriptors."""

from __future__ import annotations

from typing import Any

import cv2
import numpy.typing as npt

RATIO = 0.8  # Lowe's test: the best match is so much nearer than the second


def clear_matches(features: npt.NDArray[Any], targets: npt.NDArray[Any]) -> dict[int, int]:
    """The index among ``targets`` (M, D) of the match of each of ``features`` (N, D), where one is clearly the best."""
    found = (pair for pair in cv2.BFMatcher().knnMatch(features, targets, k=2) if len(pair) == 2)
    return {one.queryIdx: one.trainIdx for one, other in found if one.distance < RATIO * other.distance}
