"""Ctrl-C, SIGTERM and SIGHUP, which all mean: end, and keep what there is."""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False  # typing takes longer to import than all of this module, which is the first one
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
ECHO = 1.0  # s; a shell, `timeout` and the system each pass a signal on: one request arrives several times
_NOTICE = b"\nStopping after this step, then saving the result so far. Once more to stop at once.\n"


class Interrupted(KeyboardInterrupt):
    """The signal ``number`` asked for the end."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


def exit_code(error: BaseException | None) -> int:
    """128 + the number of the signal that raised ``error``, a KeyboardInterrupt."""
    return 128 + getattr(error, "number", signal.SIGINT)


class Interruption:
    """While entered, SIGINT, SIGTERM and SIGHUP raise Interrupted; those that are ignored (nohup) stay ignored.

    After ``be_patient()`` the first one only sets ``requested``, which a loop asks between steps, so that no parameter
    update is ever cut in two. Another one, a second later or more, raises.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.requested: Interrupted | None = None
        self._since = 0.0  # when it was requested
        self._patient = False
        self._quiet = quiet
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if before not in (signal.SIG_IGN, None):  # None: somebody else's, in C
                self._before[number] = before
                signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def be_patient(self) -> None:
        """Wait for the step at hand from now on. Interrupted where a signal came already.

        That one was raised, too, but the imports of large libraries swallow exceptions at times.
        """
        if not self._patient:
            self._patient = True
            self.check()

    def be_prompt(self) -> None:
        """Wait for nothing from now on: nothing can be lost."""
        self._patient = False

    def check(self) -> None:
        """Interrupted where a signal came."""
        if self.requested is not None:
            raise self.requested

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        first = self.requested is None
        if self.requested is None:
            self.requested, self._since = Interrupted(number), now
        if not self._patient or (not first and now - self._since >= ECHO):
            raise self.requested
        if first and not self._quiet:
            try:  # noqa: SIM105  # contextlib takes longer to import than this module
                os.write(2, _NOTICE)  # not through sys.stderr, in whose middle this handler may run
            except OSError:  # nobody listens any more
                pass


def end_at_once() -> None:
    """From now on a signal ends the process without a word: the work is done, the interpreter is being closed."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
