"""Gradients through a part of the network that computes in half precision.

float16 holds nothing below 6e-8, and the gradients of a faint edit are that small. The gradient that enters such a part
is therefore multiplied by a power of two that brings it into float16's range, and divided by the same where it leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LARGEST = 64.0  # largest gradient that enters: a thousandth of float16's maximum, because it may grow inside


class _Scale:
    """The factor of one backward pass, set where the gradient enters and used again where it leaves."""

    factor: Tensor


class _Leave(torch.autograd.Function):
    """The identity, at the output of the half-precision part: the gradient enters here and is scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        largest = gradient.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
        # a power of two: scaling and scaling back are exact
        ctx.scale.factor = torch.exp2(torch.floor(torch.log2(LARGEST / largest)).clamp(-100, 100))
        return gradient * ctx.scale.factor, None


class _Enter(torch.autograd.Function):
    """The identity, at the input of the half-precision part: the gradient leaves here and is scaled back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient / ctx.scale.factor, None


def in_half(function: Callable[[Tensor], Tensor], x: Tensor, dtype: torch.dtype) -> Tensor:
    """``function(x)`` computed in ``dtype``; x, the result and the gradient are float32.

    With float32 nothing is converted or scaled. The scale of the gradient is chosen in every backward pass, without
    waiting for the device.
    """
    if dtype == torch.float32:
        return function(x)
    scale = _Scale()
    entered: Tensor = _Enter.apply(x, scale)
    left: Tensor = _Leave.apply(function(entered.to(dtype)).float(), scale)
    return left
