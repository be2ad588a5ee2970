"""The internal dataset: random augmentations I_s^i of the one source (supplement, section 2.1; method, section 3).

``draw`` draws the parameters of one picture from a CPU ``rng``, so that every device gets the same ones; ``apply``
and ``apply_map`` apply them to the source and to maps that belong to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from kornia import enhance
from torch import Tensor

from t2l_cli.config import MIN_SIDE, AugmentConfig
from t2l_cli.engine.resize import resized
from t2l_cli.engine.runtime import bring


@dataclass(frozen=True)
class Jitter:
    """Factors of brightness, contrast and saturation (1: unchanged); rotation of hue, in turns (0: unchanged)."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclass(frozen=True)
class AugmentParams:
    """One augmentation: a crop of the source (px), the size it is scaled to, a flip, and a colour jitter or None."""

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]  # (height, width) of the result
    flip: bool
    jitter: Jitter | None

    def changes(self, size: tuple[int, int]) -> bool:
        """Whether the augmentation changes a source of ``size`` = (height, width) px at all."""
        return self != AugmentParams(0, 0, *size, size=size, flip=False, jitter=None)


def draw(config: AugmentConfig, size: tuple[int, int], rng: torch.Generator, multiple: int = 1) -> AugmentParams:
    """Draw the parameters for a source of ``size`` = (height, width) px.

    If a side of the result would fall below the generator's minimum, both sides are scaled up by the same factor. Sides
    are rounded to multiples of ``multiple`` px.
    """
    crop_height, crop_width, scale, at_y, at_x, flip, jitter = torch.rand(7, generator=rng).tolist()
    height = max(1, round(size[0] * _between(config.crop, crop_height)))
    width = max(1, round(size[1] * _between(config.crop, crop_width)))
    factor = max(_between(config.scale, scale), MIN_SIDE / min(height, width))
    colour = torch.rand(4, generator=rng) * 2 - 1  # drawn even if unused, so that later draws do not shift
    return AugmentParams(
        top=min(int(at_y * (size[0] - height + 1)), size[0] - height),
        left=min(int(at_x * (size[1] - width + 1)), size[1] - width),
        height=height,
        width=width,
        size=whole((height * factor, width * factor), multiple),
        flip=flip < config.flip_p,
        jitter=_jitter((colour * config.jitter).tolist()) if jitter < config.jitter_p else None,
    )


def whole(size: tuple[float, float], multiple: int = 1) -> tuple[int, int]:
    """``size`` (height, width) px, each side rounded to the nearest multiple of ``multiple`` that G accepts."""
    least = math.ceil(MIN_SIDE / multiple)
    height, width = (multiple * max(least, round(side / multiple)) for side in size)
    return height, width


def scaled(picture: Tensor, scale: tuple[float, float], rng: torch.Generator, multiple: int = 1) -> Tensor:
    """``picture`` (1, C, H, W) with both sides scaled by one random factor, rounded as in ``draw``."""
    by = _between(scale, float(torch.rand((), generator=rng)))
    by = max(by, MIN_SIDE / min(picture.shape[-2:]))
    return resized(picture, whole((picture.shape[-2] * by, picture.shape[-1] * by), multiple)).clamp(0, 1)


def apply(picture: Tensor, params: AugmentParams) -> Tensor:
    """Augment ``picture`` (1, 3, H, W) in [0, 1], of the size given to ``draw``; returns (1, 3, *params.size)."""
    out = _geometry(picture, params)
    return coloured(out, params.jitter)


def draw_jitter(config: AugmentConfig, rng: torch.Generator) -> Jitter | None:
    """Draw the colour jitter alone; None leaves the colours unchanged."""
    coin, *colour = torch.rand(5, generator=rng).tolist()
    return _jitter([(2 * c - 1) * config.jitter for c in colour]) if coin < config.jitter_p else None


def coloured(pictures: Tensor, jitter: Jitter | None) -> Tensor:
    """``pictures`` (B, 3, H, W) in [0, 1] with ``jitter`` applied; None leaves them unchanged."""
    if jitter is None:
        return pictures
    by = torch.tensor([jitter.brightness, jitter.contrast, jitter.saturation, 2 * math.pi * jitter.hue])
    brightness, contrast, saturation, hue = bring(by, pictures.device)
    out = enhance.adjust_brightness_accumulative(pictures, brightness)
    out = enhance.adjust_contrast_with_mean_subtraction(out, contrast)
    out = enhance.adjust_saturation_with_gray_subtraction(out, saturation)
    return enhance.adjust_hue(out, hue).clamp(0, 1)


def apply_map(values: Tensor, params: AugmentParams) -> Tensor:
    """Apply the geometry of ``params`` to a map (1, C, H, W) of the source, without the colours."""
    return _geometry(values, params)


def _geometry(x: Tensor, params: AugmentParams) -> Tensor:
    x = x[..., params.top : params.top + params.height, params.left : params.left + params.width]
    x = resized(x, params.size).clamp(0, 1)
    return x.flip(-1) if params.flip else x


def _between(bounds: tuple[float, float], u: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * u


def _jitter(by: list[float]) -> Jitter:
    return Jitter(brightness=1 + by[0], contrast=1 + by[1], saturation=1 + by[2], hue=by[3])
