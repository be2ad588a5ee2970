"""Every term of Eq. 2 on hand-computed numbers, and its gradient against finite differences in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from t2l_cli.engine import losses


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("degrees", [10.0, 60.0, 90.0, 180.0])
def test_text_distance_is_half_the_squared_angle(degrees: float) -> None:
    angle = math.radians(degrees)
    x = torch.tensor([3.0, 0.0], dtype=torch.float64)
    y = 0.5 * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    assert losses.text_distance(x, y).item() == pytest.approx(angle**2 / 2)
    assert losses.text_distance(x, y, "cosine").item() == pytest.approx(1 - math.cos(angle))


def test_text_distance_of_equal_texts_has_a_finite_gradient() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    losses.text_distance(x, x.detach()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_text_terms_are_means_over_views() -> None:
    views = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    target = torch.tensor([5.0, 0.0])
    quarter = (math.pi / 2) ** 2 / 2
    assert losses.cosine_loss(views, target).item() == pytest.approx(quarter / 2, rel=1e-5)
    assert losses.screen_loss(views, target).item() == pytest.approx(quarter / 2, rel=1e-5)
    assert losses.cosine_loss(views, target.expand(2, 2), "cosine").item() == pytest.approx(0.5)


def test_directional_loss_by_hand() -> None:
    source = torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    direction = torch.tensor([0.0, 3.0])
    composite = source + torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, -1.0]])  # along, across and against
    assert losses.directional_loss(composite, source, direction).item() == pytest.approx((0 + 1 + 2) / 3)


def test_directional_loss_without_any_change_is_finite() -> None:
    source = torch.ones(2, 3)
    composite = source.clone().requires_grad_()
    loss = losses.directional_loss(composite, source, torch.ones(3))
    loss.backward()
    assert loss.item() == pytest.approx(1)
    assert composite.grad is not None
    assert composite.grad.isfinite().all()


def test_structure_by_hand() -> None:
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]])
    half = math.sqrt(0.5)
    expected = torch.tensor([[[1, 0, half], [0, 1, half], [half, half, 1]]])
    torch.testing.assert_close(losses.self_similarity(tokens), expected)
    same = torch.ones(1, 3, 3)
    difference = (2 * 1 + 4 * (1 - half) ** 2) / 9
    assert losses.structure_loss(expected, same).item() == pytest.approx(difference, rel=1e-5)


def test_structure_ignores_the_tokens_length_and_rotation() -> None:
    tokens = numbers(1, 5, 4)
    rotation = torch.linalg.qr(numbers(4, 4, seed=1))[0]
    turned = 3 * tokens @ rotation
    assert losses.structure_loss(losses.self_similarity(tokens), losses.self_similarity(turned)).item() < 1e-12


def test_sparsity_by_hand() -> None:
    alpha = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    smooth = 2 / (1 + math.exp(-5)) - 1
    assert losses.sparsity_loss(alpha, 2.0).item() == pytest.approx(2 * 0.5 + smooth / 2)
    assert losses.sparsity_loss(torch.zeros(1, 1, 2, 2)).item() == 0


def test_bootstrap_compares_at_224() -> None:
    assert losses.bootstrap_loss(torch.full((1, 1, 300, 150), 0.75), torch.full((1, 1, 7, 7), 0.25)).item() == 0.25
    half = torch.cat([torch.zeros(1, 1, 224, 112), torch.ones(1, 1, 224, 112)], dim=-1)
    assert losses.bootstrap_loss(half, torch.zeros(1, 1, 224, 224)).item() == pytest.approx(0.5)


VIEWS, TEXT, SOURCE = numbers(3, 4), numbers(4, seed=1), numbers(3, 4, seed=2)
ALPHA = torch.rand(1, 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
STRUCTURE = losses.self_similarity(numbers(1, 5, 4, seed=4))
GRADIENTS: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "spherical": (lambda x: losses.cosine_loss(x, TEXT), VIEWS),
    "cosine": (lambda x: losses.cosine_loss(x, TEXT, "cosine"), VIEWS),
    "direction": (lambda x: losses.directional_loss(x, SOURCE, TEXT), VIEWS),
    "screen": (lambda x: losses.screen_loss(x, TEXT), VIEWS),
    "structure": (lambda x: losses.structure_loss(STRUCTURE, losses.self_similarity(x)), numbers(1, 5, 4)),
    "sparsity": (losses.sparsity_loss, ALPHA),
    "bootstrap": (lambda x: losses.bootstrap_loss(x, ALPHA**2), ALPHA),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_against_finite_differences(name: str) -> None:
    function, point = GRADIENTS[name]
    assert torch.autograd.gradcheck(function, (point.clone().requires_grad_(),), eps=1e-6, atol=1e-6)


def test_total_is_the_sum_of_the_terms() -> None:
    terms = {"a": torch.tensor(1.5, requires_grad=True), "b": torch.tensor(0.25)}
    both = losses.Losses(terms)
    assert both.total.item() == 1.75
    assert both.total.requires_grad
    assert not both.detach().total.requires_grad
