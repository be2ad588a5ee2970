"""The RDF in XML that an XMP packet is (ISO 16684-1): properties, in descriptions, in a tree.

A property is an element in a description, or an attribute of it. Names are pairs: namespace and local name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.dom import XMLNS_NAMESPACE, minidom

MAX_PACKET = 16_000_000  # bytes; anything larger holds pictures, not words about one
_MAX_DEPTH = 200  # of tags in tags; minidom calls itself for each
_MAX_SIGNS = 300_000  # tags and attributes; each takes some hundred bytes of memory as long as a packet is worked on

OWN = "urn:x-t2l:1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
IPTC_CORE = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
DC = "http://purl.org/dc/elements/1.1/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
NOTE = "http://ns.adobe.com/xmp/note/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PREFIXES = {
    _RDF: "rdf",
    OWN: "t2l",
    IPTC: "Iptc4xmpExt",
    IPTC_CORE: "Iptc4xmpCore",
    DC: "dc",
    PHOTOSHOP: "photoshop",
    NOTE: "xmpNote",
}

_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"></rdf:RDF></x:xmpmeta>'
_HEAD, _TAIL = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', '<?xpacket end="w"?>'
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML 1.0 has not

Name = tuple[str, str]
Node = minidom.Element | minidom.Attr  # a property where it stands


@dataclass(frozen=True)
class Property:
    """A property to be written."""

    uri: str  # of its namespace, one of those named above
    name: str
    kind: str  # "": one text; "Seq", "Bag": several, in order or not; "Alt": one, in whatever language it is
    texts: tuple[str, ...]


def parsed(packet: bytes | None) -> minidom.Document:
    """``packet`` as XML, or an empty one. Raises whatever the parser does.

    ValueError for a document type, which no packet has, and which can blow a parser up, and for a packet that is too
    large to be words about a picture, or nested too deeply.
    """
    data = packet.strip(b"\0 \t\r\n") if packet else _EMPTY.encode()
    if len(data) > MAX_PACKET or _signs(data) > _MAX_SIGNS:
        raise ValueError("too large")
    if b"<!DOCTYPE" in data or b"<\0!\0D\0" in data or b"\0<\0!\0D" in data:
        raise ValueError("not an XMP packet")
    document = minidom.parseString(data)
    level: list[Any] = [document]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in node.childNodes]
        if not level:
            return document
    raise ValueError("nested too deeply")


def _signs(data: bytes) -> int:
    return data.count(b"<") + data.count(b"=")


def has_room(packet: bytes) -> bool:
    """Whether the program's record can be added to ``packet`` without making it too large to be read."""
    return len(packet) <= MAX_PACKET - 1_000_000 and _signs(packet) <= _MAX_SIGNS - 10_000


def written(document: minidom.Document, wrapped: bool = True) -> bytes:
    """``document`` as a packet, which other programs find in any file, or not ``wrapped`` as one."""
    root = document.documentElement
    assert root is not None
    return f"{_HEAD}{root.toxml()}{_TAIL}".encode() if wrapped else root.toxml().encode()


def tree_of(document: minidom.Document) -> minidom.Element:
    """What holds the descriptions."""
    return document.getElementsByTagNameNS(_RDF, "RDF")[0]


def descriptions(tree: minidom.Element) -> Iterator[minidom.Element]:
    """The descriptions in the ``tree``."""
    for child in list(tree.childNodes):
        if isinstance(child, minidom.Element) and (child.namespaceURI, child.localName) == (_RDF, "Description"):
            yield child


def properties(description: minidom.Element) -> Iterator[Node]:
    """The properties in a ``description``."""
    for child in description.childNodes:
        if isinstance(child, minidom.Element):
            yield child
    for attribute in description.attributes.values():
        if attribute.namespaceURI not in (None, _RDF, XMLNS_NAMESPACE):
            yield attribute


def name_of(node: Node) -> Name:
    """The name of a property."""
    return node.namespaceURI or "", node.localName or ""


def names(tree: minidom.Element) -> set[Name]:
    """The names of all properties."""
    return {name_of(node) for description in descriptions(tree) for node in properties(description)}


def remove(description: minidom.Element, nodes: Iterable[Node]) -> None:
    """Remove properties from their ``description``."""
    gone = set(nodes)
    for node in gone:
        if isinstance(node, minidom.Attr):
            description.removeAttributeNode(node)
    # removeChild() would search the list for each of them.
    description.childNodes[:] = [child for child in description.childNodes if child not in gone]


def drop(found: Iterable[minidom.Element], unwanted: Callable[[Name], bool]) -> None:
    """Remove the ``unwanted`` properties from the descriptions ``found``."""
    for description in found:
        remove(description, [node for node in properties(description) if unwanted(name_of(node))])


def value_of(packet: bytes | str | None, name: Name) -> str | None:
    """The text of the property ``name``; None if the ``packet`` has none, or is no packet."""
    try:
        tree = tree_of(parsed(packet.encode() if isinstance(packet, str) else packet))
        for description in descriptions(tree):
            for node in properties(description):
                if name_of(node) == name:
                    if isinstance(node, minidom.Attr):
                        return str(node.value)
                    return "".join(child.data for child in node.childNodes if isinstance(child, minidom.Text))
    except Exception:  # XML that is none raises whatever its bytes provoke (ExpatError, RecursionError, ...)
        return None
    return None


def about(tree: minidom.Element) -> str:
    """What a packet is about: one thing, the same in all its descriptions."""
    return next((each.getAttributeNS(_RDF, "about") for each in descriptions(tree)), "")


def append(document: minidom.Document, new: Sequence[Property]) -> None:
    """Add properties in a description of their own, without characters that XML does not have."""
    tree = tree_of(document)
    own = document.createElementNS(_RDF, "rdf:Description")
    for uri in dict.fromkeys([_RDF, *(each.uri for each in new)]):
        own.setAttribute(f"xmlns:{_PREFIXES[uri]}", uri)
    own.setAttributeNS(_RDF, "rdf:about", about(tree))
    for each in new:
        element = document.createElementNS(each.uri, f"{_PREFIXES[each.uri]}:{each.name}")
        texts = each.texts if each.kind in ("Seq", "Bag") else each.texts[:1]
        array = element.appendChild(document.createElementNS(_RDF, f"rdf:{each.kind}")) if each.kind else None
        for text in texts:
            place = element if array is None else array.appendChild(document.createElementNS(_RDF, "rdf:li"))
            if each.kind == "Alt":
                place.setAttribute("xml:lang", "x-default")
            place.appendChild(document.createTextNode(_NO_XML.sub("", text)))
        own.appendChild(element)
    tree.appendChild(own)


def copied(description: minidom.Element, document: minidom.Document, subject: str, deep: bool) -> minidom.Element:
    """A copy of ``description`` for the tree of another ``document``, with every prefix that is known where it stands.

    subject: what that document is about. Without ``deep``, the copy has no properties.
    """
    copy = document.importNode(description, deep)
    assert isinstance(copy, minidom.Element)
    if not deep:
        drop([copy], lambda name: True)
    node: Any = description.parentNode
    while isinstance(node, minidom.Element):
        for attribute in node.attributes.values():
            if attribute.namespaceURI == XMLNS_NAMESPACE and not copy.hasAttribute(attribute.name):
                copy.setAttributeNS(XMLNS_NAMESPACE, attribute.name, attribute.value)
        node = node.parentNode
    if not copy.hasAttribute("xmlns:rdf"):
        copy.setAttributeNS(XMLNS_NAMESPACE, "xmlns:rdf", _RDF)
    copy.setAttributeNS(_RDF, "rdf:about", subject)
    return copy
