"""The fit's loss terms against values by hand and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from t2l_cli.engine.fit import losses as term
from t2l_cli.engine.motion.flow import Flow, pixel_centres


def moving(k: int, size: tuple[int, int], x: float, y: float) -> Flow:
    """``k`` pairs that all move by (x, y) px."""
    ahead = torch.tensor([x, y]).view(1, 2, 1, 1).expand(k, 2, *size)
    inside = torch.zeros(k, *size, dtype=torch.bool)
    inside[:, 3:-3, 3:-3] = True
    return Flow(ahead, -ahead, inside, inside)


def test_colour_is_charbonnier() -> None:
    error = torch.tensor([0.0, 0.3, -0.4]).view(1, 3, 1, 1)
    expected = sum(math.sqrt(e * e + term.CHARBONNIER**2) for e in (0.0, 0.3, 0.4)) / 3
    assert term.colour_loss(error).item() == pytest.approx(expected)


def test_gradient_sees_edges_not_brightness() -> None:
    flat, edge = torch.full((1, 3, 4, 6), 0.5), torch.zeros(1, 3, 4, 6)
    edge[..., 3:] = 1
    assert term.gradient_loss(flat) == 0
    assert term.gradient_loss(edge).item() == pytest.approx(1 / 5)


def coordinates(k: int, size: tuple[int, int], x: float, y: float) -> Tensor:
    """(2k, h, w, 2): places on a layer that stays while the frames move by (x, y)."""
    here = pixel_centres(size)
    return torch.stack([here] * k + [here - torch.tensor([x, y])] * k)


def test_flow_is_nothing_where_points_stay_on_their_place() -> None:
    flow, share = moving(2, (12, 16), 1.5, -0.5), torch.ones(4, 1, 12, 16)
    at = coordinates(2, (12, 16), 1.5, -0.5)
    assert term.flow_loss(at, flow, share).item() == pytest.approx(term.SLACK * 60 / 192, rel=1e-3)


def test_flow_counts_px_of_what_is_trusted_and_owned() -> None:
    flow, share = moving(1, (12, 16), 0.0, 0.0), torch.ones(2, 1, 12, 16)
    at = coordinates(1, (12, 16), 0.0, 0.0)
    at[1, ..., 0] += 2  # 2 px to the right on the layer
    assert term.flow_loss(at, flow, share).item() == pytest.approx(2 * 60 / 192, rel=1e-3)
    share[:, :, :, :8] = 0  # half of it is the other layer's
    assert term.flow_loss(at, flow, share).item() == pytest.approx(2 * 30 / 192, rel=1e-3)


def test_opacity_that_moves_along_is_free() -> None:
    flow = moving(1, (12, 16), 2.0, 0.0)
    alpha = torch.zeros(2, 1, 12, 16)
    alpha[0, :, :, 4:8], alpha[1, :, :, 6:10] = 1, 1
    assert term.alpha_flow_loss(alpha, flow).item() == pytest.approx(0, abs=1e-6)
    alpha[1] = alpha[0]
    assert term.alpha_flow_loss(alpha, flow) > 0.05


def test_rigid_lets_shift_and_turn_alone_but_not_shear() -> None:
    shift = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(2, 2, 4, 5)
    assert term.rigid_loss(shift, (30, 40)) == 0
    place = pixel_centres((4, 5)).permute(2, 0, 1) * 10  # px: control points are 10 apart in frames of 30 x 40
    turn = 0.01 * torch.stack([-place[1], place[0]])[None].expand(2, -1, -1, -1)
    grow = 0.01 * place[None].expand(2, -1, -1, -1)
    shear = 0.01 * torch.stack([place[1], place[0]])[None].expand(2, -1, -1, -1)
    stiff = 2 * 1e-4 / 2  # stretching and turning: 0.01 squared, over two components, both ways
    assert term.rigid_loss(turn, (30, 40)).item() == pytest.approx(stiff, rel=1e-4)
    assert term.rigid_loss(grow, (30, 40)).item() == pytest.approx(stiff, rel=1e-4)
    assert term.rigid_loss(shear, (30, 40)).item() == pytest.approx(stiff + term.SHEAR * 0.02**2, rel=1e-4)
    jump = torch.zeros(2, 2, 4, 5)
    jump[1] = 1
    assert term.rigid_loss(jump, (30, 40)).item() == pytest.approx(0.002)


def test_opacity_terms_by_hand() -> None:
    alpha = torch.tensor([0.0, 0.5, 1.0, 1.0]).view(1, 1, 1, 4)
    assert term.binary_loss(alpha).item() == pytest.approx(0.0625)
    assert term.variation_loss(alpha.expand(1, 1, 2, 4)).item() == pytest.approx(1 / 3)
    mask = torch.tensor([0.0, 1.0, 1.0, 1.0]).view(1, 1, 1, 4)
    expected = (3 * -math.log(1 - 1e-3) - math.log(0.5)) / 4
    assert term.bootstrap_loss(alpha, mask).item() == pytest.approx(expected, rel=1e-4)


def test_a_batch_is_all_first_frames_then_all_second_ones() -> None:
    pairs = torch.tensor([4, 0])
    assert term.stacked(pairs).tolist() == [4, 0, 5, 1]
    flow = moving(5, (8, 8), 1.0, 0.0)
    flow = Flow(flow.forward * torch.arange(5.0).view(5, 1, 1, 1), flow.backward, *flow.oks)
    assert term.batch_of(flow, pairs).forward[:, 0, 0, 0].tolist() == [4, 0]


def test_gradients_are_those_of_finite_differences() -> None:
    random = torch.Generator().manual_seed(0)
    flow = moving(1, (8, 9), 0.7, -0.3)
    flow = Flow(flow.forward.double(), flow.backward.double(), *flow.oks)
    alpha = torch.rand(2, 1, 8, 9, generator=random, dtype=torch.float64, requires_grad=True)
    at = (8 * torch.rand(2, 8, 9, 2, generator=random, dtype=torch.float64)).requires_grad_()
    grid = torch.rand(3, 2, 3, 4, generator=random, dtype=torch.float64, requires_grad=True)
    share = torch.rand(2, 1, 8, 9, generator=random, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: term.rigid_loss(x, (8, 9)), grid)
    for function, value in (
        (lambda x: term.flow_loss(x, flow, share), at),
        (lambda x: term.alpha_flow_loss(x, flow), alpha),
        (term.binary_loss, alpha),
        (term.variation_loss, alpha),
    ):
        function(value).backward()
        direction = torch.rand(value.shape, generator=random, dtype=torch.float64) - 0.5
        with torch.no_grad():
            ahead, back = function(value + 1e-6 * direction), function(value - 1e-6 * direction)
        assert value.grad is not None
        assert (value.grad * direction).sum().item() == pytest.approx((ahead - back).item() / 2e-6, abs=1e-6)
        value.grad = None
