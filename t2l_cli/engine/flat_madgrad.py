"""MADGRAD (Defazio and Jelassi, 2021) for a model of many small parameters: one tensor in place of a hundred."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from madgrad import MADGRAD
from torch import Tensor, nn

from t2l_cli.config import OptimConfig

ALIGNMENT = 64  # elements: kernels read float32 in pieces of up to 256 bytes


class FlatMADGRAD(MADGRAD):  # type: ignore[misc]  # madgrad has no types
    """MADGRAD on all parameters as one tensor: the same numbers in a dozen operations instead of a dozen for each."""

    def __init__(self, parameters: Sequence[Tensor], config: OptimConfig) -> None:
        super().__init__(
            [flatten(parameters)], lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Set the gradient to 0, always in place: the parameters' gradients are parts of it."""
        super().zero_grad(set_to_none=False)


def flatten(parameters: Sequence[Tensor]) -> nn.Parameter:
    """Move ``parameters`` into one tensor, of which they become parts, as their gradients become parts of its gradient.

    Every part keeps its memory format and begins at a whole multiple of ALIGNMENT elements.
    """
    starts = list(itertools.accumulate((-(-p.numel() // ALIGNMENT) * ALIGNMENT for p in parameters), initial=0))
    flat = nn.Parameter(parameters[0].new_zeros(starts[-1]))
    flat.grad = torch.zeros_like(flat)
    for parameter, start in zip(parameters, starts, strict=False):
        part, grad = (x.as_strided(parameter.shape, parameter.stride(), start) for x in (flat.detach(), flat.grad))
        parameter.data, parameter.grad = part.copy_(parameter.detach()), grad
    return flat
