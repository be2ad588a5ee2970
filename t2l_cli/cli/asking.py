"""What a terminal says of itself when it is asked."""

from __future__ import annotations

import contextlib
import os
import re
import select
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

WAIT, WAIT_FAR = 0.5, 2.0  # s for the answers of a terminal here, and of one at the other end of an ssh
# For the graphics of kitty (q: can you?), the terminal's name, a character's size in px, and, which every terminal
# answers, its kind. Whoever prints a question instead of reading it has it erased.
_QUESTIONS = b"\x1b_Gi=1,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[>q\x1b[16t\x1b[c\r\x1b[K"
_KITTY = re.compile(rb"\x1b_Gi=1;([^\x1b]*)\x1b\\")
_NAME = re.compile(rb"\x1bP>\|([^\x1b]*)\x1b\\")
_CELL = re.compile(rb"\x1b\[6;(\d+);(\d+)t")
_KIND = re.compile(rb"\x1b\[\?([\d;]*)c")
SIXEL = b"4"  # among the numbers of the kind


@dataclass(frozen=True)
class Answer:
    """What the terminal said.

    kitty: whether it has the graphics of kitty. name: its own, with its version. sixel: whether it has sixels.
    cell: (height, width) of a character, px; None where it did not say.
    """

    kitty: bool = False
    name: str = ""
    sixel: bool = False
    cell: tuple[int, int] | None = None


def ask() -> Answer:
    """Ask the terminal, and wait for its answer for a moment. Where that might harm, it is not asked."""
    if sys.platform == "win32" or not _may_ask():
        return Answer()
    said = b""
    with contextlib.suppress(OSError), _unbuffered_keys():
        if not _typed(0):  # keys that wait for whoever reads next
            os.write(2, _QUESTIONS)
            said = _answers(time.monotonic() + (WAIT_FAR if "SSH_CONNECTION" in os.environ else WAIT))
            for key in _without_answers(said):
                _put_back(key)
    kitty, name, cell, kind = (pattern.search(said) for pattern in (_KITTY, _NAME, _CELL, _KIND))
    return Answer(
        kitty=kitty is not None and kitty[1] == b"OK",
        name=name[1].decode("ascii", "replace") if name else "",
        sixel=kind is not None and SIXEL in kind[1].split(b";"),
        cell=(int(cell[1]), int(cell[2])) if cell and int(cell[1]) * int(cell[2]) else None,
    )


def cell_size() -> tuple[int, int] | None:
    """(height, width) of a character, px, as the system knows it; None where it does not."""
    if sys.platform == "win32":
        return None
    import fcntl
    import struct
    import termios

    try:
        rows, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(2, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return None
    return (height // rows, width // columns) if 0 < rows <= height and 0 < columns <= width else None


def _may_ask() -> bool:
    """Whether the answer will come to us, and nobody else reads keys.

    A program beside us in a pipe may do that, such as a pager after us, or an ssh before us that asks for a password.
    """
    try:
        pipes = any(stat.S_ISFIFO(os.fstat(one).st_mode) or stat.S_ISSOCK(os.fstat(one).st_mode) for one in (0, 1))
        same = os.isatty(0) and os.isatty(2) and os.ttyname(0) == os.ttyname(2)
        return same and not pipes and os.tcgetpgrp(0) == os.getpgrp()  # in the foreground of our own terminal
    except OSError:
        return False


@contextlib.contextmanager
def _unbuffered_keys() -> Iterator[None]:
    """Within the block keys can be read before Return, and are not shown. Ctrl-C works."""
    import termios

    before = termios.tcgetattr(0)
    without = termios.tcgetattr(0)
    without[3] &= ~(termios.ICANON | termios.ECHO)
    try:
        termios.tcsetattr(0, termios.TCSANOW, without)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)


def _typed(wait: float) -> bool:
    """Whether there is something to read within ``wait`` s."""
    return bool(select.select([0], [], [], wait)[0])


def _answers(until: float) -> bytes:
    """What comes until the last answer. One byte at a time: what is typed after it is not ours."""
    said = b""
    while not _KIND.search(said) and _typed(max(0.0, until - time.monotonic())):
        byte = os.read(0, 1)
        if not byte:
            break
        said += byte
    return said


def _without_answers(said: bytes) -> list[bytes]:
    """The keys among ``said``."""
    for pattern in (_KITTY, _NAME, _CELL, _KIND):
        said = pattern.sub(b"", said)
    return [said[i : i + 1] for i in range(len(said))]


def _put_back(key: bytes) -> None:
    """Type ``key`` once more, where the system allows it; a Linux of today does not."""
    import fcntl
    import termios

    with contextlib.suppress(OSError):
        fcntl.ioctl(0, termios.TIOCSTI, key)
