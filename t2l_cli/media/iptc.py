"""IPTC-IIM: what press agencies, and programs for photographers, note in a JPEG, TIFF or PSD.

It is a row of datasets, each with the number of its record, its own number and a value (IPTC-NAA Information
Interchange Model 4.2). Pillow's reader is not used: it loses everything to one odd dataset, and does not notice a value
that is cut short.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image, TiffTags
from PIL.TiffImagePlugin import IPTC_NAA_CHUNK

from t2l_cli.media.rdf import DC, IPTC_CORE, MAX_PACKET, PHOTOSHOP, Property

RESOURCE = 1028
"""The number of IPTC-IIM among the image resources of Photoshop."""

PHOTOSHOP_BLOCK = b"Photoshop 3.0\0"
"""What the segment of a JPEG with those resources begins with."""

_MARKER, _LONG = 0x1C, 0x8000  # what a dataset begins with; the bit of a length whose own length follows
_ENVELOPE, _APPLICATION = 1, 2  # the records that say something of the photo; the others describe the old file's data
# The old file's format, its colours, its layout and its thumbnail.
_STRUCTURE = {(1, 20), (1, 22), (2, 130), (2, 131), (2, 200), (2, 201), (2, 202)}

# Datasets of record 2 -> the same in XMP (IPTC Photo Metadata Standard, IPTC Core).
_PROPERTIES: dict[int, tuple[str, str, str]] = {
    5: (DC, "title", "Alt"),
    25: (DC, "subject", "Bag"),
    40: (PHOTOSHOP, "Instructions", ""),
    80: (DC, "creator", "Seq"),
    85: (PHOTOSHOP, "AuthorsPosition", ""),
    90: (PHOTOSHOP, "City", ""),
    92: (IPTC_CORE, "Location", ""),
    95: (PHOTOSHOP, "State", ""),
    100: (IPTC_CORE, "CountryCode", ""),
    101: (PHOTOSHOP, "Country", ""),
    103: (PHOTOSHOP, "TransmissionReference", ""),
    105: (PHOTOSHOP, "Headline", ""),
    110: (PHOTOSHOP, "Credit", ""),
    115: (PHOTOSHOP, "Source", ""),
    116: (DC, "rights", "Alt"),
    120: (DC, "description", "Alt"),
    122: (PHOTOSHOP, "CaptionWriter", ""),
}

Dataset = tuple[tuple[int, int], bytes]  # (record, number), value


def iptc_of(image: Image.Image) -> bytes | None:
    """The IPTC-IIM of an opened JPEG, TIFF or PSD, as it is; None if it has none."""
    data: Any = None
    with contextlib.suppress(Exception):  # a directory of tags that is none
        if image.format == "PSD":
            data = next((data for number, _, data in getattr(image, "resources", ()) if number == RESOURCE), None)
        elif (directory := getattr(image, "tag_v2", None)) is not None:
            if IPTC_NAA_CHUNK in directory:
                directory.tagtype[IPTC_NAA_CHUNK] = TiffTags.UNDEFINED  # bytes, where Photoshop says numbers
                data = directory[IPTC_NAA_CHUNK]
        else:
            data = image.info.get("photoshop", {}).get(RESOURCE)
    return data if isinstance(data, bytes) and data else None


def portable_iptc(data: bytes | None) -> tuple[bytes | None, tuple[str, ...]]:
    """A source's IPTC-IIM ``data`` for another file, without what describes the old file; and notes.

    None if there is nothing to keep. What comes before a damaged dataset is kept.
    """
    if not data:
        return None, ()
    kept: list[Dataset] = []
    whole = True
    try:
        for key, value in _datasets(data):
            if key[0] in (_ENVELOPE, _APPLICATION) and key not in _STRUCTURE:
                kept.append((key, value))
    except ValueError:
        whole = False
    if not any(key[0] == _APPLICATION for key, _ in kept):  # an envelope alone says nothing
        return None, () if whole else ("its IPTC data is damaged and was left out",)
    notes = () if whole else ("a part of its IPTC data is damaged and was left out",)
    return b"".join(_written(*dataset) for dataset in kept), notes


def iptc_properties(iptc: bytes) -> list[Property]:
    """What of ``iptc``, of :func:`portable_iptc`, XMP has a property for."""
    values: dict[int, list[str]] = {}
    for (record, number), value in _datasets(iptc):
        if record == _APPLICATION and number in _PROPERTIES and value:
            values.setdefault(number, []).append(_text(value))
    return [Property(*_PROPERTIES[number], tuple(texts)) for number, texts in values.items()]


def photoshop_block(iptc: bytes) -> bytes:
    """A segment's data with ``iptc`` as the only one of Photoshop's resources: the others describe the old file."""
    return PHOTOSHOP_BLOCK + b"8BIM" + struct.pack(">HxxL", RESOURCE, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _datasets(data: bytes) -> Iterator[Dataset]:
    """The datasets in ``data``; ValueError where the next one is none."""
    if len(data) > MAX_PACKET:
        raise ValueError("not IPTC data")
    place, end = 0, len(data.rstrip(b"\0"))  # a TIFF fills the last number up with zeros
    while place < end:
        if len(data) < place + 5 or data[place] != _MARKER:
            raise ValueError("not a dataset")
        key = data[place + 1], data[place + 2]
        (length,) = struct.unpack_from(">H", data, place + 3)
        place += 5
        if length & _LONG:
            size = length - _LONG
            length = int.from_bytes(data[place : place + size])
            place += size
        if place + length > len(data):
            raise ValueError("cut short")
        yield key, data[place : place + length]
        place += length


def _written(key: tuple[int, int], value: bytes) -> bytes:
    length = struct.pack(">H", len(value)) if len(value) < _LONG else struct.pack(">HL", _LONG + 4, len(value))
    return bytes((_MARKER, *key)) + length + value


def _text(value: bytes) -> str:
    """A value as text. Many programs write UTF-8 without saying so; whatever is none is taken for Latin-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
