"""--preview: on a terminal, into a file, into a pipe; and that it changes nothing in the result."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import Run, command, lines

LONGER = ("--clip", "mini", "--offline", "--steps", "60", "--views", "1", "--size", "129", "--matte", "off")
BLOCK = "\u2580"


on_a_terminal = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")


@pytest.mark.slow
@on_a_terminal
def test_a_terminal_shows_the_edit_below_the_bar(photo: Path, tmp_path: Path) -> None:
    """Without graphics and without an answer: with half blocks."""
    from tests.unit.cli.screens import run

    line = [*command(), "edit-image", str(photo), "red ball", *LONGER, "-o", "out.png", "--preview"]
    done = run(line, tmp_path, None)
    assert (done.code, done.stdout) == (0, "out.png\n")
    text = done.written.decode()
    assert text.count(BLOCK) > 500
    assert "38;2;" in text
    assert "no more previews" not in text
    assert done.modes == [True, True, True, True]


@pytest.mark.slow
@on_a_terminal
@pytest.mark.parametrize(
    ("terminal", "way", "begins"),
    [("KITTY", [], b"a=p,"), ("SIXEL", [], b"\x1bP0;"), ("PLAIN", ["iterm2"], b"\x1b]1337;")],
)
def test_a_terminal_with_graphics_shows_pixels_and_is_left_clean(
    terminal: str, way: list[str], begins: bytes, photo: Path, tmp_path: Path
) -> None:
    """Also by an interrupted run, whose last picture is the only one."""
    from tests.unit.cli import screens

    asked = []

    def interrupt(process: subprocess.Popen[bytes], written: bytes, descriptor: int) -> None:
        if begins in written and not asked:
            process.send_signal(signal.SIGINT)
            asked.append(1)

    line = [*command(), "edit-image", str(photo), "red ball", *LONGER, "-o", "out.png", "--preview", *way]
    done = screens.run(line, tmp_path, getattr(screens, terminal), look=interrupt)
    assert (done.code, done.stdout) == (130, "out.png\n")
    assert done.modes == [True, True, True, True]
    text = done.written.decode()
    assert BLOCK not in text
    screen = screens.Screen()
    screen.take(text)
    (one,) = screen.pictures.values()
    assert screen.most == 1
    assert not screen.cursor.hidden
    small = Image.open(tmp_path / "out.png").convert("RGB").resize(one.pixels.shape[1::-1])
    assert np.abs(np.asarray(small, float) - one.pixels).mean() < 25, "the photo, with an edit that has just begun"


@pytest.mark.slow
def test_a_file_is_rewritten_and_the_result_is_the_same(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    seen = t2l(
        "edit-image", photo, "red ball", *LONGER, "-o", "seen.png", "--preview", "look.png", "--events", "e.jsonl"
    )
    assert seen.returncode == 0, seen.stderr
    assert t2l("edit-image", photo, "red ball", *LONGER, "-o", "unseen.png").returncode == 0
    with Image.open(tmp_path / "look.png") as image:
        assert min(image.size) == 129
    assert (tmp_path / "seen.png").read_bytes() == (tmp_path / "unseen.png").read_bytes()
    events = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert {event["path"] for event in events if event["event"] == "preview"} == {"look.png"}


@pytest.mark.slow
def test_without_a_terminal_there_is_a_note(t2l: Callable[..., Run], photo: Path) -> None:
    done = t2l("edit-image", photo, "red ball", *LONGER, "--steps", "1", "-o", "out.png", "--preview")
    assert done.returncode == 0
    assert [line for line in lines(done.stderr) if "--preview FILE.png" in line]
    assert BLOCK.encode() not in done.stderr


def test_the_photo_is_never_the_previews_file(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    png = tmp_path / "photo.png"
    Image.open(photo).save(png)
    before = png.read_bytes()
    for words in (
        ["edit-image", "photo.png", "red ball", "--preview", "photo.png"],
        ["edit-image", "--preview", "photo.png", "red ball"],
        ["edit-image", "--preview", "photo.png", "red ball", "a red ball"],
        ["edit-image", "photo.png", "red ball", "--preview", "out.png"],
    ):
        done = t2l(*words, *LONGER, "-o", "out.png", "--overwrite")
        assert done.returncode == 2
        assert len(lines(done.stderr)) <= 2
    assert png.read_bytes() == before


def test_it_never_takes_the_place_of_the_result(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    """The name that the result gets by itself is found out by the job; it is refused before any work."""
    done = t2l("edit-image", photo, "red ball", *LONGER, "--preview", "photo-red-ball.png", "-q")
    assert done.returncode == 2
    assert b"photo-red-ball.png right now; choose another --output" in done.stderr
    assert not (tmp_path / "photo-red-ball.png").exists()
