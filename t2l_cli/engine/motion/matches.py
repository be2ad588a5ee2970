"""Matching points of two pictures: Lowe's ratio test on SIFT descriptors."""

from __future__ import annotations

from typing import Any

import cv2
import numpy.typing as npt

RATIO = 0.8  # Lowe's test: maximum ratio of the distances of the best and second-best match


def clear_matches(features: npt.NDArray[Any], targets: npt.NDArray[Any]) -> dict[int, int]:
    """Clear matches of ``features`` (N, D) among ``targets`` (M, D): index in features -> index in targets."""
    found = (pair for pair in cv2.BFMatcher().knnMatch(features, targets, k=2) if len(pair) == 2)
    return {one.queryIdx: one.trainIdx for one, other in found if one.distance < RATIO * other.distance}
