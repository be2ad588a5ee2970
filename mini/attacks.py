"""Coarse paint that mini takes for the texture that was asked: what an edit would find, found in a few steps.

What is made robust to paint of this kind has gradients that lead to what is asked (Santurkar et al., Image Synthesis
with a Single (Robust) Classifier, NeurIPS 2019).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mini.painting import Dice
from mini.scenes import Twins
from mini.stage import TEXTURE

CELLS = (3, 5)  # of the paint, across an object: two periods and a half at most, where a texture has three to six
RINGS = 4  # brightnesses from the outline to the core: an edit of a plain object finds its outline before anything else
STRIDE = 0.15  # of a step, in brightness
FAINTEST_COAT = 0.5  # opacity of the paint, which is this or more


def attackable(twins: Twins) -> Tensor:
    """The scenes (K,) whose object gets a texture: coarse paint cannot be one, while it can be a colour."""
    new_texture = twins.things[len(twins.change) : 2 * len(twins.change), 0, 1]
    return ((twins.change == TEXTURE) & (new_texture > 0)).nonzero()[:, 0]


def fooled(
    see: Callable[[Tensor], Tensor], pictures: Tensor, subject: Tensor, asked: Tensor, steps: int, dice: Dice
) -> Tensor:
    """``pictures`` (K, 3, px, px) with coarse paint over ``subject`` (K, px, px), improved in ``steps``.

    The paint is the sum of a few large cells and of a few rings along the outline.

    see: pictures to embeddings (K, D). asked: (K, D), the direction in which the embedding is to move.
    """
    k, cells = len(pictures), CELLS[0] + int(dice.below(CELLS[1] - CELLS[0] + 1, 1))
    places = _fitted(subject), _inwards(subject)
    coat = subject[:, None] * dice.uniform(k, 1, 1, 1, low=FAINTEST_COAT)
    paint = [dice.uniform(k, 3, cells, cells), dice.uniform(k, 3, 1, RINGS)]

    def painted(paint: list[Tensor]) -> Tensor:
        blocks, rings = (
            F.grid_sample(p, where, padding_mode="border", align_corners=False)
            for p, where in zip(paint, places, strict=True)
        )
        return pictures.lerp((blocks + rings - 0.5).clamp(0, 1), coat)

    with torch.no_grad():
        origin = see(pictures)
    for _ in range(steps):
        for p in paint:
            p.requires_grad_()
        fit = F.cosine_similarity(see(painted(paint)) - origin, asked, dim=-1, eps=1e-4).sum()
        gradients = torch.autograd.grad(fit, paint)
        paint = [(p.detach() + STRIDE * g.sign()).clamp(0, 1) for p, g in zip(paint, gradients, strict=True)]
    return painted(paint)


def _fitted(subject: Tensor) -> Tensor:
    """Coordinates (K, px, px, 2) in which the box around each ``subject`` (K, px, px) reaches from -1 to 1."""
    px = subject.shape[-1]
    axis = torch.linspace(-1, 1, px, device=subject.device)
    along = []
    for other in (1, 2):  # a picture's rows, to leave its columns, and the other way round
        covered = subject.amax(other) > 0.5
        low = torch.where(covered, axis, 1.0).amin(1, keepdim=True)
        high = torch.where(covered, axis, -1.0).amax(1, keepdim=True)
        along.append((axis - (low + high) / 2) / ((high - low) / 2).clamp(min=2 / px))
    x, y = along
    return torch.stack([x[:, None, :].expand(-1, px, -1), y[:, :, None].expand(-1, -1, px)], -1)


def _inwards(subject: Tensor) -> Tensor:
    """Coordinates (K, px, px, 2) along a row of cells, from the outline of each ``subject`` (K, px, px) to its core."""
    px = subject.shape[-1]
    blurs = [F.avg_pool2d(subject[:, None], 2 * (px // n) + 1, 1, px // n)[:, 0] for n in (32, 16, 8, 5)]
    deep = ((torch.stack(blurs).mean(0) - 0.5) * (subject > 0.5)).clamp(min=0)
    deep = deep / deep.amax((1, 2), keepdim=True).clamp(min=1e-3)
    return torch.stack([2 * deep - 1, torch.zeros_like(deep)], -1)
