"""Incomplete or misplaced changes: on a part, half transparent, beside the object, beyond its edge, coarse, halfway."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mini.painting import Canvas, Dice
from mini.stage import BACKGROUND, COLOUR, TEXTURE, Attributes, Stage
from mini.vocabulary import BLOTCHED

# Where and how a mixture shows the change: PATCHY, on a part; EVEN, half transparent; BESIDE, outside of the object;
# COARSE, with blotches instead of the texture; BEYOND, on all of the object and on something around it; DETOUR, on all
# of the object, but between the new colour and a third one, or between the new texture and what an edit paints first.
PATCHY, EVEN, BESIDE, COARSE, BEYOND, DETOUR = 0, 1, 2, 3, 4, 5
TOO_FEW = 0.35  # factor on the number of periods of a texture that is too coarse: one or two across an object
FAINTEST = (
    0.1  # minimum part of a texture on its way: a plain object with less has no change that could have a direction
)


@dataclass(frozen=True)
class Mixtures:
    """Mixtures of the first m scenes, before ``painting.develop``; K of them are detours."""

    pictures: Tensor  # (m, 3, px, px)
    kind: Tensor  # (m,), PATCHY to DETOUR
    amount: Tensor  # (m,), as in ``Twins``
    on_the_way: Tensor  # (K,), the scenes with detours
    further: Tensor  # (K, 3, px, px), as in ``Twins``, before development
    farther: Tensor  # (K,), as in ``Twins``


def mixtures_of(
    canvas: Canvas,
    dice: Dice,
    stage: Stage,
    new: Attributes,
    change: Tensor,
    twins: tuple[Tensor, Tensor],
    spots: list[tuple[Tensor, Tensor]],
    m: int,
    detours: float,
) -> Mixtures:
    """Mixtures of the first ``m`` scenes.

    ``twins``: pictures before and after the change, (B, 3, px, px) each, before development. The other arguments are
    those of ``scenes.draw``.
    """
    # 1. The weight of the change and the kind of mixture.
    subject, second = (surface.mask for surface in stage.objects)
    before, after = (pictures[:m] for pictures in twins)
    weight, kind = _mixing(canvas, dice, m)
    kind = torch.where(((kind == BESIDE) | (kind == BEYOND)) & (change[:m] == BACKGROUND), PATCHY, kind)
    kind = torch.where((change[:m] == TEXTURE) & dice.chance(0.4, m), COARSE, kind)
    # 2. The starting points of coarse changes and of detours, and the part of the way covered.
    others = torch.zeros(len(change) - m, dtype=torch.bool, device=kind.device)  # scenes without a mixture
    wrong = new.textured(torch.cat([kind == COARSE, others]), BLOTCHED)
    part, farther = before.new_zeros(m), before.new_zeros(m)  # of the way from the start; 0 for blotches
    if detours:
        weaves = (change[:m] == TEXTURE) & (new.texture[1][:m] > 0) & (kind != COARSE)
        kind = torch.where(((change[:m] == COLOUR) | weaves) & dice.chance(detours, m), DETOUR, kind)
        rows = torch.cat([kind == DETOUR, others])
        wrong = wrong.plain(rows & (change == COLOUR), _grayish(dice, len(change)))
        woven, lot = rows & (change == TEXTURE), dice.below(3, len(change))
        first = torch.where(lot == 0, 0, torch.where(lot == 1, BLOTCHED, new.texture[1]))
        wrong, stage = wrong.textured(woven, first), stage.coarser(woven & (lot == 2), TOO_FEW)
        part = dice.uniform(m)
        part = torch.where(change[:m] == TEXTURE, FAINTEST + (1 - FAINTEST) * part, part) * (kind == DETOUR)
        farther = part + (1 - part) * dice.uniform(m, low=0.2, high=0.6)
    start = stage.picture(wrong, spots)[:m]
    on_the_way = (kind == DETOUR).nonzero()[:, 0]
    # 3. The pictures.
    beside, beyond = ((kind == k)[:, None, None, None] for k in (BESIDE, BEYOND))
    otherwise = ((kind == COARSE) | (kind == DETOUR))[:, None, None, None]
    elsewhere = stage.back.coloured(new.rgb[1], new.second[1], new.texture[1])[:m]
    weight = torch.where(beyond & dice.chance(0.5, m, 1, 1, 1), _halo(dice, subject[:m]), weight)
    astray = weight * (1 - subject[:m]) * (1 - second[:m])
    mixed = before.lerp(after, torch.where(beside, 0.0, torch.where(beyond, 1.0, weight)))
    mixed = mixed.lerp(elsewhere, astray * (beside | beyond))
    mixed = torch.where(otherwise, start.lerp(after, part[:, None, None, None]), mixed)
    # 4. The amount of the change.
    region = torch.where((change == BACKGROUND)[:, None, None, None], 1 - subject, subject)[:m]
    size = region.sum((1, 2, 3)).clamp(min=1)
    amount = (weight * region).sum((1, 2, 3)) / size
    amount = torch.where(kind == BESIDE, 0.0, torch.where(kind == COARSE, 0.5, amount))
    amount = torch.where(kind == BEYOND, size / (size + astray.sum((1, 2, 3))), amount)
    amount = torch.where(kind == DETOUR, part, amount)
    farther = farther[on_the_way]
    further = start[on_the_way].lerp(after[on_the_way], farther[:, None, None, None])
    return Mixtures(mixed, kind, amount, on_the_way, further, farther)


def _mixing(canvas: Canvas, dice: Dice, m: int) -> tuple[Tensor, Tensor]:
    """Draw the weight of the change (m, 1, px, px) in [0, 1] and the kind of mixture (m,)."""
    part = dice.uniform(m, 1, 1, 1, low=0.1, high=0.95)
    noise = canvas.clouds(dice, m)[:, None] + 2 * (
        dice.normal(m, 1, 1, 1) * torch.linspace(-1, 1, canvas.px, device=part.device)
    )
    levels = [torch.quantile(f.flatten(), 1 - q.item()) for f, q in zip(noise, part, strict=True)]
    level = torch.tensor(levels, device=part.device)[:, None, None, None]
    patchy = torch.sigmoid((noise - level) * 20)
    lot = dice.uniform(m)
    kind = torch.where(lot < 0.35, PATCHY, torch.where(lot < 0.6, EVEN, torch.where(lot < 0.8, BESIDE, BEYOND)))
    strength = dice.uniform(m, 1, 1, 1, low=0.3, high=1.0)
    wrong = ((kind == BESIDE) | (kind == BEYOND))[:, None, None, None]
    return torch.where((kind == EVEN)[:, None, None, None], part, patchy * torch.where(wrong, strength, 1.0)), kind


def _grayish(dice: Dice, n: int) -> Tensor:
    """(n, 3) colours, more of them near gray than far: an edit that begins with gray paint passes through them."""
    return 0.5 + dice.uniform(n, 1) * (dice.uniform(n, 3) - 0.5)


def _halo(dice: Dice, mask: Tensor) -> Tensor:
    """``mask`` (m, 1, px, px) with a soft band around it, 1/16 or 1/6 of the picture wide."""
    px = mask.shape[-1]
    narrow, wide = px // 16, px // 6

    def grown(by: int) -> Tensor:
        return F.avg_pool2d(F.max_pool2d(mask, 2 * by + 1, 1, by), 2 * (by // 2) + 1, 1, by // 2)

    return torch.where(dice.chance(0.5, len(mask), 1, 1, 1), grown(narrow), grown(wide))
