"""Pictures below the bar: how large they are, whatever way they are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from t2l_cli.media.compositing import Bytes

WAYS = ("kitty", "iterm2", "sixel", "blocks")  # to draw one, for --preview
OTHER_LINES = 8  # of the terminal: for the bar, the losses and what was said before
MOST_COLUMNS, MOST_LINES = 72, 24


class Picture(ABC):
    """A picture as a renderable of rich, drawn once; a live display prints it again many times."""

    @abstractmethod
    def draw(self, picture: Bytes, console: Console) -> None:
        """Draw ``picture`` (H, W, 3), uint8, as large as the terminal of ``console`` has room for it."""

    @abstractmethod
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What was drawn last."""


def fitted(height: int, width: int, console: Console, cell: float = 2.0) -> tuple[int, int]:
    """The (rows, columns) of characters that a picture of ``height`` x ``width`` px covers in the terminal.

    cell: the height of a character divided by its width.
    """
    columns = min(console.width - 1, MOST_COLUMNS)
    lines = max(1, min(console.height - OTHER_LINES, MOST_LINES))
    scale = min(columns / width, cell * lines / height)
    return max(1, round(height * scale / cell)), max(1, round(width * scale))


def fits(rows: int, columns: int, options: ConsoleOptions) -> bool:
    """Whether the terminal still has room for ``rows`` x ``columns`` characters: it may have become smaller."""
    return columns < options.max_width and rows <= max(options.size.height - OTHER_LINES, 1)
