"""What stands beside the pixels of a file and would keep Pillow from reading them.

While it opens a file, Pillow unpacks the texts of a PNG and takes Photoshop's block in a JPEG apart, and what it cannot
read there costs the picture. Here such parts are found first, and cut out of the file that Pillow sees.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from t2l_cli.media.iptc import PHOTOSHOP_BLOCK

_MAX_TEXTS = 32_000_000  # bytes of all unpacked texts of a PNG; anything larger holds data, not words
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_APP13, _START_OF_SCAN = 0xED, 0xDA
# Keywords under which Pillow keeps what it knows of the picture itself; a text there would stand in for that.
_PILLOWS = {b"bbox", b"icc_profile", b"interlace", b"transparency", b"xmp"}

Span = tuple[int, int]  # of bytes: from, to


def without_broken(file: BinaryIO) -> tuple[BinaryIO, tuple[str, ...]]:
    """``file``, or a copy without what Pillow cannot read beside its pixels; and notes of that.

    Only texts of a PNG and Photoshop's block in a JPEG are looked at. All else stays for Pillow to judge.
    """
    start = file.read(len(_PNG))
    if start == _PNG:
        spans, note = list(_texts_in(file)), "a text in it cannot be read and was left out"
    elif start.startswith(_JPEG):
        spans, note = list(_blocks_in(file)), "its IPTC data is damaged and was left out"
    else:
        spans, note = [], ""
    file.seek(0)
    if not spans:
        return file, ()
    copy = io.BytesIO()
    for begin, end in spans:
        copy.write(file.read(begin - file.tell()))
        file.seek(end)
    copy.write(file.read())
    copy.seek(0)
    return copy, (note,)


def _texts_in(file: BinaryIO) -> Iterator[Span]:
    """The text chunks of a PNG that cannot be read, or are too long together with those before them."""
    left, place = _MAX_TEXTS, len(_PNG)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">L4s", head)
        after = place + length + 12
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            size = _size(kind, file.read(length), left) if length <= left else None
            if size is None:
                yield place, after
            else:
                left -= size
        place = after
        file.seek(place)


def _size(kind: bytes, data: bytes, most: int) -> int | None:
    """How many bytes a text chunk has unpacked; None if it cannot be read, or has more than ``most``."""
    keyword, _, rest = data.partition(b"\0")
    if keyword in _PILLOWS:
        return None
    if kind == b"tEXt":
        return len(data)
    packed = kind == b"zTXt" or rest[:1] != b"\0"
    if kind == b"iTXt":  # two flags, then language and translated keyword before the text
        rest, *parts = rest[1:2], *rest[2:].split(b"\0", 2)
        if len(parts) < 3:
            return None
        rest += parts[2]
    if packed and rest[:1] != b"\0":  # no method of compression that there is
        return None
    try:
        unpacked = zlib.decompressobj().decompress(rest[1:], most + 1) if packed else rest[1:]
        if kind == b"iTXt":
            unpacked.decode("utf-8")
    except (zlib.error, UnicodeDecodeError):
        return None
    size = len(data) + len(unpacked)  # the latter has no more than a byte too many
    return size if size <= most else None


def _blocks_in(file: BinaryIO) -> Iterator[Span]:
    """The Photoshop blocks of a JPEG that end within the head of a resource."""
    place = 2
    file.seek(place)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1] != _START_OF_SCAN:
        size = int.from_bytes(head[2:])  # with its own two bytes
        if head[1] == _APP13 and _ends_in_a_head(file.read(max(0, size - 2))):
            yield place, place + 2 + size
        place += 1 if head[1] == 0xFF else 2 + size  # a byte to fill up, or a segment
        file.seek(place)


def _ends_in_a_head(block: bytes) -> bool:
    """Whether a block of resources (number, name, length, data) ends right after a number."""
    place = len(PHOTOSHOP_BLOCK)
    while block.startswith(PHOTOSHOP_BLOCK) and block[place : place + 4] == b"8BIM":
        place += 6  # with the resource's number
        if place >= len(block):
            return True
        place += 1 + block[place]  # its name
        place += place % 2
        place += 4 + int.from_bytes(block[place : place + 4])
        place += place % 2
    return False
