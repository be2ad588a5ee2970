"""The standard streams of the process, such that neither a closed nor a full one breaks it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any


def secure() -> None:
    """Open what the caller closed, and make stderr forgiving.

    A closed descriptor would be given to the next file that is opened, an output say, and whatever writes to "stdout"
    or "stderr" below Python would write into it. In its place stdin is empty, stdout takes nothing and says so as a
    full disk would, and stderr swallows everything.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of help and tables; names of results are written as bytes
    buffer: Any = sys.stderr.buffer if sys.stderr else io.FileIO(2, "w", closefd=False)
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    forgiving = io.BufferedWriter(_Forgiving(getattr(buffer, "raw", buffer)))  # no raw below it: python -u
    sys.stderr = io.TextIOWrapper(forgiving, encoding, errors="backslashreplace", line_buffering=True)


class _Forgiving(io.RawIOBase):
    """Writes to ``raw``, and where that fails (the reader went away, the disk is full) it writes nothing."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def write(self, data: Any) -> int:
        """Write ``data``, or some of it; the bytes that need not come again."""
        written = None
        with contextlib.suppress(OSError):
            written = self._raw.write(data)
        return memoryview(data).nbytes if written is None else written

    def writable(self) -> bool:
        """Nothing else."""
        return True

    def fileno(self) -> int:
        """The descriptor of ``raw``."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return self._raw.isatty()
