"""XMP packets in the segments of a JPEG, which have at most 64 kB.

A longer packet is cut in two: a main packet, which names the rest by a GUID, and that rest in segments of its own (XMP
specification, part 3, 1.1.3.1). Pillow reads and writes the main packet alone.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from xml.dom import minidom

from t2l_cli.media.rdf import (
    MAX_PACKET,
    NOTE,
    Node,
    Property,
    about,
    append,
    copied,
    descriptions,
    drop,
    name_of,
    names,
    parsed,
    properties,
    remove,
    tree_of,
    value_of,
    written,
)
from t2l_cli.media.xmp import is_mark

_MAX_MAIN, _MAX_PART = 65_502, 65_400  # bytes of a main packet, and of the rest in one segment
_GUID = (NOTE, "HasExtendedXMP")
_ROOM = 400  # bytes that naming the rest takes in the main packet
_BEGIN_MAIN = b"http://ns.adobe.com/xap/1.0/\0"
_BEGIN = b"http://ns.adobe.com/xmp/extension/\0"
_HEAD = struct.Struct(f">{len(_BEGIN)}s32sLL")  # that, GUID, bytes of the whole rest, place of this part in it


def whole_packet(packet: bytes | str | None, segments: Iterable[bytes]) -> bytes | str | None:
    """The main ``packet`` of a JPEG with its rest from the APP1 ``segments``, if it has one.

    Raises whatever their bytes provoke where the rest is damaged or not complete.
    """
    guid = value_of(packet, _GUID)
    if guid is None or packet is None:
        return packet
    heads = {data: _HEAD.unpack_from(data) for data in segments if data.startswith(_BEGIN)}
    parts = {place: data for data, (_, own, _, place) in heads.items() if own == guid.encode()}
    rest = bytearray()
    for place, data in sorted(parts.items()):
        if place != len(rest):
            raise ValueError("a part is missing")
        rest += data[_HEAD.size :]
        if len(rest) > MAX_PACKET:
            raise ValueError("too long")
    if {size for _, own, size, _ in heads.values() if own == guid.encode()} != {len(rest)}:
        raise ValueError("not complete")
    document = parsed(packet.encode() if isinstance(packet, str) else packet)
    tree = tree_of(document)
    drop(descriptions(tree), lambda name: name == _GUID)
    there = names(tree)
    for description in descriptions(tree_of(parsed(bytes(rest)))):
        copy = copied(description, document, about(tree), deep=True)
        drop([copy], lambda name: name in there)
        tree.appendChild(copy)
    return written(document)


def in_segments(packet: bytes) -> list[bytes]:
    """The APP1 segments of a JPEG with ``packet``: a main packet, and where that is too long for one, the rest.

    The longest properties are the rest, and those of a mark last. ValueError if the main packet is too long even so.
    """
    if len(packet) <= _MAX_MAIN:
        return [_BEGIN_MAIN + packet]
    document, other = parsed(packet), parsed(None)
    tree = tree_of(document)
    found = [(_length(node), node, each) for each in descriptions(tree) for node in properties(each)]
    found.sort(key=lambda item: (is_mark(name_of(item[1])), -item[0]))
    too_much = len(packet) - _MAX_MAIN + _ROOM
    moved: dict[minidom.Element, list[Node]] = {}
    for length, node, description in found:
        if too_much <= 0:
            break
        too_much -= length
        moved.setdefault(description, []).append(node)
    for description, nodes in moved.items():
        place = copied(description, other, about(tree), deep=False)
        for node in nodes:
            if isinstance(node, minidom.Attr):
                place.setAttributeNS(node.namespaceURI, node.name, node.value)
            else:
                place.appendChild(other.importNode(node, True))
        tree_of(other).appendChild(place)
        remove(description, nodes)
    rest = written(other, wrapped=False)
    guid = hashlib.md5(rest, usedforsecurity=False).hexdigest().upper()
    append(document, [Property(*_GUID, "", (guid,))])
    main = written(document)
    if len(main) > _MAX_MAIN:
        raise ValueError("the XMP data is too long")
    starts = range(0, len(rest), _MAX_PART)
    return [
        _BEGIN_MAIN + main,
        *(_HEAD.pack(_BEGIN, guid.encode(), len(rest), i) + rest[i : i + _MAX_PART] for i in starts),
    ]


def _length(node: Node) -> int:
    """How many bytes a property takes in a packet, at least."""
    return len((node.value if isinstance(node, minidom.Attr) else node.toxml()).encode())
