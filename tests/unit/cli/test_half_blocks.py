"""Pictures as characters: the colours, the size, and that a smaller terminal gets none."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from t2l_cli.cli.half_blocks import BLOCK, HalfBlocks, can_draw
from t2l_cli.cli.pictures import OTHER_LINES


def console(width: int = 60, height: int = 30, **more: Any) -> Console:
    given: dict[str, Any] = {"force_terminal": True, "color_system": "truecolor", "legacy_windows": False} | more
    return Console(file=io.StringIO(), width=width, height=height, **given)


def printed(blocks: HalfBlocks, on: Console) -> str:
    on.print(blocks, end="")
    file: Any = on.file
    return str(file.getvalue())


@pytest.mark.parametrize("size", [(2, 2), (40, 60), (100, 10), (10, 400), (1000, 1000)])
def test_a_picture_keeps_its_shape_and_stays_within_the_terminal(size: tuple[int, int]) -> None:
    on, blocks = console(), HalfBlocks()
    blocks.draw(np.zeros((*size, 3), np.uint8), on)
    lines = printed(blocks, on).splitlines()
    columns = {line.count(BLOCK) for line in lines}
    assert len(columns) == 1
    (width,) = columns
    assert width < 60
    assert len(lines) <= 30 - OTHER_LINES
    assert abs(2 * len(lines) - width * size[0] / size[1]) <= 2 + size[0] / size[1]


def test_the_two_colours_of_a_block_are_two_pixels() -> None:
    picture = np.zeros((2, 1, 3), np.uint8)
    picture[0], picture[1] = (10, 20, 30), (200, 100, 50)
    on, blocks = console(width=2, height=9), HalfBlocks()
    blocks.draw(picture, on)
    text = printed(blocks, on)
    assert re.fullmatch(rf"\x1b\[38;2;10;20;30;48;2;200;100;50m{BLOCK}\x1b\[0m\n", text)


def test_colours_fit_the_terminal() -> None:
    on, blocks = console(color_system="256"), HalfBlocks()
    blocks.draw(np.full((8, 8, 3), 77, np.uint8), on)
    assert "38;5;" in printed(blocks, on)


def test_a_terminal_that_has_become_smaller_gets_none() -> None:
    blocks = HalfBlocks()
    blocks.draw(np.zeros((100, 100, 3), np.uint8), console())
    assert BLOCK in printed(blocks, console())
    assert printed(blocks, console(width=20)).strip() == ""
    assert printed(blocks, console(height=12)).strip() == ""


@pytest.mark.parametrize(
    ("more", "able"),
    [({}, True), ({"color_system": None}, False), ({"no_color": True}, False), ({"legacy_windows": True}, False)],
)
def test_who_can_draw(more: dict[str, Any], able: bool) -> None:
    assert can_draw(console(**more)) == able
