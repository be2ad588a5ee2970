"""Pictures of pixels, for terminals that have them: the protocols of kitty and iTerm2, and sixels.

https://sw.kovidgoyal.net/kitty/graphics-protocol, https://iterm2.com/documentation-images.html,
https://vt100.net/docs/vt3xx-gp/chapter14.html

Not by textual-image: it draws on stdout, which is for results here, has no iTerm2, and asks the terminal while it is
imported, where it takes typed keys and fails if stdin is a pipe.
"""

from __future__ import annotations

import io
import itertools
import math
import os
from abc import abstractmethod
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import ControlType, Segment

from t2l_cli.cli.asking import Answer, ask, cell_size
from t2l_cli.cli.half_blocks import HalfBlocks
from t2l_cli.cli.pictures import WAYS, Picture, fits, fitted
from t2l_cli.cli.sixel import BAND, sixels

if TYPE_CHECKING:
    from PIL import Image

    from t2l_cli.media.compositing import Bytes

MOST_PIXELS = 480  # px, the longer side of what is sent
CELL = (20, 10)  # px, (height, width) of a character where nobody says: a VT340's
INLINE = ("iTerm2", "WezTerm")  # names of terminals that draw iTerm2's pictures best
_ERASE_BELOW = "\x1b[J"  # also what the terminal moved there when its window was made larger
_CHUNK = 4096  # characters per escape sequence, which kitty wants to be short
_IDS = itertools.count(os.getpid() % (1 << 22) << 8 | 1)  # of pictures in a terminal, where others draw, too


@dataclass(frozen=True)
class Drawn:
    """The escape sequences of a picture that covers ``rows`` x ``columns`` characters."""

    rows: int
    columns: int
    escapes: str


class Graphics(Picture):
    """A picture that the terminal draws over blank lines, from the beginning of the first one on.

    Below it a line stays free: some terminals go to the next line after a picture, which at the end of the screen would
    move all others.
    """

    def __init__(self, cell: tuple[int, int] = CELL) -> None:
        """cell: (height, width) of a character, px, where the system does not know."""
        self._cell = cell
        self._drawn: Drawn | None = None

    def draw(self, picture: Bytes, console: Console) -> None:
        """Draw ``picture`` (H, W, 3), uint8, as large as the terminal of ``console`` has room for it."""
        from PIL import Image

        cell = cell_size() or self._cell
        height, width = picture.shape[:2]
        rows, columns = fitted(height, width, console, cell[0] / cell[1])
        self._drawn = self.encoded(Image.fromarray(picture), rows, columns, cell)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawn = self._drawn
        if drawn is None:
            return
        as_it_is = [(ControlType.CARRIAGE_RETURN,)]  # what rich does not measure, cut or style
        if not fits(drawn.rows, drawn.columns, options):
            yield Segment(_ERASE_BELOW + self.gone(), None, as_it_is)
            return
        yield from [Segment.line()] * drawn.rows
        above = f"\r\x1b[{drawn.rows}A"
        yield Segment(f"\x1b7{above}{_ERASE_BELOW}{self.shown(drawn)}\x1b8", None, as_it_is)

    @abstractmethod
    def encoded(self, image: Image.Image, rows: int, columns: int, cell: tuple[int, int]) -> Drawn:
        """The RGB ``image`` for ``rows`` x ``columns`` characters of ``cell`` (height, width) px."""

    def shown(self, drawn: Drawn) -> str:
        """What draws it at the cursor. The characters there were erased just before, and what was drawn on them."""
        return drawn.escapes

    def gone(self) -> str:
        """What removes a picture that erased lines do not take along."""
        return ""


class Kitty(Graphics):
    """A PNG that is sent once, and placed anew whenever the lines are printed: erasing them leaves it where it was."""

    def __init__(self, cell: tuple[int, int] = CELL) -> None:
        super().__init__(cell)
        self._id = next(_IDS)
        self._deletion = _kitty(f"a=d,d=I,i={self._id}")
        self._sent: Drawn | None = None

    def encoded(self, image: Image.Image, rows: int, columns: int, cell: tuple[int, int]) -> Drawn:
        """The sequences that send it in place of the one before."""
        data = _file(image, "PNG", compress_level=1)
        first = f"a=t,f=100,i={self._id},"
        parts = [
            _kitty(f"{'' if start else first}m={int(start + _CHUNK < len(data))}", data[start : start + _CHUNK])
            for start in range(0, len(data), _CHUNK)
        ]
        return Drawn(rows, columns, self._deletion + "".join(parts))

    def shown(self, drawn: Drawn) -> str:
        """Send it if it is new, remove where it was placed, and place it at the cursor."""
        new = "" if drawn is self._sent else drawn.escapes
        self._sent = drawn
        place = _kitty(f"a=p,i={self._id},p=1,r={drawn.rows},c={drawn.columns},C=1")
        return new + _kitty(f"a=d,d=i,i={self._id}") + place

    def gone(self) -> str:
        """Delete it and its place."""
        self._sent = None
        return self._deletion


class ITerm2(Graphics):
    """A JPEG, sent whenever the lines are printed."""

    def encoded(self, image: Image.Image, rows: int, columns: int, cell: tuple[int, int]) -> Drawn:
        """The sequence that draws it."""
        data = _file(image, "JPEG", quality=85)
        size = f"width={columns};height={rows};preserveAspectRatio=0"
        return Drawn(rows, columns, f"\x1b]1337;File=inline=1;{size};doNotMoveCursor=1:{data}\x07")


class Sixel(Graphics):
    """Sixels, which are pixels of the screen, sent whenever the lines are printed."""

    def encoded(self, image: Image.Image, rows: int, columns: int, cell: tuple[int, int]) -> Drawn:
        """The sequence that draws it, over as many characters as it needs."""
        scale = min(columns * cell[1] / image.width, rows * cell[0] / image.height, MOST_PIXELS / max(image.size))
        width, height = max(1, int(image.width * scale)), max(BAND, int(image.height * scale) // BAND * BAND)
        drawn = sixels(image.resize((width, height)))
        return Drawn(math.ceil(height / cell[0]), math.ceil(width / cell[1]), drawn)


def drawn_by(way: str = "") -> Callable[[], Picture]:
    """What makes pictures, each still empty, that are drawn in ``way``, one of WAYS; by default the terminal's best."""
    answer = Answer() if way else ask()
    makers: tuple[Callable[[tuple[int, int]], Picture], ...] = (Kitty, ITerm2, Sixel, lambda cell: HalfBlocks())
    maker = dict(zip(WAYS, makers, strict=True))[way or best(answer)]
    return lambda: maker(answer.cell or CELL)


def best(answer: Answer) -> str:
    """The best of WAYS that the terminal has by its ``answer``."""
    if answer.name.startswith(INLINE):
        return "iterm2"
    if answer.kitty:
        return "kitty"
    return "sixel" if answer.sixel and (answer.cell or cell_size()) else "blocks"  # sixels need to know their places


def _kitty(keys: str, data: str = "") -> str:
    """A sequence of kitty's protocol; q=2: it is not answered, which would come as typed keys."""
    return f"\x1b_G{keys},q=2;{data}\x1b\\"


def _file(image: Image.Image, format: str, **how: int) -> str:
    """``image`` as a file in base64. The terminal makes it larger itself."""
    scale = min(1.0, MOST_PIXELS / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    file = io.BytesIO()
    (image if size == image.size else image.resize(size)).save(file, format, **how)
    return b64encode(file.getvalue()).decode("ascii")
