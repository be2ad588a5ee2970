"""The pictures that mini is trained and scored on: objects of a colour and a texture, before a background.

``draw`` returns every scene twice, as twins that differ in one attribute (the object's colour or texture, or the
background's colour, or that the object is there at all), and some scenes a third time with the change gone wrong: on
a part of the region, half transparent, beside the object, spilt over its edge or on its way from another colour. Of a
mixture the changed attribute is true of nothing: only a whole edit in its place pays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from t2l_cli.engine.layers import GREEN
from t2l_cli.mini.painting import (
    Canvas,
    Dice,
    Surface,
    backdrop,
    camera,
    develop,
    finish,
    object_,
    other_than,
    paint,
    scatter,
    second_paint,
)  # fmt: skip
from t2l_cli.mini.vocabulary import BLOTCHED, COLOURS, NO_CLAIM, NOUNS, OTHER_SHAPE, SCREEN, TEXTURES

GRID = 8  # patches a side
LARGEST = 1.1  # half-side of an object, where 1 is half a picture: it may be cut off by the border
WHOLE = 0.8  # a mixture counts as the twin from this part of the region on
COLOUR, TEXTURE, BACKGROUND, PRESENCE = 0, 1, 2, 3  # what differs between twins; an object appears on a green screen
# how a mixture has the change: on a part, half transparent, outside of the object, with blotches for the texture, or
# on all of the object and on something around it, or whole, but in a colour between the new one and a third
PATCHY, EVEN, BESIDE, COARSE, BEYOND, DETOUR = 0, 1, 2, 3, 4, 5
_GREEN_NAME = list(COLOURS).index("green")


@dataclass(frozen=True)
class Twins:
    """A drawn batch of B scenes: rows 0..B-1 before the change, B..2B-1 after it, then mixtures.

    ``images`` (N, 3, px, px) in [0, 1]; ``things`` (N, 2, 3) colour, texture, noun of up to two objects;
    ``backgrounds`` (N, 2) colour, texture; ``patches`` (N, GRID * GRID, 3) colour, texture, noun of what owns the
    patch; ``change`` (B,) what differs; ``subject`` (N, px, px) the first object's mask in [0, 1];
    ``mixture`` (N - 2B,) PATCHY, EVEN, BESIDE, COARSE, BEYOND or DETOUR; ``amount`` (N - 2B,) the part of the region
    that is changed or, BEYOND, the part of what is changed that is the region or, DETOUR, the new colour's part.
    ``further`` (K, 3, px, px) and ``farther`` (K,): the K detours once more, with that larger part of the new colour.
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


@dataclass(frozen=True)
class _Attributes:
    """What the things of B scenes are: backgrounds first, then the two objects; (B,) indices and (B, 3) paints."""

    colour: list[Tensor]
    texture: list[Tensor]
    rgb: list[Tensor]
    second: list[Tensor]

    def changed(self, dice: Dice, change: Tensor) -> _Attributes:
        """The twins' attributes: one of them redrawn."""
        out = _Attributes(*(list(field) for field in (self.colour, self.texture, self.rgb, self.second)))
        for thing, kind in ((1, COLOUR), (0, BACKGROUND)):
            rows = change == kind
            colour = torch.where(rows, other_than(dice, self.colour[thing], len(COLOURS)), self.colour[thing])
            rgb = torch.where(rows[:, None], paint(dice, colour), self.rgb[thing])
            out.colour[thing], out.rgb[thing] = colour, rgb
            out.second[thing] = torch.where(rows[:, None], second_paint(dice, rgb), self.second[thing])
        rows = change == TEXTURE
        out.texture[1] = torch.where(rows, other_than(dice, self.texture[1], len(TEXTURES)), self.texture[1])
        return out

    def textured(self, rows: Tensor, texture: int) -> _Attributes:
        """The same with another texture of the first object in ``rows`` (B,) bool."""
        return replace(self, texture=[self.texture[0], torch.where(rows, texture, self.texture[1]), self.texture[2]])

    def on_the_way(self, rows: Tensor, start: Tensor, part: Tensor) -> _Attributes:
        """The same with the first object's paints in ``rows`` between ``start`` (B, 3) and, ``part`` (B,), its own."""
        weight = torch.where(rows, part, 1.0)[:, None]
        rgb, second = (start.lerp(own[1], weight) for own in (self.rgb, self.second))
        return replace(self, rgb=[self.rgb[0], rgb, self.rgb[2]], second=[self.second[0], second, self.second[2]])


@dataclass(frozen=True)
class _Stage:
    """The geometry of B scenes, without paint."""

    back: Surface
    objects: tuple[Surface, Surface]
    nouns: tuple[Tensor, Tensor]
    screen: Tensor  # (B,) bool
    unnamed: Tensor  # (B,) bool: photo or clutter for a background
    scenery: Tensor  # (B, 3, px, px) what is shown there
    outside: Tensor  # (B, 1, px, px) bool: beyond the picture's border
    border: Tensor  # (B, 1, 1, 1) its brightness

    def without_first(self, rows: Tensor) -> _Stage:
        """The stage with the first object hidden in ``rows`` (B,) bool."""
        first = replace(self.objects[0], mask=self.objects[0].mask * ~rows[:, None, None, None])
        nouns = torch.where(rows, NO_CLAIM, self.nouns[0])
        return replace(self, objects=(first, self.objects[1]), nouns=(nouns, self.nouns[1]))

    def picture(self, paints: _Attributes, spots: list[tuple[Tensor, Tensor]]) -> Tensor:
        """(B, 3, px, px) before development; ``spots`` are (colour layer, mask) over background and first object."""
        named = self.back.coloured(paints.rgb[0], paints.second[0], paints.texture[0])
        out = torch.where((self.screen | self.unnamed)[:, None, None, None], self.scenery, named)
        out = out * (1 - spots[0][1]) + spots[0][0] * spots[0][1]
        for k, surface in enumerate(self.objects, start=1):
            body = surface.coloured(paints.rgb[k], paints.second[k], paints.texture[k])
            if k == 1:
                body = body * (1 - spots[1][1]) + spots[1][0] * spots[1][1]
            out = out * (1 - surface.mask) + body * surface.mask
        return out


def _places(dice: Dice, n: int, pair: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Half-sides [(n,), (n,)] and centres [(n, 2), (n, 2)] of two objects that do not hide each other."""
    side = torch.where(dice.chance(0.5, n), 1.0, -1.0)
    upright = dice.chance(0.4, n)
    sizes, centres = [], []
    for k in range(2):
        size = torch.where(pair, dice.uniform(n, low=0.28, high=0.48), dice.uniform(n, low=0.34, high=LARGEST))
        along = torch.where(pair, 0.5 * side * (1 - 2 * k) + 0.1 * dice.normal(n), 0.22 * dice.normal(n))
        across = torch.where(pair, 0.15 * dice.normal(n), 0.22 * dice.normal(n))
        centre = torch.stack([torch.where(upright, across, along), torch.where(upright, along, across)], 1)
        room = (1.1 - size).clamp(min=0.1)[:, None]
        sizes.append(size)
        centres.append(centre.clamp(-room, room))
    return sizes, centres


def _stage(
    canvas: Canvas, dice: Dice, n: int, pairs: float, askew: float, wild: float
) -> tuple[_Stage, Tensor, Tensor]:
    """Geometry, and the scene coordinates x, y (n, px, px)."""
    x, y, outside = camera(dice, n, canvas.px, askew)
    kind = dice.uniform(n)
    screen, unnamed = kind < 0.2, (kind >= 0.2) & (kind < 0.2 + wild)
    back = backdrop(canvas, dice, x, y)
    clutter = dice.uniform(n, 3, 1, 1) + 0.18 * torch.stack([canvas.clouds(dice, n) for _ in range(3)], 1)
    scenery = torch.where(dice.chance(0.75, n, 1, 1, 1), canvas.pictures(dice, n), clutter * back.shade)
    green = torch.tensor(GREEN, device=x.device)[None, :, None, None] * (
        1 + 0.06 * dice.normal(n, 1, 1, 1)
    ) + 0.01 * dice.normal(n, 3, 1, 1)
    scenery = torch.where(screen[:, None, None, None], green, scenery)
    pair, none = dice.chance(pairs, n), dice.chance(0.03, n)
    sizes, centres = _places(dice, n, pair)
    surfaces, nouns = [], []
    for k in range(2):
        noun = dice.below(len(NOUNS), n)
        noun = torch.where(dice.chance(0.25, n), OTHER_SHAPE, noun)
        surface = object_(canvas, dice, x, y, noun, sizes[k], centres[k])
        seen = (surface.mask * ~outside[:, None]).mean((1, 2, 3)) > 0.015
        shown = ((pair if k else ~none) & seen)[:, None, None, None]
        surfaces.append(
            Surface(
                surface.mask * shown, *(getattr(surface, f) for f in ("shade", "shine", "u", "v", "frequency", "phase"))
            )
        )
        nouns.append(torch.where(shown[:, 0, 0, 0], noun, NO_CLAIM))
    border = torch.where(dice.chance(0.7, n, 1, 1, 1), 1.0, 0.0)
    stage = _Stage(
        back, (surfaces[0], surfaces[1]), (nouns[0], nouns[1]), screen, unnamed, scenery, outside[:, None], border
    )
    return stage, x, y


def _attributes(dice: Dice, n: int, stage: _Stage, plain: tuple[float, ...]) -> _Attributes:
    colour = [dice.below(len(COLOURS), n) for _ in range(3)]
    texture = [torch.where(dice.chance(p, n), 0, dice.below(len(TEXTURES), n)) for p in plain]
    for k in (1, 2):  # an object of its background's colour cannot be seen
        behind = torch.where(stage.screen, _GREEN_NAME, torch.where(stage.unnamed, -1, colour[0]))
        colour[k] = torch.where(colour[k] == behind, other_than(dice, colour[k], len(COLOURS)), colour[k])
    rgb = [paint(dice, c) for c in colour]
    return _Attributes(colour, texture, rgb, [second_paint(dice, c) for c in rgb])


def _claims(stage: _Stage, a: _Attributes) -> tuple[Tensor, Tensor]:
    """What is true of each scene: things (B, 2, 3) and backgrounds (B, 2)."""
    things = torch.stack([torch.stack([a.colour[k + 1], a.texture[k + 1], stage.nouns[k]], 1) for k in range(2)], 1)
    things = torch.where(things[:, :, 2:] == NO_CLAIM, NO_CLAIM, things)
    colour = torch.where(stage.unnamed, NO_CLAIM, torch.where(stage.screen, _GREEN_NAME, a.colour[0]))
    texture = torch.where(stage.unnamed, NO_CLAIM, torch.where(stage.screen, SCREEN, a.texture[0]))
    return things, torch.stack([colour, texture], 1)


def _owners(stage: _Stage, spots: list[tuple[Tensor, Tensor]]) -> Tensor:
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


@dataclass(frozen=True)
class _Mixtures:
    """Changes of the first m scenes gone wrong, before development; K of them are on their way."""

    pictures: Tensor  # (m, 3, px, px)
    kind: Tensor  # (m,)
    amount: Tensor  # (m,), as in Twins
    on_the_way: Tensor  # (K,) scenes
    further: Tensor  # (K, 3, px, px)
    farther: Tensor  # (K,)


def _mixtures(
    canvas: Canvas,
    dice: Dice,
    stage: _Stage,
    new: _Attributes,
    change: Tensor,
    twins: tuple[Tensor, Tensor],
    spots: list[tuple[Tensor, Tensor]],
    m: int,
    detours: float,
) -> _Mixtures:
    """Of the first ``m`` scenes, whose ``twins`` are pictures before and after their change; others as in ``draw``."""
    subject, second = (surface.mask for surface in stage.objects)
    before, after = (pictures[:m] for pictures in twins)
    weight, kind = _mixing(canvas, dice, m)
    kind = torch.where(((kind == BESIDE) | (kind == BEYOND)) & (change[:m] == BACKGROUND), PATCHY, kind)
    kind = torch.where((change[:m] == TEXTURE) & dice.chance(0.4, m), COARSE, kind)
    others = torch.zeros(len(change) - m, dtype=torch.bool, device=kind.device)  # scenes without a mixture
    part, on_the_way = torch.zeros_like(change, dtype=weight.dtype), change.new_zeros(0)
    further, farther = before[:0], part[:0]
    if detours:
        kind = torch.where((change[:m] == COLOUR) & dice.chance(detours, m), DETOUR, kind)
        start, part = _grayish(dice, len(change)), dice.uniform(len(change))
        nearer = part + (1 - part) * dice.uniform(len(change), low=0.2, high=0.6)
        rows = torch.cat([kind == DETOUR, others])
        on_the_way = rows.nonzero()[:, 0]
        further = stage.picture(new.on_the_way(rows, start, nearer), spots)[on_the_way]
        farther = nearer[on_the_way]
        new = new.on_the_way(rows, start, part)
    beside, coarse, beyond, detour = ((kind == k)[:, None, None, None] for k in (BESIDE, COARSE, BEYOND, DETOUR))
    wrong = new.textured(torch.cat([kind == COARSE, others]), BLOTCHED)
    otherwise = stage.picture(wrong, spots)[:m]
    elsewhere = stage.back.coloured(new.rgb[1], new.second[1], new.texture[1])[:m]
    weight = torch.where(beyond & dice.chance(0.5, m, 1, 1, 1), _halo(dice, subject[:m]), weight)
    astray = weight * (1 - subject[:m]) * (1 - second[:m])
    mixed = before.lerp(after, torch.where(beside, 0.0, torch.where(coarse | beyond, 1.0, weight)))
    mixed = torch.where(coarse | detour, otherwise, mixed.lerp(elsewhere, astray * (beside | beyond)))
    region = torch.where((change == BACKGROUND)[:, None, None, None], 1 - subject, subject)[:m]
    size = region.sum((1, 2, 3)).clamp(min=1)
    amount = (weight * region).sum((1, 2, 3)) / size
    amount = torch.where(kind == BESIDE, 0.0, torch.where(kind == COARSE, 0.5, amount))
    amount = torch.where(kind == BEYOND, size / (size + astray.sum((1, 2, 3))), amount)
    amount = torch.where(kind == DETOUR, part[:m], amount)
    return _Mixtures(mixed, kind, amount, on_the_way, further, farther)


def _halo(dice: Dice, mask: Tensor) -> Tensor:
    """``mask`` (m, 1, px, px) and a soft band around it, a sixteenth or a sixth of the picture wide."""
    px = mask.shape[-1]
    narrow, wide = px // 16, px // 6

    def grown(by: int) -> Tensor:
        return F.avg_pool2d(F.max_pool2d(mask, 2 * by + 1, 1, by), 2 * (by // 2) + 1, 1, by // 2)

    return torch.where(dice.chance(0.5, len(mask), 1, 1, 1), grown(narrow), grown(wide))


def _changes(dice: Dice, stage: _Stage) -> Tensor:
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
    0.8) that of a photo or clutter for a background, ``detours`` that of a detour where a mixture's colour changes.
    """
    stage, x, y = _stage(canvas, dice, n, pairs, askew, wild)
    old = _attributes(dice, n, stage, (0.6, 0.35, 0.35))
    change = _changes(dice, stage)
    new = old.changed(dice, change)
    spots = [scatter(canvas, dice, x, y, size, p) for size, p in (((0.08, 0.3), 0.4), ((0.06, 0.2), 0.4))]
    earlier = stage.without_first(change == PRESENCE)
    before, after = earlier.picture(old, spots), stage.picture(new, spots)
    claims = [_claims(earlier, old), _claims(stage, new)]
    m = int(n * mixtures)
    mixed = _mixtures(canvas, dice, stage, new, change, (before, after), spots, m, detours)
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
