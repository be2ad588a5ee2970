"""The geometry of scenes, which twins share, and their attributes, in which twins differ."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mini.painting import (
    Canvas,
    Dice,
    Surface,
    backdrop,
    camera,
    object_,
    other_than,
    paint,
    second_paint,
)
from mini.vocabulary import COLOURS, NO_CLAIM, NOUNS, OTHER_SHAPE, TEXTURES
from t2l_cli.engine.layers import GREEN

LARGEST = 1.1  # maximum half-side of an object, in half pictures: the border may cut it off
COLOUR, TEXTURE, BACKGROUND, PRESENCE = 0, 1, 2, 3  # what differs between twins; an object appears on a green screen
GREEN_NAME = list(COLOURS).index("green")


@dataclass(frozen=True)
class Attributes:
    """The attributes of the things in B scenes. Each list has three tensors: background, first and second object."""

    colour: list[Tensor]  # (B,) indices
    texture: list[Tensor]  # (B,) indices
    rgb: list[Tensor]  # (B, 3), the paint
    second: list[Tensor]  # (B, 3), the texture's second paint

    def changed(self, dice: Dice, change: Tensor) -> Attributes:
        """The attributes of the twins: the one that ``change`` (B,) names is drawn again."""
        out = Attributes(*(list(field) for field in (self.colour, self.texture, self.rgb, self.second)))
        for thing, kind in ((1, COLOUR), (0, BACKGROUND)):
            rows = change == kind
            colour = torch.where(rows, other_than(dice, self.colour[thing], len(COLOURS)), self.colour[thing])
            rgb = torch.where(rows[:, None], paint(dice, colour), self.rgb[thing])
            out.colour[thing], out.rgb[thing] = colour, rgb
            out.second[thing] = torch.where(rows[:, None], second_paint(dice, rgb), self.second[thing])
        rows = change == TEXTURE
        out.texture[1] = torch.where(rows, other_than(dice, self.texture[1], len(TEXTURES)), self.texture[1])
        return out

    def textured(self, rows: Tensor, texture: Tensor | int) -> Attributes:
        """The attributes with another ``texture``, an index or (B,), of the first object in ``rows`` (B,) bool."""
        return replace(self, texture=[self.texture[0], torch.where(rows, texture, self.texture[1]), self.texture[2]])

    def plain(self, rows: Tensor, paint: Tensor) -> Attributes:
        """The attributes with both paints of the first object replaced by ``paint`` (B, 3) in ``rows`` (B,) bool."""
        rgb, second = (torch.where(rows[:, None], paint, own[1]) for own in (self.rgb, self.second))
        return replace(self, rgb=[self.rgb[0], rgb, self.rgb[2]], second=[self.second[0], second, self.second[2]])


@dataclass(frozen=True)
class Stage:
    """The geometry of B scenes, without paint."""

    back: Surface
    objects: tuple[Surface, Surface]
    nouns: tuple[Tensor, Tensor]  # (B,) each
    screen: Tensor  # (B,) bool: the background is a green screen
    unnamed: Tensor  # (B,) bool: the background is a photo or clutter
    scenery: Tensor  # (B, 3, px, px), the background in these cases
    outside: Tensor  # (B, 1, px, px) bool: beyond the scene's border
    border: Tensor  # (B, 1, 1, 1), the brightness there

    def without_first(self, rows: Tensor) -> Stage:
        """The stage with the first object hidden in ``rows`` (B,) bool."""
        first = replace(self.objects[0], mask=self.objects[0].mask * ~rows[:, None, None, None])
        nouns = torch.where(rows, NO_CLAIM, self.nouns[0])
        return replace(self, objects=(first, self.objects[1]), nouns=(nouns, self.nouns[1]))

    def coarser(self, rows: Tensor, factor: float) -> Stage:
        """The stage with the frequency of the first object's texture times ``factor`` in ``rows`` (B,) bool."""
        first = self.objects[0]
        first = replace(first, frequency=torch.where(rows, factor * first.frequency, first.frequency))
        return replace(self, objects=(first, self.objects[1]))

    def picture(self, paints: Attributes, spots: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The pictures (B, 3, px, px) before development.

        ``spots``: (colours (B, 3, px, px), mask (B, 1, px, px)) over the background and over the first object.
        """
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
    """Draw half-sides [(n,), (n,)] and centres [(n, 2), (n, 2)] of two objects that do not hide each other."""
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


def set_stage(
    canvas: Canvas, dice: Dice, n: int, pairs: float, askew: float, wild: float
) -> tuple[Stage, Tensor, Tensor]:
    """Draw the geometry of ``n`` scenes; return it and the scene coordinates x, y, (n, px, px) each.

    The arguments are those of ``scenes.draw``.
    """
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
    stage = Stage(
        back, (surfaces[0], surfaces[1]), (nouns[0], nouns[1]), screen, unnamed, scenery, outside[:, None], border
    )
    return stage, x, y


def attributes(dice: Dice, n: int, stage: Stage, plain: tuple[float, ...]) -> Attributes:
    """Draw the attributes of ``n`` scenes. ``plain``: the probabilities of no texture, for background and objects."""
    colour = [dice.below(len(COLOURS), n) for _ in range(3)]
    texture = [torch.where(dice.chance(p, n), 0, dice.below(len(TEXTURES), n)) for p in plain]
    for k in (1, 2):  # an object of its background's colour cannot be seen
        behind = torch.where(stage.screen, GREEN_NAME, torch.where(stage.unnamed, -1, colour[0]))
        colour[k] = torch.where(colour[k] == behind, other_than(dice, colour[k], len(COLOURS)), colour[k])
    rgb = [paint(dice, c) for c in colour]
    return Attributes(colour, texture, rgb, [second_paint(dice, c) for c in rgb])
