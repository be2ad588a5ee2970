"""The work while it goes on, drawn below the bar."""

from __future__ import annotations

from t2l_cli.cli.terminal import Terminal
from t2l_cli.jobs.preview import Preview
from t2l_cli.media.compositing import Bytes


class Drawing(Preview):
    """Draws pictures on a terminal."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal.warn)
        self._terminal = terminal

    def show(self, picture: Bytes) -> None:
        """Draw ``picture`` below the bar."""
        self._terminal.draw(picture)
