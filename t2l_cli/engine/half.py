"""Gradients through a part of the network that computes in half precision.

float16 holds nothing below 6e-8, and gradients of a faint edit are that small. So the gradient that enters such a part
is scaled, by a power of two, to a size that float16 holds well, and what comes out at the other end is scaled back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LARGEST = 64.0  # largest gradient that enters: a thousandth of what float16 can hold, for it may grow on its way


class _Scale:
    """The factor of one pass backward, set where the gradient enters and undone where it leaves."""

    factor: Tensor


class _Leave(torch.autograd.Function):
    """The identity; backward it is where the gradient enters the half-precision part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        largest = gradient.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
        # exp2 of a whole number: scaling and scaling back lose nothing
        ctx.scale.factor = torch.exp2(torch.floor(torch.log2(LARGEST / largest)).clamp(-100, 100))
        return gradient * ctx.scale.factor, None


class _Enter(torch.autograd.Function):
    """The identity; backward it is where the gradient leaves the half-precision part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient / ctx.scale.factor, None


def in_half(function: Callable[[Tensor], Tensor], x: Tensor, dtype: torch.dtype) -> Tensor:
    """``function(x)`` computed in ``dtype``: x and the result are float32, and so is the gradient.

    float32 is passed through as it is. The gradient's scale is chosen anew in every pass backward and never waits for
    the device.
    """
    if dtype == torch.float32:
        return function(x)
    scale = _Scale()
    entered: Tensor = _Enter.apply(x, scale)
    left: Tensor = _Leave.apply(function(entered.to(dtype)).float(), scale)
    return left
