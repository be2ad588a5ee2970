"""Pictures in a terminal: each character is an upper half block, whose two colours are two pixels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import ControlType, Segment, Segments
from rich.style import Style

from t2l_cli.cli.pictures import Picture, fits, fitted

if TYPE_CHECKING:
    from t2l_cli.media.compositing import Bytes

BLOCK = "\u2580"
_RESET, _BEGIN = "\x1b[0m", "\x1b["


def can_draw(console: Console) -> bool:
    """Whether the terminal has colours and the half block."""
    try:
        BLOCK.encode(console.encoding)
    except (UnicodeError, LookupError):
        return False
    return console.color_system is not None and not console.no_color and not console.legacy_windows


class HalfBlocks(Picture):
    """A picture of at most some 60 kB of colours, which also a slow connection takes once a second."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._width = 0

    def draw(self, picture: Bytes, console: Console) -> None:
        """Draw ``picture`` (H, W, 3), uint8, as large as the terminal of ``console`` has room for it."""
        from PIL import Image

        height, width = picture.shape[:2]
        rows, self._width = fitted(height, width, console)
        small: Any = Image.fromarray(picture).resize((self._width, 2 * rows), Image.Resampling.BOX)
        pixels = list(zip(*[iter(small.tobytes())] * 3, strict=True))
        segments: list[Segment] = []
        for y in range(rows):
            above, below = (pixels[k * self._width : (k + 1) * self._width] for k in (2 * y, 2 * y + 1))
            segments += [
                Segment(BLOCK, Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
                for upper, lower in zip(above, below, strict=True)
            ]
            segments.append(Segment.line())
        file = io.StringIO()
        how: dict[str, Any] = {"color_system": console.color_system, "force_terminal": True, "legacy_windows": False}
        paper = Console(file=file, width=self._width + 1, **how)
        paper.print(Segments(segments), end="")
        # Both colours are set anew for each block: nothing has to be put back before the end of the line.
        self._lines = file.getvalue().replace(f"{_RESET}{_BEGIN}", _BEGIN).splitlines()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not fits(len(self._lines), self._width, options):
            return
        for line in self._lines:
            yield Segment(line, None, [(ControlType.CARRIAGE_RETURN,)])  # as it is: rich need not look at it again
            yield Segment.line()
