"""The one way in which pictures and maps change their size: bilinear, antialiased where they get smaller."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``x`` (B, C, H, W) at ``size`` = (height, width); itself where it has that size. Differentiable."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", antialias=True)
