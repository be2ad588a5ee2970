"""An adversarial attack: coarse paint that mini takes for the requested texture, found in a few gradient steps.

An edit would find such paint, too. A model that is robust to it has gradients that lead to the requested texture
(Santurkar et al., Image Synthesis with a Single (Robust) Classifier, NeurIPS 2019).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mini.painting import Dice
from mini.scenes import Twins
from mini.stage import TEXTURE

CELLS = (3, 5)  # range of the paint's cells across an object: at most 2.5 periods, while a texture has three to six
RINGS = 4  # number of rings from the outline to the centre: an edit of a plain object finds its outline first
STRIDE = 0.15  # change of colour per step
FAINTEST_COAT = 0.5  # minimum opacity of the paint


def attackable(twins: Twins) -> Tensor:
    """The scenes (K,) whose object gets a texture. Coarse paint is never a texture, but it can be a colour."""
    new_texture = twins.things[len(twins.change) : 2 * len(twins.change), 0, 1]
    return ((twins.change == TEXTURE) & (new_texture > 0)).nonzero()[:, 0]


def fooled(
    see: Callable[[Tensor], Tensor], pictures: Tensor, subject: Tensor, asked: Tensor, steps: int, dice: Dice
) -> Tensor:
    """``pictures`` (K, 3, px, px) with adversarial coarse paint over ``subject`` (K, px, px), optimised for ``steps``.

    The paint is the sum of a few large cells and of a few rings along the outline.

    see: from pictures to embeddings (K, D). asked: (K, D), the direction in which the paint moves the embedding.
    """
    k, cells = len(pictures), CELLS[0] + int(dice.below(CELLS[1] - CELLS[0] + 1, 1))
    places = _fitted(subject), _inwards(subject)
    coat = subject[:, None] * dice.uniform(k, 1, 1, 1, low=FAINTEST_COAT)
    paint = [dice.uniform(k, 3, cells, cells), dice.uniform(k, 3, 1, RINGS)]  # cells and rings

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
    """Coordinates (K, px, px, 2) in which the bounding box of each ``subject`` (K, px, px) reaches from -1 to 1."""
    px = subject.shape[-1]
    axis = torch.linspace(-1, 1, px, device=subject.device)
    along = []
    for other in (1, 2):  # the maximum over rows gives the extent in x, that over columns the extent in y
        covered = subject.amax(other) > 0.5
        low = torch.where(covered, axis, 1.0).amin(1, keepdim=True)
        high = torch.where(covered, axis, -1.0).amax(1, keepdim=True)
        along.append((axis - (low + high) / 2) / ((high - low) / 2).clamp(min=2 / px))
    x, y = along
    return torch.stack([x[:, None, :].expand(-1, px, -1), y[:, :, None].expand(-1, -1, px)], -1)


def _inwards(subject: Tensor) -> Tensor:
    """Coordinates (K, px, px, 2) along a row of rings, from each outline of ``subject`` (K, px, px) to its centre."""
    px = subject.shape[-1]
    blurs = [F.avg_pool2d(subject[:, None], 2 * (px // n) + 1, 1, px // n)[:, 0] for n in (32, 16, 8, 5)]
    deep = ((torch.stack(blurs).mean(0) - 0.5) * (subject > 0.5)).clamp(min=0)
    deep = deep / deep.amax((1, 2), keepdim=True).clamp(min=1e-3)
    return torch.stack([2 * deep - 1, torch.zeros_like(deep)], -1)
