"""Record the program in a terminal, as an animated SVG:  python docs/make_recording.py  (some minutes on a CPU)

Runs a command in a terminal of its own, keeps what the screen shows whenever it changes, and plays that faster than it
was: the long work is shown in PLAYED seconds. The pictures below are the command's own input and output.
"""

from __future__ import annotations

import base64
import codecs
import fcntl
import io
import itertools
import os
import pty
import shlex
import struct
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pyte
from PIL import Image

DOCS = Path(__file__).parent
TARGET = DOCS / "images" / "recording.svg"
COMMAND = 't2l edit-image cup.jpg "red cup" --clip mini --preset draft --steps 40 -o red-cup.png'
COLUMNS, ROWS = 100, 9
PLAYED, STAYS = 9.0, 5.0  # s: the command, and its last screen
FRAMES = 48  # of the command
LETTER, LINE, EDGE = 8.4, 19, 14  # px: width of a letter of 14 px, height of a line, margin
PICTURE = (240, 180)  # px
COLOURS = {
    "default": "#d6deeb",
    "red": "#ff6b6b",
    "green": "#8fd694",
    "brown": "#ffd166",
    "blue": "#82aaff",
    "magenta": "#c792ea",
    "cyan": "#7fdbca",
    "white": "#ffffff",
    "brightblack": "#7a869a",
    "black": "#7a869a",
}
Line = tuple[tuple[str, str, bool], ...]
"""Pieces of one colour: text, colour, whether it is bold."""


@dataclass(frozen=True)
class Frame:
    """What the screen showed from a moment on."""

    at: float  # s
    lines: tuple[Line, ...]


def line(row: dict[int, pyte.screens.Char]) -> Line:
    """The pieces of a line of the screen."""
    pieces: list[tuple[str, str, bool]] = []
    for column in range(COLUMNS):
        char = row[column]
        colour = COLOURS.get(char.fg, f"#{char.fg}")
        if pieces and pieces[-1][1:] == (colour, char.bold):
            pieces[-1] = (pieces[-1][0] + char.data, colour, char.bold)
        else:
            pieces.append((char.data, colour, char.bold))
    text, colour, bold = pieces[-1]
    return (*pieces[:-1], (text.rstrip(), colour, bold))


def record(command: str, folder: Path) -> list[Frame]:
    """Run ``command`` in ``folder`` and keep the screen's changes. SystemExit if it fails."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream, decode = pyte.Stream(screen), codecs.getincrementaldecoder("utf-8")()
    stream.feed(f"\x1b[32m$\x1b[0m {command}\r\n")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
        os.execv(sys.executable, [sys.executable, "-m", "t2l_cli", *shlex.split(command)[1:]])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    start, frames = time.monotonic(), [Frame(0.0, tuple(line(screen.buffer[y]) for y in range(ROWS)))]
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux's word for the end of a terminal
            break
        if not data:
            break
        stream.feed(decode.decode(data))
        lines = tuple(line(screen.buffer[y]) for y in range(ROWS))
        if lines != frames[-1].lines:
            frames.append(Frame(time.monotonic() - start, lines))
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the command failed")
    return frames


def thinned(frames: list[Frame]) -> list[Frame]:
    """At most FRAMES of them, evenly in time, and the last one."""
    step = frames[-1].at / FRAMES
    kept = [frames[0]]
    for frame, following in itertools.pairwise(frames[1:]):
        if following.at - kept[-1].at > step:  # the last change within a step is what was there to see
            kept.append(frame)
    return [*kept, frames[-1]]


def svg(frames: list[Frame], pictures: tuple[Path, Path]) -> str:
    """The animation: one strip of screens, which moves by a screen at a time; the source, and at the end the result.

    What does not animate shows the last screen.
    """
    whole = PLAYED + STAYS
    width, screen = round(COLUMNS * LETTER + 2 * EDGE), ROWS * LINE + 2 * EDGE
    height = screen + PICTURE[1] + 40
    names: dict[Line, str] = {}
    rows, keys = [], []
    for i, frame in enumerate(frames):
        keys.append(f"{100 * frame.at / frames[-1].at * PLAYED / whole:.2f}%{{transform:translateY({-i * height}px)}}")
        for y, pieces in enumerate(frame.lines):
            if "".join(text for text, *_ in pieces).strip():
                name = names.setdefault(pieces, f"l{len(names)}")
                rows.append(f'<use href="#{name}" y="{i * height + EDGE + y * LINE}"/>')
    end = -(len(frames) - 1) * height
    before = _picture(pictures[0], EDGE, screen)
    after = _picture(pictures[1], EDGE + PICTURE[0] + 20, screen - end)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="14">'
        f"<style>@keyframes play{{{''.join(keys)}100%{{transform:translateY({end}px)}}}}"
        f"#strip{{transform:translateY({end}px);animation:play {whole:g}s step-end infinite}}"
        "text{white-space:pre}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#0b1622"/><defs>{"".join(map(_drawn, names, names.values()))}'
        f'</defs>{before}<g id="strip">{"".join(rows)}{after}</g></svg>\n'
    )


def _picture(path: Path, left: int, top: int) -> str:
    """A picture with its name above it."""
    width, height = PICTURE
    out = io.BytesIO()
    Image.open(path).convert("RGB").resize((2 * width, 2 * height), Image.Resampling.LANCZOS).save(out, "JPEG")
    data = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
    return (
        f'<text x="{left}" y="{top + 4}" fill="{COLOURS["brightblack"]}">{escape(path.name)}</text>'
        f'<image x="{left}" y="{top + 12}" width="{width}" height="{height}" href="{data}"/>'
    )


def _drawn(pieces: Line, name: str) -> str:
    """A line whose pieces begin at their columns, whatever font there is."""
    spans, column = "", 0
    for text, colour, bold in pieces:
        start, words = column + len(text) - len(text.lstrip()), text.strip()
        if words:
            look = f'fill="{colour}"' + (' font-weight="bold"' if bold else "")
            place = f'x="{EDGE + start * LETTER:.1f}" textLength="{len(words) * LETTER:.1f}"'
            spans += f"<tspan {place} {look}>{escape(words)}</tspan>"
        column += len(text)
    return f'<text id="{name}" y="13">{spans}</text>'


def main() -> None:
    """Record, and write the SVG."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cup.jpg").write_bytes((DOCS / "examples" / "cup.jpg").read_bytes())
        frames = record(COMMAND, folder)
        TARGET.write_text(svg(thinned(frames), (folder / "cup.jpg", folder / "red-cup.png")), encoding="utf-8")
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB, {frames[-1].at:.0f} s in {PLAYED:g}")


if __name__ == "__main__":
    main()
