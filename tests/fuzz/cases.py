"""From one integer to one case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fuzz import atlases, command_lines, photos, places, records, videos
from tests.fuzz.case import Case
from tests.fuzz.dice import Dice

FAMILIES: tuple[tuple[int, Callable[[Dice, Path], Case]], ...] = (  # weight, maker
    (30, photos.any_picture),
    (4, places.faults),
    (1, photos.flat_and_real),
    (3, photos.streams),
    (20, command_lines.with_options),
    (10, command_lines.chaos),
    (6, command_lines.with_file),
    (12, records.changed_record),
    (8, places.odd_names),
    (12, places.over_inputs),
    (14, videos.any_video),
    (8, atlases.changed_atlas),
    (4, atlases.checkpoint),
)


def build(seed: int, folder: Path) -> Case:
    """The case of ``seed`` in the empty ``folder``."""
    dice = Dice(seed)
    weights, makers = zip(*FAMILIES, strict=True)
    return dice.choices(makers, weights)[0](dice, folder)
