"""Half precision: exact scaling of the gradient, and that a faint edit keeps its direction."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.engine.clip import Clip
from t2l_cli.engine.half import in_half
from t2l_cli.engine.losses import directional_loss
from t2l_cli.engine.relevancy import relevancy
from tests.unit.engine.conftest import tiny_model


def test_float32_is_passed_through() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = in_half(torch.sin, x, torch.float32)
    assert torch.equal(y, torch.sin(x))


@pytest.mark.parametrize("size", [1e-12, 1e-7, 1.0, 1e6])
def test_gradients_of_any_size_survive_float16(size: float) -> None:
    x = torch.linspace(-1, 1, 64, requires_grad=True)
    weights = size * torch.linspace(0.1, 1, 64)
    (weights * in_half(lambda h: h * 0.5, x, torch.float16)).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weights * 0.5, rtol=2e-3, atol=0)


def test_two_passes_keep_their_scales_apart() -> None:
    x = torch.ones(8, requires_grad=True)
    (
        1e-9 * in_half(lambda h: h * 2, x, torch.float16).sum() + in_half(lambda h: h * 3, x, torch.float16).sum()
    ).backward()
    torch.testing.assert_close(x.grad, torch.full((8,), 3 + 2e-9))


def test_no_gradient_is_no_nan() -> None:
    x = torch.ones(8, requires_grad=True)
    (0 * in_half(lambda h: h * 2, x, torch.float16)).sum().backward()
    assert torch.equal(x.grad, torch.zeros(8))


def direction_gradient(clip: Clip, opacity: float) -> Tensor:
    """The gradient of L_dir by the layer's pixels, at an even ``opacity``, on one picture."""
    rng = torch.Generator().manual_seed(3)
    source, paint = torch.rand(2, 1, 3, 32, 32, generator=rng).unbind()
    paint.requires_grad_()
    direction = torch.randn(16, generator=rng)
    with torch.no_grad():
        before = clip.embed_images(source)
    after = clip.embed_images(opacity * paint + (1 - opacity) * source)
    (gradient,) = torch.autograd.grad(1e-3 * directional_loss(after, before, direction), paint)
    return gradient


@pytest.mark.parametrize(("opacity", "least"), [(0.02, 0.95), (0.1, 0.99), (1.0, 0.999)])
def test_float16_keeps_the_direction_of_a_faint_edit(opacity: float, least: float) -> None:
    def clip(dtype: torch.dtype) -> Clip:
        return Clip(copy.deepcopy(tiny_model()), lambda texts, context_length=None: torch.zeros(1), dtype=dtype)

    exact, half = (direction_gradient(clip(dtype), opacity) for dtype in (torch.float32, torch.float16))
    assert half.isfinite().all()
    assert F.cosine_similarity(exact.flatten(), half.flatten(), dim=0) > least
    assert half.norm() == pytest.approx(exact.norm().item(), rel=0.1)


def test_relevancy_does_not_depend_on_the_gradients_scale(tiny_clip: Clip) -> None:
    half = Clip(copy.deepcopy(tiny_model()), tiny_clip.tokenizer, dtype=torch.float16)
    picture = torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        relevancy(half, picture, "ball"), relevancy(tiny_clip, picture, "ball"), rtol=0, atol=0.05
    )
