"""MADGRAD (Defazio and Jelassi, 2021) for a model of many small parameters: one flat tensor instead of a hundred."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from madgrad import MADGRAD
from torch import Tensor, nn

from t2l_cli.config import OptimConfig

ALIGNMENT = 64  # elements: kernels read up to 256 bytes of float32 at a time


class FlatMADGRAD(MADGRAD):  # type: ignore[misc]  # madgrad has no types
    """MADGRAD on all parameters as one tensor: the same result with a dozen operations, not a dozen per tensor."""

    def __init__(self, parameters: Sequence[Tensor], config: OptimConfig) -> None:
        super().__init__(
            [flatten(parameters)], lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set the gradient to 0, always in place, because the parameters' gradients are views of it."""
        super().zero_grad(set_to_none=False)


def flatten(parameters: Sequence[Tensor]) -> nn.Parameter:
    """Copy ``parameters`` into one flat tensor (N,); they become views of it, their gradients views of its gradient.

    Each view keeps its memory format and begins at a multiple of ALIGNMENT elements.
    """
    starts = list(itertools.accumulate((-(-p.numel() // ALIGNMENT) * ALIGNMENT for p in parameters), initial=0))
    flat = nn.Parameter(parameters[0].new_zeros(starts[-1]))
    flat.grad = torch.zeros_like(flat)
    for parameter, start in zip(parameters, starts, strict=False):
        part, grad = (x.as_strided(parameter.shape, parameter.stride(), start) for x in (flat.detach(), flat.grad))
        parameter.data, parameter.grad = part.copy_(parameter.detach()), grad
    return flat
