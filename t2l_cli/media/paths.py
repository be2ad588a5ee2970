"""How paths and system errors are shown in the program's one-line messages, and what tells two files apart."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

STDIO = "-"  # the name that stands for stdin as an input and for stdout as an output


def shown(path: str | Path) -> str:
    """``path`` for a message: one line, printable on every terminal."""
    text = str(path)
    if text == STDIO:
        return "the standard stream"
    # A file name may hold line breaks, control characters and undecodable bytes (lone surrogates).
    return text if text.isprintable() else ascii(text)


def reason(error: OSError | ValueError) -> str:
    """The system's message for ``error`` without numbers and paths, such as "No space left on device".

    A ValueError is what Python raises for a name that it cannot pass to the system.
    """
    if isinstance(error, OSError):
        return error.strerror or os.strerror(error.errno or 0) if error.errno else "input/output error"
    if isinstance(error, UnicodeEncodeError):
        return f"this system's encoding, {error.encoding}, has no such name"
    return "the name holds a zero byte"


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal; OSError if it cannot be read."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
