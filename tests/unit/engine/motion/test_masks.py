"""Masks from the user: checked, and carried along by flow."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from t2l_cli.engine.motion.flow import estimate
from t2l_cli.engine.motion.masks import FrameMask, check_frame_mask, check_masks, propagate
from t2l_cli.errors import RequestError
from tests.truth import make_truth
from tests.unit.engine.motion.test_flow import finish

FRAMES = torch.zeros(3, 3, 20, 30, dtype=torch.uint8)


def box(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    masks = torch.zeros(3, 20, 30, dtype=dtype)
    masks[:, 5:15, 5:15] = value
    return masks


@pytest.mark.parametrize("masks", [box(1.0), box(255, torch.uint8), box(1, torch.uint8), box(True, torch.bool)])
def test_takes_masks_of_any_kind(masks: Tensor) -> None:
    solid = check_masks(masks, FRAMES)
    assert solid.dtype == torch.bool
    assert solid.sum() == 300


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        (torch.zeros(3, 20, 30), "mask is empty"),
        (torch.ones(3, 20, 30), "covers the whole frame"),
        (torch.ones(3, 30, 20), "the mask is 20 x 30 px, the video 30 x 20"),
        (torch.ones(2, 20, 30), "2 masks and 3 frames"),
    ],
)
def test_says_what_is_wrong_with_a_mask(masks: Tensor, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        check_masks(masks, FRAMES)


def test_some_frames_may_have_no_foreground() -> None:
    masks = box(1.0)
    masks[1] = 0
    assert not check_masks(masks, FRAMES)[1].any()


def test_a_mask_for_a_frame_that_is_not_there() -> None:
    with pytest.raises(RequestError, match="frame 3, the video has frames 0 to 2"):
        check_frame_mask(FrameMask(3, box(1.0)[0]), FRAMES)


@pytest.mark.parametrize("at", [0, 5])
def test_one_frames_mask_is_carried_to_all(at: int) -> None:
    truth = make_truth((128, 72), 10)
    flow = finish(estimate(truth.tensor(), (72, 128)))
    own = torch.from_numpy(truth.alpha > 0.5)
    carried = propagate(own[at], at, flow, truth.tensor())
    assert torch.equal(carried[at], own[at])
    for t in range(10):
        assert (carried[t] & own[t]).sum() / (carried[t] | own[t]).sum() > 0.85
