"""The terms of Text2LIVE's objective (Eq. 2), one pure function per term.

    L = L_comp + lambda_g L_screen + lambda_s L_structure + lambda_r L_reg (+ bootstrap),   L_comp = L_cos + L_dir

E_im and E_txt are CLIP's embeddings; N is the number of views, D CLIP's width. Every function is differentiable,
keeps its inputs' dtype and returns a 0-dim tensor (unless it says otherwise). See method, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import Distance
from t2l_cli.engine.resize import resized

BOOTSTRAP_SIZE = (224, 224)  # px, at which alpha and relevancy are compared
L0_SLOPE = 5.0  # of the smooth L0 norm of alpha
NO_DIRECTION = 1e-4  # an embedding difference shorter than this is rounding error, without a direction


@dataclass(frozen=True)
class Losses:
    """The weighted terms of a loss by name, each a 0-dim tensor; ``total`` is their sum."""

    terms: Mapping[str, Tensor]

    def __add__(self, other: Losses) -> Losses:
        return Losses({**self.terms, **other.terms})

    def __rmul__(self, weight: float) -> Losses:
        return Losses({name: weight * term for name, term in self.terms.items()})

    @classmethod
    def mean(cls, several: Sequence[Losses]) -> Losses:
        """The mean of each term over ``several`` losses of the same terms."""
        names = several[0].terms
        return cls({name: torch.stack([losses.terms[name] for losses in several]).mean() for name in names})

    @property
    def total(self) -> Tensor:
        """L, 0-dim."""
        return torch.stack(list(self.terms.values())).sum()

    def detach(self) -> Losses:
        """The values without the graph."""
        return Losses({name: term.detach() for name, term in self.terms.items()})


def text_distance(x: Tensor, y: Tensor, kind: Distance = "spherical") -> Tensor:
    """D(x, y) between embeddings (..., D), broadcast; returns (...).

    spherical: 2 arcsin(|x/|x| - y/|y|| / 2)^2, half the squared angle, in [0, pi^2 / 2].
    cosine: 1 - cos(x, y), in [0, 2].
    """
    x, y = F.normalize(x, dim=-1), F.normalize(y, dim=-1)
    if kind == "cosine":
        return 1 - (x * y).sum(dim=-1)
    return 2 * torch.arcsin((x - y).norm(dim=-1) / 2) ** 2


def cosine_loss(composite: Tensor, target: Tensor, kind: Distance = "spherical") -> Tensor:
    """L_cos = mean over views of D(E_im(I_o), E_txt(T)).

    composite: (N, D) views of I_o. target: (D,), or (N, D) with one text per view.
    """
    return text_distance(composite, target, kind).mean()


def directional_loss(composite: Tensor, source: Tensor, direction: Tensor) -> Tensor:
    """L_dir = mean over views of 1 - cos(E_im(I_o) - E_im(I_s), E_txt(T) - E_txt(T_ROI)).

    composite, source: (N, D), views of both pictures. direction: (D,) or (N, D), the texts' difference.
    """
    change = composite - source
    return (1 - F.cosine_similarity(change, direction.expand_as(change), dim=-1, eps=NO_DIRECTION)).mean()


def screen_loss(screen: Tensor, target: Tensor, kind: Distance = "spherical") -> Tensor:
    """L_screen = mean over views of D(E_im(I_screen), E_txt("<T> over a green screen.")).

    screen: (N, D) views of I_screen. target: (D,) or (N, D).
    """
    return text_distance(screen, target, kind).mean()


def self_similarity(tokens: Tensor) -> Tensor:
    """Cosine similarity of every token with every other: (B, N, D) -> (B, N, N)."""
    tokens = F.normalize(tokens, dim=-1)
    return tokens @ tokens.transpose(-1, -2)


def structure_loss(source: Tensor, composite: Tensor) -> Tensor:
    """L_structure = mean squared difference of self-similarity matrices, (B, N, N) of I_s and of I_o."""
    return F.mse_loss(composite, source)


def sparsity_loss(alpha: Tensor, l1: float = 2.0) -> Tensor:
    """L_reg = gamma * mean(alpha) + mean(2 sigmoid(5 alpha) - 1): L1 plus a smooth L0 of the opacity.

    alpha: (B, 1, H, W) in [0, 1]. l1: gamma, by default 2 as in the supplement; the published code uses another value.
    """
    return l1 * alpha.mean() + (2 * torch.sigmoid(L0_SLOPE * alpha) - 1).mean()


def bootstrap_loss(alpha: Tensor, relevancy: Tensor) -> Tensor:
    """Mean squared difference of alpha and the relevancy map R(I_s, T_ROI), compared at 224 x 224.

    alpha, relevancy: (B, 1, any, any) in [0, 1].
    """
    return F.mse_loss(resized(alpha, BOOTSTRAP_SIZE), resized(relevancy, BOOTSTRAP_SIZE))
