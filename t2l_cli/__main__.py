"""The process: `t2l`, which is `python -m t2l_cli`.

A Ctrl-C is never answered by a traceback: first of all Python is told so, then the signals are taken in hand, then all
the rest is imported. What comes before the first line of this package, while the interpreter starts, is Python's own.
"""

import sys


def _silence() -> None:
    """Show nothing of a KeyboardInterrupt that leaves the program, or that Python cannot pass on."""
    show, show_unraisable = sys.excepthook, sys.unraisablehook
    sys.excepthook = lambda kind, *rest: None if issubclass(kind, KeyboardInterrupt) else show(kind, *rest)
    sys.unraisablehook = lambda it: None if issubclass(it.exc_type, KeyboardInterrupt) else show_unraisable(it)


_silence()

import os  # noqa: E402

from t2l_cli.cli.interrupt import Interruption, end_at_once, exit_code  # noqa: E402

_COMPILED = "TORCHINDUCTOR_CACHE_DIR"


def main() -> None:
    """Run the command line and exit with its code."""
    given = _COMPILED in os.environ
    with Interruption() as interruption:
        try:
            from t2l_cli.cli import app, streams

            streams.secure()
            code = app.main()
            if code in (0, exit_code(None)):  # of a signal's exception that was swallowed, or known as Ctrl-C only
                interruption.check()
        except KeyboardInterrupt as error:
            code = exit_code(error)
    end_at_once()
    made = os.environ.get(_COMPILED)
    if made and not given:
        _remove_if_empty(made)
    sys.exit(code)


def _remove_if_empty(folder: str) -> None:
    """Remove the folder that torch makes, and names in the environment, for compiled code; it seldom holds any."""
    import contextlib

    with contextlib.suppress(OSError):
        os.rmdir(folder)


if __name__ == "__main__":
    main()
