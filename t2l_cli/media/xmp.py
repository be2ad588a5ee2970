"""XMP packets: what a source's says about the photo, and what a result's says of its own making.

An XMP packet is RDF in XML that picture formats carry (ISO 16684-1). Ours holds the program's record, a text that is
opaque here, and IPTC's word for the kind of picture (Digital Source Type). Whatever else a packet holds stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.dom import XMLNS_NAMESPACE, minidom

MAX_PACKET = 16_000_000  # bytes; anything larger holds pictures, not words about one

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_OWN = "urn:x-t2l:1.0/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"></rdf:RDF></x:xmpmeta>'
_HEAD, _TAIL = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', '<?xpacket end="w"?>'
_RECORD, _SOURCE_TYPE = (_OWN, "Record"), (_IPTC, "DigitalSourceType")
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a picture with parts that a trained model made."""

# What describes the old file's structure: its orientation and size, its thumbnails, and the pictures that lay beside
# it (gain maps, depth maps, moving photos). A namespace alone stands for all of its properties.
_TIFF, _EXIF, _BASIC = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/xap/1.0/"
_STRUCTURE = {
    *((_TIFF, name) for name in ("Orientation", "ImageWidth", "ImageLength", "BitsPerSample", "Compression")),
    *((_EXIF, name) for name in ("PixelXDimension", "PixelYDimension", "ColorSpace")),
    (_BASIC, "Thumbnails"),
}
_STRUCTURES = {
    "http://ns.adobe.com/xmp/note/",  # where the rest of a long packet is
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
        document = _parsed(data)
        tree = _rdf(document)
        _drop(tree, lambda name: name in _STRUCTURE or name[0] in _STRUCTURES or name == _RECORD)
        for child in list(tree.childNodes):
            if isinstance(child, minidom.Element) and _is_empty(child):
                tree.removeChild(child)
        kept = any(isinstance(child, minidom.Element) for child in tree.childNodes)
        return (_written(document) if kept else None), ()
    except Exception:  # XML that is none raises whatever its bytes provoke (ExpatError, RecursionError, ...)
        return None, ("its XMP data is damaged and was left out",)


def marked(packet: bytes | None, mark: Mark) -> bytes:
    """``packet``, of :func:`portable_xmp`, with the ``mark`` in place of an earlier one."""
    document = _parsed(packet or _EMPTY.encode())
    tree = _rdf(document)
    _drop(tree, lambda name: name == _RECORD or (name == _SOURCE_TYPE and mark.trained))
    about = next((e.getAttributeNS(_RDF, "about") for e in _descriptions(tree)), "")  # one packet is about one thing
    own = document.createElementNS(_RDF, "rdf:Description")
    for name, uri in (("rdf", _RDF), ("t2l", _OWN), ("Iptc4xmpExt", _IPTC)):
        own.setAttribute(f"xmlns:{name}", uri)
    own.setAttributeNS(_RDF, "rdf:about", about)
    for prefix, (uri, name), text in (
        ("t2l", _RECORD, mark.record),
        ("Iptc4xmpExt", _SOURCE_TYPE, TRAINED if mark.trained else ""),
    ):
        if text:
            element = document.createElementNS(uri, f"{prefix}:{name}")
            element.appendChild(document.createTextNode(text))
            own.appendChild(element)
    tree.appendChild(own)
    return _written(document)


def record_in(packet: bytes | str | None) -> str | None:
    """The record of a mark in ``packet``; None if it has none, or is no packet."""
    return _value(packet, _RECORD)


def source_type_in(packet: bytes | str | None) -> str | None:
    """IPTC's word for the kind of picture in ``packet``, without its address; None if it has none."""
    value = _value(packet, _SOURCE_TYPE)
    return None if value is None else value.removeprefix(_SOURCE_TYPES)


def is_trained(packet: bytes | str | None) -> bool:
    """Whether ``packet`` says that a trained model made the picture, or a part of it."""
    return "trainedalgorithmic" in (source_type_in(packet) or "").lower()


def _value(packet: bytes | str | None, name: tuple[str, str]) -> str | None:
    """The text of the property ``name``, which may be written as an element or an attribute."""
    try:
        tree = _rdf(_parsed(packet.encode() if isinstance(packet, str) else packet or b""))
        for description in _descriptions(tree):
            if description.hasAttributeNS(*name):
                return str(description.getAttributeNS(*name))
            for child in description.childNodes:
                if isinstance(child, minidom.Element) and (child.namespaceURI, child.localName) == name:
                    return "".join(node.data for node in child.childNodes if isinstance(node, minidom.Text))
    except Exception:  # as above
        return None
    return None


def _parsed(packet: bytes) -> minidom.Document:
    """``packet`` as XML. ValueError for a document type, which no packet has, and which can blow a parser up."""
    data = packet.strip(b"\0 \t\r\n")
    if len(data) > MAX_PACKET or b"<!DOCTYPE" in data or b"<\0!\0D\0" in data or b"\0<\0!\0D" in data:
        raise ValueError("not an XMP packet")
    document = minidom.parseString(data)
    return document


def _rdf(document: minidom.Document) -> minidom.Element:
    return document.getElementsByTagNameNS(_RDF, "RDF")[0]


def _descriptions(tree: minidom.Element) -> Iterator[minidom.Element]:
    for child in tree.childNodes:
        if isinstance(child, minidom.Element) and (child.namespaceURI, child.localName) == (_RDF, "Description"):
            yield child


def _drop(tree: minidom.Element, unwanted: Callable[[tuple[str, str]], bool]) -> None:
    """Remove the ``unwanted`` properties, which may be elements or attributes, from the descriptions."""
    for description in _descriptions(tree):
        for child in list(description.childNodes):
            if isinstance(child, minidom.Element) and unwanted((child.namespaceURI or "", child.localName)):
                description.removeChild(child)
        for attribute in list(description.attributes.values()):
            if attribute.namespaceURI and unwanted((attribute.namespaceURI, attribute.localName)):
                description.removeAttributeNode(attribute)


def _is_empty(description: minidom.Element) -> bool:
    """Whether a description says nothing any more."""
    says = [a for a in description.attributes.values() if a.namespaceURI not in (None, _RDF, XMLNS_NAMESPACE)]
    return not says and not any(isinstance(child, minidom.Element) for child in description.childNodes)


def _written(document: minidom.Document) -> bytes:
    root = document.documentElement
    assert root is not None
    return f"{_HEAD}{root.toxml()}{_TAIL}".encode()
