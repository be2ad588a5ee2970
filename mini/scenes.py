"""The pictures that mini is trained and scored on: objects of a colour and a texture, before a background.

``draw`` returns every scene twice, as twins that differ in one attribute (the object's colour or texture, or the
background's colour, or that the object is there at all), and some scenes a third time with the change gone wrong: on
a part of the region, half transparent, beside the object, spilt over its edge or still on its way. Of a
mixture the changed attribute is true of nothing: only a whole edit in its place pays.
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

GRID = 8  # patches a side
WHOLE = 0.8  # a mixture counts as the twin from this part of the region on


@dataclass(frozen=True)
class Twins:
    """A drawn batch of B scenes: rows 0..B-1 before the change, B..2B-1 after it, then mixtures.

    ``images`` (N, 3, px, px) in [0, 1]; ``things`` (N, 2, 3) colour, texture, noun of up to two objects;
    ``backgrounds`` (N, 2) colour, texture; ``patches`` (N, GRID * GRID, 3) colour, texture, noun of what owns the
    patch; ``change`` (B,) what differs; ``subject`` (N, px, px) the first object's mask in [0, 1];
    ``mixture`` (N - 2B,) PATCHY, EVEN, BESIDE, COARSE, BEYOND or DETOUR; ``amount`` (N - 2B,) the part of the region
    that is changed or, BEYOND, the part of what is changed that is the region or, DETOUR, the new attribute's part.
    ``further`` (K, 3, px, px) and ``farther`` (K,): the K detours once more, with that larger part of it.
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
    """What is true of each scene: things (B, 2, 3) and backgrounds (B, 2)."""
    things = torch.stack([torch.stack([a.colour[k + 1], a.texture[k + 1], stage.nouns[k]], 1) for k in range(2)], 1)
    things = torch.where(things[:, :, 2:] == NO_CLAIM, NO_CLAIM, things)
    colour = torch.where(stage.unnamed, NO_CLAIM, torch.where(stage.screen, GREEN_NAME, a.colour[0]))
    texture = torch.where(stage.unnamed, NO_CLAIM, torch.where(stage.screen, SCREEN, a.texture[0]))
    return things, torch.stack([colour, texture], 1)


def _owners(stage: Stage, spots: list[tuple[Tensor, Tensor]]) -> Tensor:
    """(B, 4, GRID, GRID): part of each patch that background, first object, second object and nothing named owns."""
    first, second = stage.objects[0].mask, stage.objects[1].mask
    rest = (1 - first) * (1 - second)
    other = torch.maximum(stage.outside.float(), torch.maximum(rest * spots[0][1], first * (1 - second) * spots[1][1]))
    parts = torch.cat([rest, first * (1 - second), second], 1) * (1 - other)
    return F.adaptive_avg_pool2d(torch.cat([parts, other], 1), GRID)


def _patches(owners: Tensor, things: Tensor, backgrounds: Tensor) -> Tensor:
    """(B, GRID * GRID, 3) attributes of the patch's owner, NO_CLAIM where none has 70 % of it."""
    n = len(things)
    shape_of_nothing = torch.full((n, 1), OTHER_SHAPE + 1, device=things.device)
    table = torch.cat(
        [torch.cat([backgrounds, shape_of_nothing], 1)[:, None], things, torch.full_like(things[:, :1], NO_CLAIM)], 1
    )
    share, owner = owners.flatten(2).max(1)
    labels = table.gather(1, owner[:, :, None].expand(-1, -1, 3))
    return torch.where(share[:, :, None] > 0.7, labels, NO_CLAIM)


def _changes(dice: Dice, stage: Stage) -> Tensor:
    """What differs between each scene's twins (B,); a background without a name cannot change its own."""
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
    """``n`` scenes as twins, and ``mixtures * n`` mixtures of the first of them.

    ``pairs`` is the chance of a second object, ``askew`` that of a turned, zoomed or tilted camera, ``wild`` (at most
    0.8) that of a photo or clutter for a background, ``detours`` that of a detour where a mixture's colour or texture
    changes.
    """
    stage, x, y = set_stage(canvas, dice, n, pairs, askew, wild)
    old = attributes(dice, n, stage, (0.6, 0.35, 0.35))
    change = _changes(dice, stage)
    new = old.changed(dice, change)
    spots = [scatter(canvas, dice, x, y, size, p) for size, p in (((0.08, 0.3), 0.4), ((0.06, 0.2), 0.4))]
    earlier = stage.without_first(change == PRESENCE)
    before, after = earlier.picture(old, spots), stage.picture(new, spots)
    claims = [_claims(earlier, old), _claims(stage, new)]
    m = int(n * mixtures)
    mixed = mixtures_of(canvas, dice, stage, new, change, (before, after), spots, m, detours)
    beside = (mixed.kind == BESIDE) | (mixed.kind == BEYOND)
    never_old = 0.5 * ((mixed.kind == BEYOND) | (mixed.kind == DETOUR))
    claims.append(_mixed_claims(claims[0], claims[1], change[:m], mixed.amount.clamp(min=never_old)))
    claims[2][1][beside] = NO_CLAIM  # the background is no longer what it was
    # development
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
    """Claims of mixtures: the twin's that rules at least WHOLE of the region; in between, nothing of what changed."""
    m = len(change)
    out = []
    for a, b in zip(before, after, strict=True):
        a, b = a[:m], b[:m]
        shape = (m,) + (1,) * (a.ndim - 1)
        torn = torch.where(a == b, a, NO_CLAIM)
        picked = torch.where((amount >= WHOLE).reshape(shape), b, torn)
        out.append(torch.where((amount <= 1 - WHOLE).reshape(shape), a, picked))
    return out[0], out[1]
