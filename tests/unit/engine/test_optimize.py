"""The loop on a toy problem: convergence, the rate's schedule, divergence, laziness."""

from __future__ import annotations

import pytest
import torch
from madgrad import MADGRAD
from torch import Tensor, nn

from t2l_cli.config import OptimConfig
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.optimize import learning_rate, optimise
from t2l_cli.errors import DeviceMemoryError, DivergedError

TARGET = torch.tensor([1.0, -2.0, 0.5])


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(3))

    def distance(self) -> Tensor:
        return ((self.x - TARGET) ** 2).sum()


def test_finds_the_minimum_of_a_quadratic() -> None:
    point = Point()
    config = OptimConfig(steps=400, lr=0.05, lr_decay=1.0, weight_decay=0.0)
    steps = list(optimise(point, lambda i: Losses({"distance": point.distance()}), config))
    torch.testing.assert_close(point.x.detach(), TARGET, atol=1e-2, rtol=0)
    assert [step.i for step in steps] == list(range(400))
    assert steps[0].n == 400
    assert steps[0].total == pytest.approx(5.25)
    assert steps[-1].total < 1e-3
    assert steps[-1].terms == {"distance": steps[-1].total}


def test_rate_decays_to_its_floor() -> None:
    config = OptimConfig()
    assert learning_rate(config, 0) == 2.5e-3
    assert learning_rate(config, 100) == pytest.approx(2.5e-3 * 0.99**100)
    assert learning_rate(config, 999) == 1e-5
    point = Point()
    config = OptimConfig(steps=3, lr=0.1, lr_decay=0.5, lr_min=0.03)
    rates = [step.lr for step in optimise(point, lambda i: Losses({"d": point.distance()}), config)]
    assert rates == [0.1, 0.05, 0.03]


@pytest.mark.parametrize("check_every", [1, 4])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_divergence_puts_the_last_good_parameters_back(bad: float, check_every: int) -> None:
    point = Point()
    seen: list[Tensor] = []

    def closure(i: int) -> Losses:
        seen.append(point.x.detach().clone())
        return Losses({"d": point.distance() * (bad if i >= 6 else 1.0)})

    with pytest.raises(DivergedError, match="NaN or infinite"):
        list(optimise(point, closure, OptimConfig(steps=20, lr=0.1), check_every=check_every))
    last_checked = 5 if check_every == 1 else 4
    assert torch.equal(point.x.detach(), seen[last_checked])


@pytest.mark.parametrize("bad_step", [0, 3])
def test_a_divergence_says_its_step_and_nothing_that_it_does_not_know(bad_step: int) -> None:
    point = Point()

    def closure(i: int) -> Losses:
        return Losses({"d": point.distance() * (float("nan") if i == bad_step else 1.0)})

    with pytest.raises(DivergedError) as error:
        list(optimise(point, closure, OptimConfig(steps=5)))
    assert str(error.value) == f"the loss became NaN or infinite at step {bad_step + 1}."


def test_a_gradient_that_is_not_finite_never_reaches_the_parameters() -> None:
    point = Point()

    def closure(i: int) -> Losses:  # sqrt(0) = 0 is finite, its slope is not
        return Losses({"d": (point.x * 0).sum().sqrt() if i == 2 else point.distance()})

    with pytest.raises(DivergedError):
        list(optimise(point, closure, OptimConfig(steps=5)))
    assert point.x.isfinite().all()


def test_parameters_are_looked_at_after_the_last_step() -> None:
    point = Point()

    def closure(i: int) -> Losses:
        return Losses({"d": (point.x * 0).sum().sqrt() if i == 2 else point.distance()})

    with pytest.raises(DivergedError):
        list(optimise(point, closure, OptimConfig(steps=3), check_every=10))
    assert torch.equal(point.x.detach(), torch.zeros(3))


def test_nothing_is_computed_ahead_of_the_consumer() -> None:
    point, calls = Point(), []

    def closure(i: int) -> Losses:
        calls.append(i)
        return Losses({"d": point.distance()})

    steps = optimise(point, closure, OptimConfig(steps=5))
    next(steps)
    next(steps)
    assert calls == [0, 1]


def test_out_of_device_memory_says_what_to_turn() -> None:
    def closure(i: int) -> Losses:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DeviceMemoryError, match=r"--size.*--views.*--preset"):
        next(optimise(Point(), closure, OptimConfig()))


class Mixed(nn.Module):
    """Parameters of several shapes, one of them in channels_last."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        kernel = torch.randn(4, 3, 3, 3, generator=random).contiguous(memory_format=torch.channels_last)
        self.kernel, self.scale = nn.Parameter(kernel), nn.Parameter(torch.randn(5, generator=random))

    def loss(self, i: int) -> Tensor:
        return (self.kernel - 0.3 * i).square().sum() + (self.scale * (i + 1)).sin().sum()


def test_one_tensor_of_parameters_trains_like_each_by_itself() -> None:
    config = OptimConfig(steps=5)
    flat, plain = Mixed(), Mixed()
    optimizer = MADGRAD(
        plain.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )  # fmt: skip
    for _ in optimise(plain, lambda i: Losses({"d": plain.loss(i)}), config, optimizer=optimizer):
        pass
    list(optimise(flat, lambda i: Losses({"d": flat.loss(i)}), config))
    for one, other in zip(flat.parameters(), plain.parameters(), strict=True):
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)
    assert not torch.equal(flat.scale, Mixed().scale)


def test_a_step_that_failed_is_repeated_where_that_can_be_made_possible() -> None:
    point, calls = Point(), []

    def closure(i: int) -> Losses:
        calls.append(i)
        if i == 1 and calls.count(1) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Losses({"d": point.distance()})

    config = OptimConfig(steps=3)
    steps = list(optimise(point, closure, config, recover=lambda error: f"smaller {calls.count(1)}"))
    assert calls == [0, 1, 1, 1, 2]
    assert [step.note for step in steps] == ["", "smaller 2", ""]
    calls.clear()
    with pytest.raises(DeviceMemoryError):
        list(optimise(Point(), closure, config, recover=lambda error: None))
