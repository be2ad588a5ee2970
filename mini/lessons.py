"""The pictures of one training step, drawn from (seed, step), and their texts."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from mini.captions import Captioner, Claim
from mini.painting import Canvas, Dice
from mini.scenes import Twins, draw
from mini.vocabulary import Thing

SCENES = 48  # per step: twice that many pictures, plus the mixtures
WILD = 0.5  # part of the scenes with a photo or clutter as background, where finding the object is hardest


@dataclass(frozen=True)
class Lesson:
    """The pictures of one step, and their texts."""

    twins: Twins
    texts: list[str]  # T captions
    claims: Tensor  # (T, 8), the claims of the captions
    edits: list[tuple[str, str]]  # one per scene: texts before and after the change
    names: list[str]  # one per picture before and after the change: a name of the first object


def lesson(canvas: Canvas, seed: int, step: int, mixtures: float, detours: float, scenes: int = SCENES) -> Lesson:
    """Draw and describe the pictures of step ``step`` of run ``seed``; ``mixtures`` and ``detours`` as in ``draw``."""
    device = canvas.noise.device
    dice = Dice(torch.Generator(device).manual_seed(seed * 1_000_003 + step))
    twins = draw(canvas, dice, scenes, mixtures=mixtures, wild=WILD, detours=detours)
    captioner = Captioner(random.Random(seed * 1_000_003 + step))
    facts = [
        ([Thing(*t) for t in things], (b[0], b[1]))
        for things, b in zip(twins.things.tolist(), twins.backgrounds.tolist(), strict=True)
    ]
    claims: list[Claim] = []
    for i, fact in enumerate(facts[: 2 * scenes]):
        full = captioner.full(*fact)
        claims += [full, captioner.partial(*fact)]
        if i % 4 == 0:
            claims.append(captioner.swapped(full))
    claims = [*(c for c in claims if c != Claim()), Claim()]  # exactly one caption, "photo", is true of all pictures
    edits = []
    for i, kind in enumerate(twins.change.tolist()):
        (a, a_back), (b, b_back) = facts[i], facts[scenes + i]
        edits.append(captioner.change((a[0], a_back), (b[0], b_back), kind))
    rows = torch.tensor([c.row() for c in claims], device=device)
    texts = [captioner.text(c) for c in claims]
    names = [captioner.name(things) for things, _ in facts[: 2 * scenes]]
    return Lesson(twins, texts, rows, edits, names)
