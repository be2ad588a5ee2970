"""What a video file holds beside its pictures and sound: the source's tags, and what the result says of its making.

An MP4 or MOV carries an XMP packet, in a box of its own at the end of the file (XMP specification, part 3); a MKV has
tags of any name.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from t2l_cli.media.rdf import MAX_PACKET
from t2l_cli.media.xmp import TRAINED, Mark, marked, portable_xmp

RECORD, SOURCE_TYPE = "T2L_RECORD", "DIGITAL_SOURCE_TYPE"
"""Tags of a MKV."""

_XMP = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_STRUCTURE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "location-eng"}
_PLAIN = {"title", "artist", "album", "date", "comment", "genre", "copyright", "location", "creation_time"}
_HEADER = struct.Struct(">I4s")


def portable_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """A source's ``tags`` for another file, without what describes the old file's structure and without a mark."""
    own = {RECORD.lower(), SOURCE_TYPE.lower()}
    return {name: text for name, text in tags.items() if name.lower() not in _STRUCTURE | own}


def need_keys(tags: Mapping[str, str]) -> bool:
    """Whether an MP4 or MOV holds ``tags`` only in QuickTime's list of keys, not in its few plain atoms."""
    return any(name.lower() not in _PLAIN for name in tags)


def mark_tags(mark: Mark) -> dict[str, str]:
    """The tags of a MKV with the ``mark``."""
    return {RECORD: mark.record} | ({SOURCE_TYPE: TRAINED} if mark.trained else {})


def append_packet(path: Path, packet: bytes) -> None:
    """Add an XMP ``packet`` to the end of an MP4 or MOV file that is complete; b"": none.

    Where that fails, the file is left as it was, and OSError is raised.
    """
    if not packet:
        return
    whole = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(_HEADER.pack(_HEADER.size + len(_XMP) + len(packet), b"uuid") + _XMP + packet)
    except OSError:
        os.truncate(path, whole)
        raise


def packet_of(source: Path | None, mark: Mark | None) -> bytes | None:
    """The packet for a result: that of the file ``source``, if it has one, with the ``mark``; None for nothing."""
    packet, _ = portable_xmp(None if source is None else packet_in(source))
    return packet if mark is None else marked(packet, mark)


def packet_in(path: Path) -> bytes | None:
    """The XMP packet in a box of an MP4 or MOV file; None if there is none, or the file is of another kind."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        for start, size, kind in _boxes(file):
            if kind == b"uuid" and size <= MAX_PACKET:
                file.seek(start)
                body = file.read(size)
                if body.startswith(_XMP):
                    return body.removeprefix(_XMP)
    return None


def _boxes(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """The boxes at the top of an MP4 or MOV: where a body starts, its size, its kind (ISO 14496-12, 4.2)."""
    end, place = file.seek(0, 2), 0
    while place + _HEADER.size <= end:
        file.seek(place)
        size, kind = _HEADER.unpack(file.read(_HEADER.size))
        start = place + _HEADER.size
        if size == 1:
            size, start = int.from_bytes(file.read(8), "big"), start + 8
        elif size == 0:
            size = end - place
        if size < start - place or not kind.isascii():
            return
        yield start, min(place + size, end) - start, kind
        place += size
