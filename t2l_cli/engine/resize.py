"""The one function that resizes pictures and maps, bilinear and antialiased when it reduces; and a size for it."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``x`` (B, C, H, W) resized to ``size`` = (height, width); ``x`` itself if it has that size. Differentiable."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", antialias=True)


def at_most(size: tuple[int, int], pixels: float) -> tuple[int, int]:
    """``size`` (height, width), reduced to about so many ``pixels`` if it has more."""
    scale = min(1.0, math.sqrt(pixels / math.prod(size)))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
