"""Blend modes: how a layer's colour C meets the picture I_s below it, B(C, I_s) (method, section 10).

All except ``shade`` are those of W3C Compositing and Blending Level 1 (section 10), on straight colours in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from t2l_cli.config import BlendMode

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
LUM = (0.3, 0.59, 0.11)  # W3C, section 10.3: of the non-separable modes
MOST_LIGHT = 3.0  # times the reference: brighter places are shaded no more
WHITEST = 0.6  # part of white in the highlights of a saturated colour
LIT = 2 / 3  # part of a thing that is darker than its plain colour: in shadow, or dark by itself, such as wheels
AMBIENT = 0.1  # light that reaches every place: on black things paint could not be seen, and would never begin


def blend(colour: Tensor, below: Tensor, mode: BlendMode, reference: Tensor | None = None) -> Tensor:
    """B(C, I_s), (B, 3, H, W) in [0, 1], differentiable with respect to ``colour``.

    colour: (B, 3, H, W); below: (B or 1, 3, H, W), both in [0, 1]. reference: Y_ref of ``shade_reference``, which only
    the mode shade needs. The mode normal gives ``colour`` itself.
    """
    if mode == "normal":
        return colour
    if mode == "shade":
        if reference is None:
            raise ValueError("the mode shade needs a reference")
        light = (luma(below) + AMBIENT) / (reference + AMBIENT)
        return _lit(colour * light.clamp(max=MOST_LIGHT))
    return _MODES[mode](colour, below)


def luma(picture: Tensor) -> Tensor:
    """The luma Y (B, 1, H, W) of ``picture`` (B, 3, H, W)."""
    return _weighted(picture, LUMA)


def shade_reference(alpha: Tensor, below: Tensor) -> Tensor:
    """Y_ref, (B, 1, 1, 1), without gradient: the luma of ``below`` (B, 3, H, W) under ``alpha`` (B, 1, H, W).

    Where Y is Y_ref, shading leaves the layer's colour as it is. It is the quantile LIT, weighted by alpha; where
    nothing is painted, that of all of the picture. A mean is raised by paint beside a dark thing on bright ground, and
    then the thing stays dark.
    """
    light, order = luma(below).flatten(1).expand(len(alpha), -1).sort(dim=1)
    paint = alpha.detach().flatten(1)
    paint = torch.where(paint.amax(1, keepdim=True) > 0, paint, 1.0)
    weight = paint.gather(1, order).cumsum(1)  # of what is no lighter
    at = torch.searchsorted(weight, LIT * weight[:, -1:]).clamp(max=light.shape[1] - 1)
    return light.gather(1, at)[:, :, None, None]


def _lit(colour: Tensor) -> Tensor:
    """``colour`` (B, 3, H, W), at least 0, within [0, 1]: what is too bright turns towards white by the luma it lacks.

    Clamped alone, a saturated colour would lose its highlights: a red thing would be flat where it is light.
    """
    shown = colour.clamp(max=1)
    white = (luma(colour) - luma(shown)).clamp(max=WHITEST)
    return shown + white * (1 - shown)


def _weighted(picture: Tensor, weights: tuple[float, float, float]) -> Tensor:
    return sum(w * picture[:, k : k + 1] for k, w in enumerate(weights))  # type: ignore[return-value]  # not 0


def _multiply(colour: Tensor, below: Tensor) -> Tensor:
    return colour * below


def _screen(colour: Tensor, below: Tensor) -> Tensor:
    return below + colour - below * colour


def _hard_light(colour: Tensor, below: Tensor) -> Tensor:
    return torch.where(colour <= 0.5, _multiply(2 * colour, below), _screen(2 * colour - 1, below))


def _overlay(colour: Tensor, below: Tensor) -> Tensor:
    return _hard_light(below, colour)


def _soft_light(colour: Tensor, below: Tensor) -> Tensor:
    dark = ((16 * below - 12) * below + 4) * below
    lighter = torch.where(below <= 0.25, dark, below.sqrt())
    down = below - (1 - 2 * colour) * below * (1 - below)
    return torch.where(colour <= 0.5, down, below + (2 * colour - 1) * (lighter - below))


def _color(colour: Tensor, below: Tensor) -> Tensor:
    """SetLum(C, Lum(I_s)): hue and saturation of the layer, luminance of the picture."""
    light = _weighted(below, LUM)
    moved = colour + (light - _weighted(colour, LUM))
    low, high = moved.amin(1, keepdim=True), moved.amax(1, keepdim=True)
    raised = light + (moved - light) * light / (light - low).clamp(min=1e-6)
    moved = torch.where(low < 0, raised, moved)
    lowered = light + (moved - light) * (1 - light) / (high - light).clamp(min=1e-6)
    return torch.where(high > 1, lowered, moved)


_MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "color": _color,
    "multiply": _multiply,
    "screen": _screen,
    "overlay": _overlay,
    "soft-light": _soft_light,
    "hard-light": _hard_light,
}
