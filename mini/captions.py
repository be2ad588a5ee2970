"""Captions of scenes: a small grammar, and the table of which captions are true of which pictures."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from mini.stage import BACKGROUND, PRESENCE, TEXTURE
from mini.vocabulary import (
    COLOUR_NAMES,
    GENERIC_NOUNS,
    NO_CLAIM,
    NOUNS,
    OTHER_SHAPE,
    SCREEN,
    SYNONYMS,
    TEXTURES,
    UNKNOWN_NOUNS,
    Thing,
)  # fmt: skip
from t2l_cli.engine.prompts import TEMPLATES

NOTHING = Thing()
_SCREENS = ("over a green screen", "in front of a green screen")


@dataclass(frozen=True)
class Claim:
    """What a caption claims about a first object, a second object, and the background (colour, texture)."""

    first: Thing = NOTHING
    second: Thing = NOTHING
    background: tuple[int, int] = (NO_CLAIM, NO_CLAIM)

    def row(self) -> list[int]:
        """The claim as 8 indices, for ``truth``."""
        return [*self.first, *self.second, *self.background]


class Captioner:
    """Turns claims into words, with a random choice of synonyms, articles and templates."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def _word(self, name: str) -> str:
        return self.rng.choice(SYNONYMS.get(name, (name,)))

    def phrase(self, thing: Thing) -> str:
        """Such as "red striped cup". A nameless or unclaimed shape is an "object" or a word that mini does not know."""
        words = [self._word(COLOUR_NAMES[thing.colour])] if thing.colour != NO_CLAIM else []
        words += [self._word(TEXTURES[thing.texture])] if thing.texture != NO_CLAIM else []
        if thing.noun in (NO_CLAIM, OTHER_SHAPE):
            words.append(self.rng.choice(UNKNOWN_NOUNS if self.rng.random() < 0.5 else GENERIC_NOUNS))
        else:
            words.append(self._word(NOUNS[thing.noun]))
        return " ".join(words)

    def _article(self, phrase: str) -> str:
        return ("an " if phrase[0] in "aeiou" else "a ") + phrase if self.rng.random() < 0.5 else phrase

    def text(self, claim: Claim) -> str:
        """A caption that makes this claim, mostly in one of the engine's templates."""
        parts = []
        if claim.first != NOTHING:
            parts.append(self._article(self.phrase(claim.first)))
            if claim.second != NOTHING:
                parts.append("and " + self._article(self.phrase(claim.second)))
        colour, texture = claim.background
        if texture == SCREEN:
            parts.append(self.rng.choice(_SCREENS) if parts else "a green screen")
        elif (colour, texture) != (NO_CLAIM, NO_CLAIM):
            words = [self._word(COLOUR_NAMES[colour])] if colour != NO_CLAIM else []
            words += [self._word(TEXTURES[texture])] if texture != NO_CLAIM else []
            background = self._article(" ".join([*words, "background"]))
            parts.append(f"on {background}" if parts else background)
        body = " ".join(parts) or self.rng.choice(("photo", "picture", "image"))
        return self.rng.choice(TEMPLATES).format(body) if self.rng.random() < 0.6 else body

    def _partial(self, thing: Thing, keep: int | None = None) -> Thing:
        """``thing`` with some attributes left open; attribute ``keep`` stays."""
        odds = {0: 0.8, 1: 0.35 if thing.texture > 0 else 0.1, 2: 0.75}
        kept = [value if i == keep or self.rng.random() < odds[i] else NO_CLAIM for i, value in enumerate(thing)]
        return Thing(*kept)

    def name(self, things: list[Thing]) -> str:
        """A name for the first of ``things``: its noun, always with its colour if there are two things."""
        thing, alone = things[0], len([t for t in things if t.noun != NO_CLAIM]) < 2
        colour = NO_CLAIM if alone and self.rng.random() < 0.6 else thing.colour
        return self.rng.choice(TEMPLATES).format(self.phrase(Thing(colour, NO_CLAIM, thing.noun)))

    def full(self, things: list[Thing], background: tuple[int, int]) -> Claim:
        """A claim with nearly everything that is true of a scene."""
        present = [t for t in things if t.noun != NO_CLAIM]
        self.rng.shuffle(present)
        named = [
            Thing(t.colour, t.texture if t.texture > 0 or self.rng.random() < 0.15 else NO_CLAIM, t.noun)
            for t in present
        ]
        first, second = (*named, NOTHING, NOTHING)[:2]
        if self.rng.random() < 0.3:
            second = NOTHING
        return Claim(first, second, self._background(background, 0.7 if named else 1.0))

    def partial(self, things: list[Thing], background: tuple[int, int]) -> Claim:
        """A claim with a part of what is true of a scene."""
        present = [t for t in things if t.noun != NO_CLAIM]
        if not present or self.rng.random() < 0.12:
            return Claim(background=self._background(background, 1.0))
        return Claim(self._partial(self.rng.choice(present)), NOTHING, self._background(background, 0.12))

    def _background(self, background: tuple[int, int], chance: float) -> tuple[int, int]:
        colour, texture = background
        if self.rng.random() >= chance or background == (NO_CLAIM, NO_CLAIM):
            return NO_CLAIM, NO_CLAIM
        if texture == SCREEN:
            return NO_CLAIM, SCREEN
        shown = texture if texture > 0 and self.rng.random() < 0.7 else NO_CLAIM
        return (colour if shown == NO_CLAIM or self.rng.random() < 0.8 else NO_CLAIM), shown

    def swapped(self, claim: Claim) -> Claim:
        """The claim with the colours of object and background exchanged: false if they differ."""
        first, (colour, texture) = claim.first, claim.background
        if NO_CLAIM in (first.colour, colour):
            return claim
        return Claim(first._replace(colour=colour), claim.second, (first.colour, texture))

    def change(
        self, before: tuple[Thing, tuple[int, int]], after: tuple[Thing, tuple[int, int]], kind: int
    ) -> tuple[str, str]:
        """Texts before and after an edit, equal except for the change; the first may leave the attribute open."""
        template = self.rng.choice(TEMPLATES)
        neutral = self.rng.random() < 0.5
        if kind == BACKGROUND:
            texts = [self._word(COLOUR_NAMES[b[0]]) + " background" for _, b in (before, after)]
            return template.format("background" if neutral else texts[0]), template.format(texts[1])
        if kind == PRESENCE:
            there = self.phrase(self._partial(after[0], keep=0))
            return template.format("a green screen"), template.format(f"{there} {self.rng.choice(_SCREENS)}")
        attribute = 1 if kind == TEXTURE else 0
        claim = self._partial(after[0], keep=attribute)
        old = list(claim)
        old[attribute] = NO_CLAIM if neutral else before[0][attribute]
        state = self.rng.getstate()
        new_text = self.phrase(claim)
        self.rng.setstate(state)  # draw the same noun again for a nameless thing
        noun = new_text.split()[-1]
        old_text = " ".join([*self.phrase(Thing(*old)).split()[:-1], noun])
        if neutral and self.rng.random() < 0.2:
            old_text = "photo"
        return template.format(old_text), template.format(new_text)


def truth(claims: Tensor, things: Tensor, backgrounds: Tensor) -> Tensor:
    """(T, N) bool: whether claim t is true of picture n.

    claims: (T, 8), see ``Claim.row``. things: (N, 2, 3). backgrounds: (N, 2).
    """

    def fits(claim: Tensor, fact: Tensor) -> Tensor:
        return ((claim[:, None] == NO_CLAIM) | (claim[:, None] == fact[None])).all(-1)

    first, second = claims[:, 0:3], claims[:, 3:6]  # (T, 3) each
    empty = (second == NO_CLAIM).all(1)[:, None]
    one = fits(first, things[:, 0]) | fits(first, things[:, 1])
    both = (fits(first, things[:, 0]) & fits(second, things[:, 1])) | (
        fits(first, things[:, 1]) & fits(second, things[:, 0])
    )
    return torch.where(empty, one, both) & fits(claims[:, 6:8], backgrounds)
