"""Pictures of pixels: what arrives on the screen, that nothing piles up there, and who gets which."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest

if sys.platform == "win32":
    pytest.skip("its screen needs pseudo-terminals", allow_module_level=True)

from PIL import Image
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from t2l_cli.cli.asking import Answer
from t2l_cli.cli.graphics import MOST_PIXELS, best, drawn_by
from t2l_cli.cli.half_blocks import HalfBlocks
from t2l_cli.cli.pictures import OTHER_LINES, WAYS
from tests.unit.cli.screens import CELL, Screen, Shown

PIXELS = ("kitty", "iterm2", "sixel")
NEAR = 8.0  # levels of 255 that a picture is off on average: 256 colours, JPEG, another size


@pytest.fixture(autouse=True)
def known_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a character does not depend on where the tests run."""
    monkeypatch.setattr("t2l_cli.cli.graphics.cell_size", lambda: CELL)


def photo(height: int, width: int, seed: int = 0) -> Any:
    """A smooth picture (H, W, 3) with an edge."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(3 * (1 + k + seed) * x + k) * np.cos(2 * (k + 1) * y - seed) for k in range(3)]
    picture = 127 + 100 * np.stack(waves, -1)
    picture[:, : width // 3] *= 0.5
    return picture.astype(np.uint8)


class Watched:
    """A live display with a bar and a picture, on a screen that keeps what it shows."""

    def __init__(self, way: str, columns: int = 100, lines: int = 40) -> None:
        self.screen = Screen(columns, lines)
        self.file = io.StringIO()
        self.console = Console(
            file=self.file, force_terminal=True, color_system="truecolor", legacy_windows=False, width=columns,
            height=lines, soft_wrap=True,
        )  # fmt: skip
        self.picture = drawn_by(way)()
        group = Group(Text("the bar"), Text("the losses"), self.picture)
        self.live = Live(group, console=self.console, auto_refresh=False, redirect_stderr=False, redirect_stdout=False)
        self.written = ""

    def refresh(self) -> None:
        self.live.refresh()
        self.show()

    def show(self) -> None:
        """Bring what was written onto the screen, as a terminal does: with a carriage return for each line."""
        self.written += self.file.getvalue()
        self.screen.take(self.file.getvalue().replace("\n", "\r\n"))
        self.file.seek(0)
        self.file.truncate()

    def only(self) -> Shown:
        """The one picture, which is below the bar."""
        (one,) = self.screen.pictures.values()
        lines = [line.rstrip() for line in self.screen.display]
        assert lines[one.top - 2 : one.top] == ["the bar", "the losses"]
        assert not any(lines[one.top :]), "nothing is written over it"
        return one


def off(one: Shown, picture: Any) -> float:
    """The mean difference of what is shown and ``picture``."""
    small = Image.fromarray(picture).resize(one.pixels.shape[1::-1])
    return float(np.abs(np.asarray(small, float) - one.pixels).mean())


@pytest.mark.parametrize("way", PIXELS)
@pytest.mark.parametrize("size", [(120, 160), (700, 300), (9, 200), (16, 16), (1000, 1400)])
def test_what_arrives_is_the_picture_in_its_shape(way: str, size: tuple[int, int]) -> None:
    on = Watched(way)
    on.picture.draw(photo(*size), on.console)
    on.live.start()
    on.refresh()
    one = on.only()
    assert off(one, photo(*size)) < NEAR
    height, width = one.pixels.shape[:2]
    assert max(height, width) <= MOST_PIXELS
    assert one.rows <= 40 - OTHER_LINES
    # On the screen it keeps its shape to half a character, a row of sixels to its whole height.
    tall, wide = (height, width) if way == "sixel" else (one.rows * CELL[0], one.columns * CELL[1])
    wanted = wide * size[0] / size[1]
    assert abs(tall - wanted) <= CELL[0] / 2 + CELL[1] / 2 * size[0] / size[1] + 6


@pytest.mark.parametrize("way", PIXELS)
@pytest.mark.parametrize("filled", [0, 60])
def test_pictures_replace_each_other_in_their_place(way: str, filled: int) -> None:
    """Also where notes move the display, and where the screen is full and moves itself."""
    on = Watched(way)
    on.console.print("before\n" * filled, end="")
    on.live.start(refresh=True)
    for i in range(6):
        if i % 2 == 0:
            on.picture.draw(photo(150, 200, i), on.console)
        on.refresh()
        assert off(on.only(), photo(150, 200, i - i % 2)) < NEAR
        if i % 3 == 1:
            on.console.print(f"note {i}")
            on.show()
            on.only()
    on.live.stop()
    on.console.print("the end")
    on.show()
    assert on.screen.drawn > 6
    (last,) = on.screen.pictures.values()
    assert off(last, photo(150, 200, 4)) < NEAR
    lines = [line.rstrip() for line in on.screen.display]
    assert "the end" in lines[last.top + last.rows :], "what is said later is below"
    assert lines.count("the bar") == 1
    assert not on.screen.cursor.hidden
    assert len(on.screen.sent) == (way == "kitty")


def test_kitty_gets_each_picture_once_and_is_told_its_place_each_time() -> None:
    on = Watched("kitty")
    on.picture.draw(photo(150, 200), on.console)
    on.live.start()
    on.refresh()
    once = len(on.written)
    on.refresh()
    assert len(on.written) - once < 500
    assert on.screen.drawn == 2


def test_two_pictures_in_one_terminal_are_not_mistaken_for_each_other() -> None:
    one, two = Watched("kitty"), Watched("kitty")
    for on in (one, two):
        on.picture.draw(photo(15, 20), on.console)
        on.live.start()
        on.refresh()
    assert not set(one.screen.sent) & set(two.screen.sent)


@pytest.mark.parametrize("way", PIXELS)
def test_a_window_that_becomes_too_small_has_none_until_the_next(way: str) -> None:
    on = Watched(way)
    on.picture.draw(photo(300, 200), on.console)
    on.live.start()
    on.refresh()
    on.console.size = (30, 12)
    on.screen.resize(12, 30)
    on.refresh()
    assert not on.screen.pictures
    on.picture.draw(photo(300, 200), on.console)
    on.refresh()
    assert off(on.only(), photo(300, 200)) < NEAR


@pytest.mark.parametrize("way", PIXELS)
def test_before_the_first_picture_there_is_only_the_bar(way: str) -> None:
    on = Watched(way)
    on.live.start()
    on.refresh()
    assert on.screen.drawn == 0
    assert len([line for line in on.screen.display if line.strip()]) == 2


@pytest.mark.parametrize(
    ("answer", "way"),
    [
        (Answer(), "blocks"),
        (Answer(kitty=True, name="kitty(0.40)"), "kitty"),
        (Answer(kitty=True, name="WezTerm 20240203", sixel=True), "iterm2"),
        (Answer(name="iTerm2 3.4", sixel=True), "iterm2"),
        (Answer(kitty=True, sixel=True, cell=CELL), "kitty"),
        (Answer(name="XTerm(379)", sixel=True, cell=CELL), "sixel"),
        (Answer(name="XTerm(379)"), "blocks"),
    ],
)
def test_the_terminal_decides(answer: Answer, way: str) -> None:
    assert best(answer) == way


def test_sixels_need_the_size_of_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2l_cli.cli.graphics.cell_size", lambda: None)
    assert best(Answer(sixel=True)) == "blocks"
    assert best(Answer(sixel=True, cell=CELL)) == "sixel"


def test_a_way_that_is_asked_for_is_taken_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2l_cli.cli.graphics.ask", pytest.fail)
    kinds = {type(drawn_by(way)()) for way in WAYS}
    assert len(kinds) == len(WAYS)
    assert HalfBlocks in kinds
