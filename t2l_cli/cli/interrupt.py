"""Ctrl-C: at once while nothing can be lost; in the loop the first press waits for the step, the second does not."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nStopping after this step, then saving the result so far. Once more to stop at once.\n"


class Interruption:
    """While entered, SIGINT and SIGTERM set ``requested`` and raise KeyboardInterrupt.

    After ``be_patient()`` the first one only sets ``requested``, which a loop asks between steps, so that no parameter
    update is ever cut in two; the second one raises.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.requested = False
        self._patient = False
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

    def be_patient(self) -> None:
        """Wait for the step at hand from now on. KeyboardInterrupt where a signal came already.

        That one was raised, too, but the imports of large libraries swallow exceptions at times.
        """
        self._patient = True
        if self.requested:
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or not self._patient:
            raise KeyboardInterrupt
        if not self._quiet:
            os.write(2, _NOTICE)  # not through sys.stderr, in whose middle this handler may run
