"""The foreground by motion alone, on videos with known truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from t2l_cli.engine.motion.flow import estimate
from t2l_cli.engine.motion.foreground import Foreground, fill_holes, find_foreground, large_components
from tests.truth import TruthVideo, make_truth
from tests.unit.engine.motion.test_flow import finish


def found_in(truth: TruthVideo) -> Foreground:
    frames = truth.tensor()
    size = (frames.shape[-2], frames.shape[-1])
    return finish(find_foreground(frames, finish(estimate(frames, size))))


@pytest.mark.parametrize("camera", ["pan", "static"])
def test_finds_what_moves_otherwise_than_the_camera(camera: str) -> None:
    truth = make_truth((128, 72), 12, camera=camera)  # type: ignore[arg-type]
    found = found_in(truth)
    own = torch.from_numpy(truth.alpha > 0.5)
    assert found.found
    assert (found.masks & own).sum() / own.sum() > 0.97
    assert (found.masks & own).sum() / (found.masks | own).sum() > 0.75


def test_finds_nothing_where_only_the_camera_moves() -> None:
    found = found_in(make_truth((128, 72), 10, foreground=False))
    assert not found.found
    assert not found.masks.any()


def test_equal_and_black_frames_have_no_foreground() -> None:
    for value in (0, 128):
        frames = torch.full((4, 3, 48, 64), value, dtype=torch.uint8)
        assert not finish(find_foreground(frames, finish(estimate(frames, (48, 64))))).found


def test_components_and_holes() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[5:25, 5:25] = 1
    mask[10:15, 10:15] = 0
    mask[5:15, 40:50] = 1
    mask[35, 55] = 1
    kept = large_components(mask)
    assert kept[35, 55] == 0
    assert kept[5:15, 40:50].all()
    assert fill_holes(kept)[5:25, 5:25].all()
    speck = np.zeros((40, 60), np.uint8)
    speck[20, 20:22] = 1
    assert not large_components(speck).any()
