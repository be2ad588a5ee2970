"""The pictures that mini is trained and scored on: objects with a colour and a texture, in front of a background.

``draw`` returns every scene twice, as twins that differ in one attribute (the object's colour or texture, the
background's colour, or whether the object is there at all). Some scenes it returns a third time, as mixtures: with the
change on a part of the region, half transparent, beside the object, beyond its edge, or still on its way. Unless a
mixture is nearly one of the twins, neither value of the changed attribute counts as true of it, so that only a complete
edit in the right place pays.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mini.mixtures import BESIDE, BEYOND, DETOUR, mixtures_of
from mini.painting import Canvas, Dice, develop, finish, scatter
from mini.stage import (
    BACKGROUND,
    COLOUR,
    GREEN_NAME,
    PRESENCE,
    TEXTURE,
    Attributes,
    Stage,
    attributes,
    set_stage,
)
from mini.vocabulary import NO_CLAIM, OTHER_SHAPE, SCREEN

GRID = 8  # patches per side
WHOLE = 0.8  # a mixture with this part of a twin's attribute in the region, or more, counts as that twin


@dataclass(frozen=True)
class Twins:
    """A drawn batch of B scenes: rows 0..B-1 before the change, B..2B-1 after it, then the mixtures.

    images: (N, 3, px, px) in [0, 1].
    things: (N, 2, 3), colour, texture and noun of up to two objects.
    backgrounds: (N, 2), colour and texture.
    patches: (N, GRID * GRID, 3), colour, texture and noun of what owns the patch.
    change: (B,), the attribute that differs.
    subject: (N, px, px), the first object's mask in [0, 1].
    mixture: (N - 2B,), PATCHY, EVEN, BESIDE, COARSE, BEYOND or DETOUR.
    amount: (N - 2B,), the changed part of the region; for BEYOND, the part of the changed area that is inside the
    region; for DETOUR, the new attribute's part.
    further, farther: (K, 3, px, px) and (K,), the K detours again with a larger part, and this part.
    """

    images: Tensor
    things: Tensor
    backgrounds: Tensor
    patches: Tensor
    change: Tensor
    subject: Tensor
    mixture: Tensor
    amount: Tensor
    further: Tensor
    farther: Tensor


def _claims(stage: Stage, a: Attributes) -> tuple[Tensor, Tensor]:
    """The attributes of each scene that captions may claim: things (B, 2, 3) and backgrounds (B, 2)."""
    things = torch.stack([torch.stack([a.colour[k + 1], a.texture[k + 1], stage.nouns[k]], 1) for k in range(2)], 1)
    things = torch.where(things[:, :, 2:] == NO_CLAIM, NO_CLAIM, things)
    colour = torch.where(stage.unnamed, NO_CLAIM, torch.where(stage.screen, GREEN_NAME, a.colour[0]))
    texture = torch.where(stage.unnamed, NO_CLAIM, torch.where(stage.screen, SCREEN, a.texture[0]))
    return things, torch.stack([colour, texture], 1)


def _owners(stage: Stage, spots: list[tuple[Tensor, Tensor]]) -> Tensor:
    """(B, 4, GRID, GRID): the parts of each patch owned by background, first object, second object, unnamed things."""
    first, second = stage.objects[0].mask, stage.objects[1].mask
    rest = (1 - first) * (1 - second)
    other = torch.maximum(stage.outside.float(), torch.maximum(rest * spots[0][1], first * (1 - second) * spots[1][1]))
    parts = torch.cat([rest, first * (1 - second), second], 1) * (1 - other)
    return F.adaptive_avg_pool2d(torch.cat([parts, other], 1), GRID)


def _patches(owners: Tensor, things: Tensor, backgrounds: Tensor) -> Tensor:
    """(B, GRID * GRID, 3): the attributes of each patch's owner; NO_CLAIM if none owns more than 70 % of it."""
    n = len(things)
    shape_of_nothing = torch.full((n, 1), OTHER_SHAPE + 1, device=things.device)
    table = torch.cat(
        [torch.cat([backgrounds, shape_of_nothing], 1)[:, None], things, torch.full_like(things[:, :1], NO_CLAIM)], 1
    )
    share, owner = owners.flatten(2).max(1)
    labels = table.gather(1, owner[:, :, None].expand(-1, -1, 3))
    return torch.where(share[:, :, None] > 0.7, labels, NO_CLAIM)


def _changes(dice: Dice, stage: Stage) -> Tensor:
    """Draw what differs between each scene's twins, (B,). A background without a name cannot change."""
    n = len(stage.screen)
    kinds = [COLOUR] * 3 + [TEXTURE] * 2 + [BACKGROUND]
    change = torch.tensor(kinds, device=stage.screen.device)[dice.below(6, n)]
    change = torch.where((change == BACKGROUND) & (stage.screen | stage.unnamed), COLOUR, change)
    return torch.where(stage.screen & (stage.nouns[0] != NO_CLAIM) & dice.chance(0.5, n), PRESENCE, change)


def draw(
    canvas: Canvas,
    dice: Dice,
    n: int,
    pairs: float = 0.2,
    mixtures: float = 0.5,
    askew: float = 0.6,
    wild: float = 0.4,
    detours: float = 0.0,
) -> Twins:
    """Draw ``n`` scenes as twins, and ``mixtures * n`` mixtures of the first of them.

    Probabilities: ``pairs``, of a second object; ``askew``, of a turned, zoomed or tilted camera; ``wild`` (at most
    0.8), of a photo or clutter as background; ``detours``, of a detour if a mixture's colour or texture changes.
    """
    # 1. Geometry and attributes.
    stage, x, y = set_stage(canvas, dice, n, pairs, askew, wild)
    old = attributes(dice, n, stage, (0.6, 0.35, 0.35))
    change = _changes(dice, stage)
    new = old.changed(dice, change)
    spots = [scatter(canvas, dice, x, y, size, p) for size, p in (((0.08, 0.3), 0.4), ((0.06, 0.2), 0.4))]
    # 2. The pictures, before development, and their claims.
    earlier = stage.without_first(change == PRESENCE)
    before, after = earlier.picture(old, spots), stage.picture(new, spots)
    claims = [_claims(earlier, old), _claims(stage, new)]
    m = int(n * mixtures)
    mixed = mixtures_of(canvas, dice, stage, new, change, (before, after), spots, m, detours)
    beside = (mixed.kind == BESIDE) | (mixed.kind == BEYOND)
    never_old = 0.5 * ((mixed.kind == BEYOND) | (mixed.kind == DETOUR))
    claims.append(_mixed_claims(claims[0], claims[1], change[:m], mixed.amount.clamp(min=never_old)))
    claims[2][1][beside] = NO_CLAIM  # the background is no longer as claimed
    # 3. Development; patches and masks.
    look = finish(dice, n, canvas.px)

    def shown(pictures: Tensor, rows: Tensor | slice) -> Tensor:
        return torch.where(stage.outside[rows], stage.border[rows], develop(pictures, [f[rows] for f in look]))

    images = torch.cat([shown(before, slice(n)), shown(after, slice(n)), shown(mixed.pictures, slice(m))])
    things, backgrounds = (torch.cat(parts) for parts in zip(*claims, strict=True))
    owners = _owners(stage, spots)
    patches = _patches(torch.cat([_owners(earlier, spots), owners, owners[:m]]), things, backgrounds)
    masks = (stage.objects[0].mask * ~stage.outside)[:, 0]
    subjects = torch.cat([masks, masks, masks[:m]])
    further = shown(mixed.further, mixed.on_the_way)
    return Twins(
        images, things, backgrounds, patches, change, subjects, mixed.kind, mixed.amount, further, mixed.farther
    )


def _mixed_claims(
    before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], change: Tensor, amount: Tensor
) -> tuple[Tensor, Tensor]:
    """Claims of mixtures: those of the twin with at least WHOLE of the region; if neither, NO_CLAIM for the change."""
    m = len(change)
    out = []
    for a, b in zip(before, after, strict=True):
        a, b = a[:m], b[:m]
        shape = (m,) + (1,) * (a.ndim - 1)
        torn = torch.where(a == b, a, NO_CLAIM)
        picked = torch.where((amount >= WHOLE).reshape(shape), b, torn)
        out.append(torch.where((amount <= 1 - WHOLE).reshape(shape), a, picked))
    return out[0], out[1]
