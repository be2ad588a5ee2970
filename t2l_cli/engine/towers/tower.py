"""What the method asks of a CLIP's image tower, whatever library it comes from.

A kind of tower is a subclass of :class:`Tower` in a file of its own, and a line in ``kinds.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from t2l_cli.errors import RequestError

INSTEAD = "Choose a ViT such as ViT-B-32, ViT-B-16 or ViT-L-14."

Grid = tuple[int, int]
"""Rows and columns of tokens."""


class Tower(ABC):
    """An image tower whose last layers are transformer blocks over a grid of tokens.

    Attributes:
    ``visual``: the module itself; ``whole``: from pixels to embeddings; ``before_last``: from pixels to tokens. The
    latter two share the weights of ``visual``, and may be compiled.
    ``patch_size``: px of the picture per token, along each side. ``grid``: the native one, (rows, columns).
    ``input_size``: the native short side, px, in whole patches.
    ``pools_class_token``: whether the embedding is read from the first token; otherwise all tokens are pooled.
    """

    visual: nn.Module
    patch_size: int
    grid: Grid
    pools_class_token: bool

    def __init__(self, visual: nn.Module) -> None:
        self.visual = visual
        self.whole, self.before_last = _Whole(self), _BeforeLast(self)
        self._positions: dict[Grid, dict[str, Tensor]] = {}

    @property
    def input_size(self) -> int:
        """The native short side, px."""
        return min(self.grid) * self.patch_size

    @classmethod
    @abstractmethod
    def reads(cls, visual: object) -> bool:
        """Whether ``visual`` is of this kind."""

    @abstractmethod
    def position_embeddings(self, grid: Grid) -> dict[str, Tensor]:
        """What stands for the tower's position embeddings on ``grid``: by the names of parameters and buffers."""

    @abstractmethod
    def explicit_attention(self) -> AbstractContextManager[list[Tensor]]:
        """Within the context, collect the attention matrices of the last block, (1, heads, N, N).

        Each is a float32 leaf tensor of the graph. The fused attention of a normal pass has no such matrix.
        """

    @abstractmethod
    def pooled(self) -> AbstractContextManager[list[Tensor]]:
        """Within the context, collect what is pooled: (1, groups, M, C), the vectors of the last M of the N tokens.

        Linear pooling adds them up, each with its weight, so gradient . vector is the part of a token in the result.
        The groups are the heads of an attention pooling, or one.
        """

    @staticmethod
    @abstractmethod
    def _embed(visual: nn.Module, pixels: Tensor) -> Tensor:
        """Embeddings (B, D) of normalised ``pixels`` (B, 3, h, w)."""

    @staticmethod
    @abstractmethod
    def _tokens(visual: nn.Module, pixels: Tensor) -> Tensor:
        """All tokens before the last block (B, N, C): first class token and registers, then the grid by rows."""

    def uncompiled(self) -> nn.Module:
        """``whole`` anew, with the same weights but not compiled, so that hooks on its modules are called."""
        return _Whole(self)

    def run(self, part: nn.Module, pixels: Tensor) -> Tensor:
        """``part``, that is ``whole`` or ``before_last``, of ``pixels`` (B, 3, h, w), whole patches on each side."""
        grid = (pixels.shape[-2] // self.patch_size, pixels.shape[-1] // self.patch_size)
        if grid == self.grid:
            return cast(Tensor, part(pixels))
        if grid not in self._positions:
            self._positions[grid] = {f"visual.{k}": v for k, v in self.position_embeddings(grid).items()}
        return cast(Tensor, functional_call(part, self._positions[grid], (pixels,)))


# Two classes, though they differ in little: a compiler counts its graphs by the code of ``forward``.
class _Whole(nn.Module):
    """From pixels to embeddings, as a module for ``functional_call`` and for compiling."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.visual, self.function = tower.visual, tower._embed

    def forward(self, pixels: Tensor) -> Tensor:
        return self.function(self.visual, pixels)


class _BeforeLast(nn.Module):
    """From pixels to the tokens before the last block, in the same way."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.visual, self.function = tower.visual, tower._tokens

    def forward(self, pixels: Tensor) -> Tensor:
        return self.function(self.visual, pixels)


def interpolated(embedding: Tensor, native: Grid, grid: Grid) -> Tensor:
    """Position embeddings (N, C) of the grid ``native`` for another, bicubic, as in DINO (Caron et al. 2021).

    Rows before those of the grid, such as the class token's, stay. The published Text2LIVE code swaps rows and columns
    here, which matters only for pictures that are not square.
    """
    values = embedding.detach().float()
    first = len(values) - native[0] * native[1]
    plane = values[first:].T.reshape(1, -1, *native)
    patches = F.interpolate(plane, size=grid, mode="bicubic", align_corners=False).flatten(2)[0].T
    return torch.cat([values[:first], patches]).to(embedding.dtype)


def unreadable(what: str) -> RequestError:
    """The error for a tower that the method cannot use: ``what`` says why."""
    return RequestError(f"{what}.\n{INSTEAD}")
