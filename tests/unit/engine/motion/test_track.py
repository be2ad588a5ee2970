"""The object's path: its motion where the flow tells it, its looks where it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from t2l_cli.engine.motion import track
from t2l_cli.engine.motion.flow import Flow, estimate
from tests.truth import TruthVideo, make_truth
from tests.unit.engine.motion.test_flow import finish


def homes(truth: TruthVideo, path: np.ndarray) -> list[float]:
    """For each frame that shows the object: the mean px by which its points are off the place they have for all."""
    own = truth.alpha > 0.7
    y, x = np.mgrid[: own.shape[1], : own.shape[2]]
    places, surface, frame = [], [], []
    for t in np.flatnonzero(own.any((1, 2))):
        points = np.stack([x[own[t]], y[own[t]], np.ones(own[t].sum())], -1) @ path[t].T
        places.append(points[:, :2])
        surface.append(np.c_[truth.uv["foreground"][t][own[t]], np.ones(own[t].sum())])
        frame += [t] * len(points)
    at, on = np.concatenate(places), np.concatenate(surface)
    rest = np.linalg.norm(at - on @ np.linalg.lstsq(on, at, rcond=None)[0], axis=1)
    return [float(rest[np.array(frame) == t].mean()) for t in sorted(set(frame))]


def path_of(truth: TruthVideo) -> np.ndarray:
    frames = truth.tensor()
    flow = finish(estimate(frames, (frames.shape[-2], frames.shape[-1])))
    return track.object_path(flow, torch.from_numpy(truth.alpha > 0.5), frames)


def test_an_object_in_sight_keeps_its_points_on_their_place() -> None:
    truth = make_truth((128, 72), 10)
    far = homes(truth, path_of(truth))
    assert np.median(far) < 0.3
    assert max(far) < 0.8


def test_an_object_that_leaves_and_comes_back_does_too() -> None:
    truth = make_truth((160, 90), 24, path="away")
    far = homes(truth, path_of(truth))
    assert np.median(far) < 0.4
    assert max(far) < 2.5  # the last glimpses of it, at the border


@pytest.fixture
def cut_off() -> tuple[Tensor, Tensor]:
    """A textured square that leaves on the right by 12 px: all of it, then 28 of its 40 columns."""
    texture = make_truth((160, 90), 1, foreground=False, seed=2).tensor()[0][:, :40, :40]
    frames = torch.full((2, 3, 60, 120), 90, dtype=torch.uint8)
    masks = torch.zeros(2, 60, 120, dtype=torch.bool)
    frames[0, :, 10:50, 80:120], masks[0, 10:50, 80:120] = texture, True
    frames[1, :, 12:52, 92:120], masks[1, 12:52, 92:120] = texture[..., :28], True
    return frames, masks


def test_what_the_border_cuts_off_is_placed_by_its_colours(cut_off: tuple[Tensor, Tensor]) -> None:
    for a, b, sign in ((0, 1, 1), (1, 0, -1)):
        shift = track.slid(*cut_off, a, b)
        np.testing.assert_array_equal(shift, [[1, 0, sign * 12], [0, 1, sign * 2], [0, 0, 1]])


def test_only_what_stays_in_the_frame_counts_as_support(cut_off: tuple[Tensor, Tensor]) -> None:
    _, masks = cut_off
    field = torch.tensor([12.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 60, 120)
    inside = torch.ones(1, 60, 120, dtype=torch.bool)
    inside[:, :, 108:] = False  # nobody knows where these went
    motion = np.array([[1, 0, 12.0], [0, 1, 2.0], [0, 0, 1]])
    assert track.support(motion, Flow(field, -field, inside, inside), masks[0], 0) == 1
    motion[0, 2] = 5
    assert track.support(motion, Flow(field, -field, inside, inside), masks[0], 0) == 0


def test_no_motion_and_nothing_in_sight() -> None:
    masks = torch.zeros(3, 40, 60, dtype=torch.bool)
    masks[1, 10:30, 10:30] = True
    flow = Flow(torch.zeros(2, 2, 40, 60), torch.zeros(2, 2, 40, 60), *(torch.ones(2, 40, 60, dtype=torch.bool),) * 2)
    frames = torch.zeros(3, 3, 40, 60, dtype=torch.uint8)
    np.testing.assert_array_equal(track.object_path(flow, masks, frames), np.tile(np.eye(3), (3, 1, 1)))
