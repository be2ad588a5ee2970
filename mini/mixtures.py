"""Changes gone wrong: on a part, half transparent, beside the object, over its edge, coarse, or still on their way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mini.painting import Canvas, Dice
from mini.stage import BACKGROUND, COLOUR, TEXTURE, Attributes, Stage
from mini.vocabulary import BLOTCHED

# how a mixture has the change: on a part, half transparent, outside of the object, with blotches for the texture, or
# on all of the object and on something around it, or whole, but between the new colour and a third one, or between the
# new texture and what an edit paints first
PATCHY, EVEN, BESIDE, COARSE, BEYOND, DETOUR = 0, 1, 2, 3, 4, 5
TOO_FEW = 0.35  # of a texture's periods, where it is too coarse: one or two across an object
FAINTEST = 0.1  # part of a texture on its way: less on a plain object would be no change, which has no direction


@dataclass(frozen=True)
class Mixtures:
    """Changes of the first m scenes gone wrong, before development; K of them are on their way."""

    pictures: Tensor  # (m, 3, px, px)
    kind: Tensor  # (m,)
    amount: Tensor  # (m,), as in Twins
    on_the_way: Tensor  # (K,) scenes
    further: Tensor  # (K, 3, px, px)
    farther: Tensor  # (K,)


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
    """Of the first ``m`` scenes, whose ``twins`` are pictures before and after their change; others as in ``draw``."""
    subject, second = (surface.mask for surface in stage.objects)
    before, after = (pictures[:m] for pictures in twins)
    weight, kind = _mixing(canvas, dice, m)
    kind = torch.where(((kind == BESIDE) | (kind == BEYOND)) & (change[:m] == BACKGROUND), PATCHY, kind)
    kind = torch.where((change[:m] == TEXTURE) & dice.chance(0.4, m), COARSE, kind)
    others = torch.zeros(len(change) - m, dtype=torch.bool, device=kind.device)  # scenes without a mixture
    wrong = new.textured(torch.cat([kind == COARSE, others]), BLOTCHED)
    part, farther = before.new_zeros(m), before.new_zeros(m)  # of the way from there; blotches stay at its start
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
    beside, beyond = ((kind == k)[:, None, None, None] for k in (BESIDE, BEYOND))
    otherwise = ((kind == COARSE) | (kind == DETOUR))[:, None, None, None]
    elsewhere = stage.back.coloured(new.rgb[1], new.second[1], new.texture[1])[:m]
    weight = torch.where(beyond & dice.chance(0.5, m, 1, 1, 1), _halo(dice, subject[:m]), weight)
    astray = weight * (1 - subject[:m]) * (1 - second[:m])
    mixed = before.lerp(after, torch.where(beside, 0.0, torch.where(beyond, 1.0, weight)))
    mixed = mixed.lerp(elsewhere, astray * (beside | beyond))
    mixed = torch.where(otherwise, start.lerp(after, part[:, None, None, None]), mixed)
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
    """Weight of the change (m, 1, px, px), and the kind of mixture (m,)."""
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
    """(n, 3) colours, the nearer to gray the more: where an edit that begins with gray paint passes through."""
    return 0.5 + dice.uniform(n, 1) * (dice.uniform(n, 3) - 0.5)


def _halo(dice: Dice, mask: Tensor) -> Tensor:
    """``mask`` (m, 1, px, px) and a soft band around it, a sixteenth or a sixth of the picture wide."""
    px = mask.shape[-1]
    narrow, wide = px // 16, px // 6

    def grown(by: int) -> Tensor:
        return F.avg_pool2d(F.max_pool2d(mask, 2 * by + 1, 1, by), 2 * (by // 2) + 1, 1, by // 2)

    return torch.where(dice.chance(0.5, len(mask), 1, 1, 1), grown(narrow), grown(wide))
