"""Blend modes against the formulas of W3C Compositing and Blending Level 1, written out here number by number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from t2l_cli.config import BlendMode
from t2l_cli.engine.blend import AMBIENT, LIT, MOST_LIGHT, blend, luma, shade_reference
from t2l_cli.engine.fullres import FullLayer
from t2l_cli.engine.layers import EditLayer

MODES: tuple[BlendMode, ...] = get_args(BlendMode)
Number = Callable[[float, float], float]


def multiply(cb: float, cs: float) -> float:
    return cb * cs


def screen(cb: float, cs: float) -> float:
    return 1 - (1 - cb) * (1 - cs)


def hard_light(cb: float, cs: float) -> float:
    return multiply(cb, 2 * cs) if cs <= 0.5 else screen(cb, 2 * cs - 1)


def overlay(cb: float, cs: float) -> float:
    return hard_light(cs, cb)


def soft_light(cb: float, cs: float) -> float:
    if cs <= 0.5:
        return cb - (1 - 2 * cs) * cb * (1 - cb)
    d = ((16 * cb - 12) * cb + 4) * cb if cb <= 0.25 else math.sqrt(cb)
    return cb + (2 * cs - 1) * (d - cb)


SEPARABLE: dict[str, Number] = {
    "multiply": multiply,
    "screen": screen,
    "overlay": overlay,
    "soft-light": soft_light,
    "hard-light": hard_light,
}


def lum(c: list[float]) -> float:
    return 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]


def color(cb: list[float], cs: list[float]) -> list[float]:
    """SetLum(Cs, Lum(Cb)) with ClipColor."""
    d = lum(cb) - lum(cs)
    c = [x + d for x in cs]
    light, n, x = lum(c), min(c), max(c)
    if n < 0:
        c = [light + (v - light) * light / (light - n) for v in c]
    if x > 1:
        c = [light + (v - light) * (1 - light) / (x - light) for v in c]
    return c


def pictures(n: int = 2) -> list[Tensor]:
    """Colours (1, 3, 5, 7) all over [0, 1], with both ends and the places where formulas change."""
    rng = torch.Generator().manual_seed(3)
    made = [torch.rand(1, 3, 5, 7, generator=rng, dtype=torch.float64) for _ in range(n)]
    for k, picture in enumerate(made):
        picture[0, :, 0, :5] = torch.tensor([0.0, 1.0, 0.25, 0.5, 0.75]).roll(k)
    return made


@pytest.mark.parametrize("mode", SEPARABLE)
def test_separable_modes_are_w3cs(mode: BlendMode) -> None:
    colour, below = pictures()
    expected = [SEPARABLE[mode](b, c) for b, c in zip(below.flatten().tolist(), colour.flatten().tolist(), strict=True)]
    torch.testing.assert_close(blend(colour, below, mode).flatten(), torch.tensor(expected, dtype=torch.float64))


def test_color_is_w3cs() -> None:
    colour, below = pictures()
    pixels = zip(below[0].flatten(1).T.tolist(), colour[0].flatten(1).T.tolist(), strict=True)
    expected = torch.tensor([color(b, c) for b, c in pixels], dtype=torch.float64)
    torch.testing.assert_close(blend(colour, below, "color")[0].flatten(1).T, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_those_of_finite_differences(mode: BlendMode) -> None:
    rng = torch.Generator().manual_seed(4)
    colour, below = (0.05 + 0.9 * torch.rand(1, 3, 3, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    reference = torch.full((1, 1, 1, 1), 0.6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda c: blend(c, below, mode, reference), colour.requires_grad_())


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_colours_and_finite_gradients(mode: BlendMode) -> None:
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 6).T[None, :, None]  # (1, 6, 1, 729)
    colour, below = corners[:, :3].clone().requires_grad_(), corners[:, 3:]
    out = blend(colour, below, mode, torch.tensor(0.5).view(1, 1, 1, 1))
    out.sum().backward()
    assert float(out.detach().amin()) >= -1e-5
    assert float(out.detach().amax()) <= 1 + 1e-5
    assert colour.grad is not None
    assert colour.grad.isfinite().all()


def test_normal_is_the_colour_itself() -> None:
    colour, below = pictures()
    assert blend(colour, below, "normal") is colour
    layer = EditLayer(colour, colour[:, :1])
    assert layer.blended(below, "normal") is layer


def test_shade_keeps_the_colour_at_the_reference_and_moves_with_the_light_elsewhere() -> None:
    colour = torch.tensor([0.4, 0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 2, 3)
    grey = torch.tensor([[0.3, 0.6, 0.15], [0.3, 0.85, 0.0]])
    shaded = blend(colour, grey.expand(1, 3, 2, 3), "shade", torch.tensor(0.3).view(1, 1, 1, 1))
    torch.testing.assert_close(shaded, colour * (grey + AMBIENT) / (0.3 + AMBIENT))
    dim, dark = 0.5 * colour, torch.zeros(1, 1, 1, 1)
    torch.testing.assert_close(blend(dim, torch.ones(1, 3, 2, 3), "shade", dark), MOST_LIGHT * dim)


@pytest.mark.parametrize("colour", [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.9, 0.8, 0.1), (0.5, 0.5, 0.5)])
def test_the_light_is_seen_on_a_colour_that_could_not_be_brighter(colour: tuple[float, float, float]) -> None:
    """More light is more luma, and the colour keeps its hue: no highlight is white."""
    painted = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 1, 50)
    light = torch.linspace(0.3, 1, 50).view(1, 1, 1, 50).expand(1, 3, 1, 50)
    shaded = blend(painted, light, "shade", torch.full((1, 1, 1, 1), 0.3))
    assert (luma(shaded).diff(dim=-1) >= -1e-6).all()
    assert (luma(shaded).diff(dim=-1) > 1e-4).float().mean() > 0.5
    order = torch.tensor(colour).argsort(stable=True)
    assert (shaded[0, order].diff(dim=0) >= -1e-6).all()
    if colour != (0.5, 0.5, 0.5):
        assert shaded[0, order[0]].max() < 0.75


def test_the_reference_is_of_the_luma_under_the_layer() -> None:
    below = torch.zeros(2, 3, 4, 4)
    below[0, :, :2], below[1] = 0.8, 0.01
    alpha = torch.zeros(2, 1, 4, 4)
    alpha[:, :, :3] = 0.5
    reference = shade_reference(alpha.requires_grad_(), below)
    torch.testing.assert_close(reference.flatten(), torch.tensor([0.8, 0.01]))
    assert not reference.requires_grad
    nothing, all = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    assert torch.equal(shade_reference(nothing, below[:1]), shade_reference(all, below[:1]))
    assert shade_reference(nothing, below[:1]).item() > 0
    torch.testing.assert_close(luma(torch.ones(1, 3, 1, 1)).item(), 1.0)


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_two_thirds_of_the_paint_are_darker_than_the_reference_and_a_third_is_lighter(
    seed: int, strength: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    alpha, below = torch.rand(1, 1, 5, 7, generator=rng), torch.rand(1, 3, 5, 7, generator=rng)
    reference, light = shade_reference(alpha, below), luma(below)
    assert alpha[light < reference].sum() <= LIT * alpha.sum() + 1e-4
    assert alpha[light > reference].sum() <= (1 - LIT) * alpha.sum() + 1e-4
    torch.testing.assert_close(shade_reference(strength * alpha, below), reference)


def test_paint_beside_a_dark_thing_leaves_its_colour() -> None:
    """A sixth of the paint lies on white ground, as at the beginning of an edit of a black silhouette."""
    below = torch.zeros(1, 3, 4, 6)
    below[..., 5:] = 1.0
    assert shade_reference(torch.ones(1, 1, 4, 6), below).item() == 0


def test_paint_is_seen_on_black_things() -> None:
    """A bright reference, as where most of the paint is still beside the thing, must not hide it."""
    gold, black = torch.tensor([0.8, 0.6, 0.2]).view(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)
    assert torch.equal(blend(gold, black, "shade", torch.zeros(1, 1, 1, 1)), gold)
    assert blend(gold, black, "shade", torch.full((1, 1, 1, 1), 0.5)).max() > 0.1


@pytest.mark.parametrize("mode", MODES)
def test_the_full_layer_over_the_photo_shows_the_blend(mode: BlendMode) -> None:
    """What is written is blended already, whatever strips it is made in."""
    rng = torch.Generator().manual_seed(5)
    source = torch.rand(1, 3, 40, 60, generator=rng)
    layer = EditLayer(torch.rand(1, 3, 10, 15, generator=rng), torch.rand(1, 1, 10, 15, generator=rng))
    plain, made = FullLayer(layer, source).whole(), FullLayer(layer, source, blend=mode)
    small = torch.nn.functional.interpolate(source, size=(10, 15), mode="bilinear", antialias=True).clamp(0, 1)
    expected = plain.blended(source, mode, shade_reference(layer.alpha, small))
    torch.testing.assert_close(made.whole().rgb, expected.rgb)
    torch.testing.assert_close(made.rows(slice(7, 19)).rgb, expected.rgb[:, :, 7:19])
    assert torch.equal(made.whole().alpha, plain.alpha)
