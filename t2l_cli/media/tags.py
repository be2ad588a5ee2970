"""What a picture's file holds beside its pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tags:
    """What a file holds beside its pixels."""

    icc: bytes | None = None  # colour profile
    exif: bytes | None = None
    xmp: bytes | None = None  # packet
    record: str | None = None  # of the program, as a text of its own, for formats that have texts
