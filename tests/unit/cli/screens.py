"""A terminal that tests pretend to be: what it answers, and a screen that keeps the pictures drawn on it.

Nothing here is shared with the program: the pictures are decoded by a reader of its own.
"""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyte
from PIL import Image

CELL = (20, 10)  # px, (height, width) of a character
KITTY = b"\x1b_Gi=1;OK\x1b\\\x1bP>|kitty(0.40)\x1b\\\x1b[6;20;10t\x1b[?62;c"
ITERM2 = b"\x1b_Gi=1;OK\x1b\\\x1bP>|iTerm2 3.5.0\x1b\\\x1b[6;20;10t\x1b[?62;4c"
SIXEL = b"\x1bP>|XTerm(379)\x1b\\\x1b[6;20;10t\x1b[?64;1;4;6c"
PLAIN = b"\x1b[?6c"
_PIECES = re.compile(
    r"\x1b_G(?P<kitty>[^\x1b]*)\x1b\\|\x1b\]1337;(?P<iterm2>[^\x07]*)\x07|\x1bP(?P<sixel>[^\x1b]*)\x1b\\"
    r"|(?P<question>\x1b\[(?:>q|16t|c))"
)


@dataclass(frozen=True)
class Shown:
    """A picture on the screen: its first line, the lines and columns that it covers, RGB pixels (H, W, 3)."""

    top: int
    rows: int
    columns: int
    pixels: Any


class Screen(pyte.Screen):
    """Text as pyte's, and the pictures drawn on it by any of the three protocols."""

    def __init__(self, columns: int = 100, lines: int = 40) -> None:
        super().__init__(columns, lines)
        self.stream = pyte.Stream(self)
        self.sent: dict[int, str] = {}  # kitty: id -> base64
        self.pictures: dict[tuple[str, int], Shown] = {}
        self.drawn = 0  # pictures so far, each time that one was
        self.most = 0  # pictures at once
        self._open = 0

    def take(self, text: str) -> None:
        """Show what a program wrote."""
        at = 0
        for piece in _PIECES.finditer(text):
            self.stream.feed(text[at : piece.start()])
            at = piece.end()
            for name in ("kitty", "iterm2", "sixel"):
                if piece[name] is not None:
                    getattr(self, f"take_{name}")(piece[name])
            self.most = max(self.most, len(self.pictures))
        self.stream.feed(text[at:])

    def take_kitty(self, body: str) -> None:
        keys_, _, data = body.partition(";")
        keys = dict(pair.split("=") for pair in keys_.split(","))
        if keys.get("a") == "q":
            return
        assert keys["q"] == "2", "an answer would come as typed keys"
        assert len(data) <= 4096
        if keys.get("a") == "d":
            assert keys["d"] in "iI"
            self.pictures.pop(("kitty", int(keys["i"])), None)
            if keys["d"] == "I":
                self.sent.pop(int(keys["i"]), None)
        elif keys.get("a") == "p":
            assert keys["C"] == "1"
            number = int(keys["i"])
            pixels = decoded(self.sent[number])
            self._show(("kitty", number), int(keys["r"]), int(keys["c"]), pixels)
        else:
            if keys.get("a") == "t":
                self._open = int(keys["i"])
                assert self._open not in self.sent, "the one before is still kept"
                self.sent[self._open] = ""
            self.sent[self._open] += data

    def take_iterm2(self, body: str) -> None:
        head, _, data = body.partition(":")
        keys = dict(pair.split("=") for pair in head.removeprefix("File=").split(";"))
        assert keys["inline"] == "1"
        self._show(("iterm2", self.drawn), int(keys["height"]), int(keys["width"]), decoded(data))

    def take_sixel(self, body: str) -> None:
        pixels = unsixelled(body)
        rows, columns = (-(-pixels.shape[i] // CELL[i]) for i in (0, 1))
        self._show(("sixel", self.drawn), rows, columns, pixels)

    def _show(self, key: tuple[str, int], rows: int, columns: int, pixels: Any) -> None:
        assert self.cursor.x == 0
        assert self.cursor.y + rows < self.lines, "the picture would move the screen"
        assert columns < self.columns
        self.drawn += 1
        self.pictures[key] = Shown(self.cursor.y, rows, columns, pixels)

    def index(self) -> None:
        if self.cursor.y == self.lines - 1:
            self.pictures = {
                key: Shown(one.top - 1, one.rows, one.columns, one.pixels) for key, one in self.pictures.items()
            }
        super().index()

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        self._erased(range(self.cursor.y, self.cursor.y + 1))
        super().erase_in_line(how, private)

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        if how == 0:
            self._erased(range(self.cursor.y, self.lines))
        super().erase_in_display(how, *args, **kwargs)

    def _erased(self, lines: range) -> None:
        """A picture of kitty stays; of others what was drawn on ``lines`` goes."""
        left = {}
        for key, one in self.pictures.items():
            rows = [y for y in range(one.top, one.top + one.rows) if key[0] == "kitty" or y not in lines]
            if rows:
                left[key] = Shown(rows[0], len(rows), one.columns, one.pixels)
        self.pictures = left


def decoded(data: str) -> Any:
    """The pixels of a picture file in base64."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGB"))


def unsixelled(body: str) -> Any:
    """The pixels (H, W, 3) of what stands between DCS and ST. Every one of them must have been drawn."""
    found = re.fullmatch(r'[\d;]*q"1;1;(\d+);(\d+)(.*)', body, re.DOTALL)
    assert found
    width, height = int(found[1]), int(found[2])
    pixels = np.full((height, width, 3), -1)
    palette: dict[int, list[int]] = {}
    x = y = colour = 0
    for token in re.finditer(r"#(\d+)((?:;\d+)*)|!(\d+)([?-~])|([?-~])|(\$)|(-)", found[3]):
        if token[1]:
            colour = int(token[1])
            if token[2]:
                palette[colour] = [int(part) for part in token[2].split(";")[2:]]
        elif token[6]:
            x = 0
        elif token[7]:
            x, y = 0, y + 6
        else:
            bits, wide = ord(token[4] or token[5]) - 63, int(token[3] or 1)
            for row in range(6):
                if bits >> row & 1:
                    pixels[y + row, x : x + wide] = palette[colour]
            x += wide
    assert pixels.min() >= 0
    assert "".join(token[0] for token in re.finditer(r"[#!$;\d?-~-]+", found[3])) == found[3]
    return np.rint(pixels * 2.55).astype(np.uint8)


@dataclass
class Pretended:
    """What a program wrote on its terminal, how it ended, and how the terminal was left."""

    written: bytes = b""
    code: int | None = None
    stdout: str = ""
    modes: list[bool] = field(default_factory=list)  # whether lines are buffered and keys are shown: before, after


def run(
    line: list[str],
    folder: Path,
    answers: bytes | None,
    delay: float = 0.0,
    typed: bytes = b"",
    look: Callable[[subprocess.Popen[bytes], bytes, int], None] = lambda process, written, terminal: None,
    streams: dict[str, Any] | None = None,
    before: Callable[[], None] = lambda: None,
    **environment: str,
) -> Pretended:
    """Run ``line`` in ``folder`` on a terminal of 40 x 100 characters, which answers once, after ``delay`` s.

    answers: None is silence. typed: keys that were typed before. look: called with the process, all that it wrote and
    the terminal's descriptor whenever something comes. streams: in place of the terminal; stdout is else a file.
    before: called in the process.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 100 * CELL[1], 40 * CELL[0]))

    def prepare() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        before()

    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment}
    for name in {"NO_COLOR", "SSH_CONNECTION", "FORCE_COLOR", "COLUMNS", "LINES"} - set(environment):
        env.pop(name, None)
    done = Pretended(modes=modes(theirs))
    os.write(ours, typed)
    answered = answers is None
    with (folder / "stdout").open("w+b") as stdout:
        where: dict[str, Any] = {"stdin": theirs, "stdout": stdout, "stderr": theirs} | (streams or {})
        process = subprocess.Popen(line, cwd=folder, env=env, preexec_fn=prepare, **where)
        asked_at = None
        while True:
            ended = process.poll() is not None
            if select.select([ours], [], [], 0 if ended else 0.02)[0]:
                done.written += os.read(ours, 1 << 16)
                look(process, done.written, theirs)
            elif ended:
                break
            if asked_at is None and b"\x1b[c" in done.written:
                asked_at = time.monotonic()
            if not answered and asked_at is not None and time.monotonic() - asked_at >= delay:
                os.write(ours, answers or b"")
                answered = True
        done.code = process.returncode
        stdout.seek(0)
        done.stdout = stdout.read().decode()
    done.modes += modes(theirs)
    os.close(ours)
    os.close(theirs)
    return done


def modes(terminal: int) -> list[bool]:
    """Whether lines are buffered, and whether keys are shown."""
    flags = termios.tcgetattr(terminal)[3]
    return [bool(flags & termios.ICANON), bool(flags & termios.ECHO)]
