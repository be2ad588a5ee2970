"""XMP packets: what a source's says about the photo, and what a result's says of its own making.

An XMP packet is RDF in XML that picture formats carry (:mod:`t2l_cli.media.rdf`). Ours holds the program's record, a
text that is opaque here, and IPTC's word for the kind of picture (Digital Source Type). Whatever else a packet holds
stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.dom import minidom

from t2l_cli.media.rdf import (
    IPTC,
    NOTE,
    OWN,
    PHOTOSHOP,
    Property,
    append,
    descriptions,
    drop,
    has_room,
    names,
    parsed,
    properties,
    tree_of,
    value_of,
    written,
)

_RECORD, _SOURCE_TYPE = (OWN, "Record"), (IPTC, "DigitalSourceType")
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a picture with parts that a trained model made."""

# What describes the old file's structure: its orientation and size, its thumbnails, checksums of what else it holds,
# and the pictures that lay beside it (gain maps, depth maps, moving photos). A namespace alone stands for all of its
# properties.
_TIFF, _EXIF, _BASIC = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/xap/1.0/"
_STRUCTURE = {
    *((_TIFF, name) for name in ("Orientation", "ImageWidth", "ImageLength", "BitsPerSample", "Compression")),
    *((_EXIF, name) for name in ("PixelXDimension", "PixelYDimension", "ColorSpace")),
    *((uri, "NativeDigest") for uri in (_TIFF, _EXIF)),
    (PHOTOSHOP, "LegacyIPTCDigest"),
    (_BASIC, "Thumbnails"),
}
_STRUCTURES = {
    NOTE,  # where the rest of a long packet is
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    *(
        f"http://ns.google.com/photos/1.0/{name}/"
        for name in ("container", "container/item", "camera", "image", "depthmap", "audio")
    ),
}


@dataclass(frozen=True)
class Mark:
    """What a file says of its own making."""

    record: str  # of the program that made it
    trained: bool = True  # whether a trained model made a part of it


def portable_xmp(packet: bytes | str | None) -> tuple[bytes | None, tuple[str, ...]]:
    """A source's ``packet`` for another file, without the old file's structure and without a mark; and notes.

    None if there is nothing to keep.
    """
    data = packet.encode() if isinstance(packet, str) else packet
    if not data:
        return None, ()
    try:
        document = parsed(data)
        tree = tree_of(document)
        drop(descriptions(tree), lambda name: name in _STRUCTURE or name[0] in _STRUCTURES or name == _RECORD)
        for description in descriptions(tree):
            if not any(properties(description)):
                tree.removeChild(description)
        if not any(isinstance(child, minidom.Element) for child in tree.childNodes):
            return None, ()
        kept = written(document)
        return (kept, ()) if has_room(kept) else (None, ("its XMP data is too long and was left out",))
    except Exception:  # XML that is none raises whatever its bytes provoke (ExpatError, RecursionError, ...)
        return None, ("its XMP data is damaged and was left out",)


def marked(packet: bytes | None, mark: Mark) -> bytes:
    """``packet``, of :func:`portable_xmp`, with the ``mark`` in place of an earlier one."""
    document = parsed(packet)
    drop(descriptions(tree_of(document)), lambda name: name == _RECORD or (name == _SOURCE_TYPE and mark.trained))
    own = [Property(*_RECORD, "", (mark.record,))] if mark.record else []
    append(document, [*own, *([Property(*_SOURCE_TYPE, "", (TRAINED,))] if mark.trained else [])])
    return written(document)


def with_properties(packet: bytes | None, new: Sequence[Property]) -> bytes | None:
    """``packet``, of :func:`portable_xmp`, with what of ``new`` it does not say already; the first of a name counts.

    What would make it too long to be read is left out.
    """
    if not new:
        return packet
    document = parsed(packet)
    there = names(tree_of(document))
    first = {(each.uri, each.name): each for each in reversed(new)}
    missing = [each for name, each in reversed(first.items()) if name not in there]
    if not missing:
        return packet
    append(document, missing)
    more = written(document)
    return more if has_room(more) else packet


def is_mark(node_name: tuple[str, str]) -> bool:
    """Whether a property of that name is of a mark."""
    return node_name in (_RECORD, _SOURCE_TYPE)


def record_in(packet: bytes | str | None) -> str | None:
    """The record of a mark in ``packet``; None if it has none, or is no packet."""
    return value_of(packet, _RECORD)


def source_type_in(packet: bytes | str | None) -> str | None:
    """IPTC's word for the kind of picture in ``packet``, without its address; None if it has none."""
    value = value_of(packet, _SOURCE_TYPE)
    return None if value is None else value.removeprefix(_SOURCE_TYPES)


def is_trained(packet: bytes | str | None) -> bool:
    """Whether ``packet`` says that a trained model made the picture, or a part of it."""
    return "trainedalgorithmic" in (source_type_in(packet) or "").lower()
