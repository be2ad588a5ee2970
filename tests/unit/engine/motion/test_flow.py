"""Optical flow: its conventions, what is to be trusted, cuts, and the picture of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from t2l_cli.engine.motion import flow as flows
from t2l_cli.errors import RequestError
from tests.truth import make_truth


def finish(work: flows.Work[flows.T]) -> flows.T:
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def constant(size: tuple[int, int], x: float, y: float) -> Tensor:
    return torch.tensor([x, y])[:, None, None].expand(2, *size)


@pytest.fixture(scope="module")
def shifted() -> Tensor:
    """Three frames of a texture that moves by (3, -2) px a frame."""
    ground = make_truth((160, 90), 1, foreground=False).tensor()[0]
    return torch.stack([ground[:, 20 + 2 * t : 70 + 2 * t, 30 - 3 * t : 130 - 3 * t] for t in range(3)])


def test_flow_leads_to_where_the_point_is_in_the_next_frame(shifted: Tensor) -> None:
    flow = finish(flows.estimate(shifted, (50, 100)))
    assert flow.forward.shape == (2, 2, 50, 100)
    inner = (slice(None), slice(10, 40), slice(10, 90))
    for t in range(2):
        forward, backward = (
            flow.forward[t][inner].flatten(1).median(1).values,
            flow.backward[t][inner].flatten(1).median(1).values,
        )
        torch.testing.assert_close(forward, torch.tensor([3.0, -2.0]), atol=0.1, rtol=0)
        torch.testing.assert_close(backward, torch.tensor([-3.0, 2.0]), atol=0.1, rtol=0)
        assert flow.forward_ok[t][10:40, 10:90].float().mean() > 0.95
        assert not flow.forward_ok[t][:, 98:].any()  # leaves the frame


def test_progress_counts_the_pairs(shifted: Tensor) -> None:
    assert list(flows.estimate(shifted, (50, 100))) == [(1, 2), (2, 2)]


def test_another_flow_function_is_asked_both_ways(shifted: Tensor) -> None:
    asked = []

    def standing(a: Tensor, b: Tensor) -> Tensor:
        asked.append((a.shape, b.dtype))
        return torch.zeros(2, *a.shape[1:])

    flow = finish(flows.estimate(shifted, (25, 50), standing))
    assert asked == [((3, 50, 100), torch.uint8)] * 4  # finer than the working size, which is too small for flow
    assert flow.size == (25, 50)
    assert flow.forward_ok.all()


@pytest.mark.parametrize("size", [(20, 40), (80, 160)])
def test_a_resized_flow_is_the_same_motion(size: tuple[int, int]) -> None:
    resized = flows.resize_flow(constant((40, 80), 4.0, -2.0)[None], size)
    torch.testing.assert_close(resized[0], constant(size, 4.0 * size[1] / 80, -2.0 * size[0] / 40))


def test_warp_reads_at_the_end_of_the_flow() -> None:
    picture = torch.arange(12.0).reshape(1, 1, 3, 4)
    read = flows.warp(picture, constant((3, 4), 1.0, 0.0)[None])
    torch.testing.assert_close(read[0, 0, :, :3], picture[0, 0, :, 1:])


def test_what_does_not_come_back_is_not_trusted() -> None:
    there, back = constant((20, 30), 2.0, 0.0)[None], constant((20, 30), -2.0, 0.0)[None].clone()
    back[:, :, 5:15] = 0
    ok = flows.agreement(there, back)[0]
    assert not ok[7:13].any()
    assert ok[:4, :28].all()
    assert not ok[:, 28:].any()


def test_a_cut_is_found_and_named(shifted: Tensor) -> None:
    other = 255 - make_truth((160, 90), 1, foreground=False, seed=7).tensor()[0][:, :50, :100]
    frames = torch.stack([*shifted, other, other])
    flow = finish(flows.estimate(frames, (50, 100)))
    with pytest.raises(RequestError, match=r"between frames 12 and 13.*\n.*--frames 10:13 or --frames 13:15"):
        flows.check_cuts(frames, flow, first=10)


def test_no_cut_where_there_is_none(shifted: Tensor) -> None:
    flows.check_cuts(shifted, finish(flows.estimate(shifted, (50, 100))))
    black = torch.zeros(3, 3, 50, 100, dtype=torch.uint8)
    flows.check_cuts(black, finish(flows.estimate(black, (50, 100))))


def test_picture_of_flow_is_white_where_nothing_moves_and_black_where_it_is_not_trusted() -> None:
    flow, ok = torch.zeros(2, 10, 12), torch.ones(10, 12, dtype=torch.bool)
    flow[0, 5:] = 3
    flow[1, 9], ok[9] = 500, False  # which does not make the rest pale
    picture = flows.flow_picture(flow, ok)
    assert picture.shape == (3, 10, 12)
    assert picture.dtype == torch.float32
    assert (picture[:, :5] == 1).all()
    assert torch.equal(picture[:, 5:9], torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 4, 12))  # to the right: red
    assert (picture[:, 9] == 0).all()
    assert (flows.flow_picture(flow, torch.zeros_like(ok)) == 0).all()
