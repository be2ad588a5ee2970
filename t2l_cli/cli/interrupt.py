"""Ctrl-C in two presses: the first ends the loop after the step at hand, the second ends the program."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nStopping after this step, then saving the result so far. Once more to stop at once.\n"


class Interruption:
    """While entered, SIGINT and SIGTERM only set ``requested``; a second one raises KeyboardInterrupt.

    A loop asks ``requested`` between steps, so that no parameter update is ever cut in two.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.requested = False
        self._quiet = quiet
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if not self._quiet:
            os.write(2, _NOTICE)  # not through sys.stderr, in whose middle this handler may run
