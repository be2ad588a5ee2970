"""XMP longer than a segment of a JPEG: cut in two and put together again, and damaged parts cost themselves alone."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from t2l_cli.media.images import load_picture
from t2l_cli.media.long_xmp import in_segments, whole_packet
from t2l_cli.media.marks import look_at
from t2l_cli.media.output import save_picture
from t2l_cli.media.tags import Tags
from t2l_cli.media.xmp import Mark, marked, portable_xmp, record_in

RGB = np.dstack([*np.meshgrid(np.arange(30) * 8, np.arange(20) * 9), np.full((20, 30), 50)]).astype(np.uint8)
MAIN = b"http://ns.adobe.com/xap/1.0/\0"
REST = b"http://ns.adobe.com/xmp/extension/\0"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
HEAD = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:a="urn:a">'
)
TAIL = "</r:RDF></x:xmpmeta>"
NOTE = ("a part of its XMP data is missing or damaged and was left out",)


def packet(*lengths: int) -> bytes:
    """A packet with a property of each of these lengths, and two attributes; its prefixes are declared far above."""
    many = "".join(f"<a:p{i}><r:Seq><r:li>{'x' * length}</r:li></r:Seq></a:p{i}>" for i, length in enumerate(lengths))
    text = f'{HEAD}<r:Description r:about="uuid:1" a:short="s" a:long="{"y" * 3000}">{many}</r:Description>{TAIL}'
    made, notes = portable_xmp(text.encode())
    assert made is not None
    assert notes == ()
    return made


def properties(data: bytes | str | None) -> dict[str, str]:
    """Every property by its full name; each may stand there once."""
    assert isinstance(data, bytes)
    found: list[tuple[str, str]] = []
    for description in ElementTree.fromstring(data).iter(f"{RDF}Description"):
        assert description.get(f"{RDF}about") == "uuid:1"
        found += [item for item in description.attrib.items() if item[0] != f"{RDF}about"]
        found += [(child.tag, "".join(child.itertext())) for child in description]
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize("lengths", [(10,), (64_000,), (70_000,), (40_000, 40_000, 300_000, 5), (600,) * 200])
def test_a_packet_of_any_length_comes_back_whole(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    source = packet(*lengths)
    path = tmp_path / "p.jpg"
    assert save_picture(path, RGB, beside=Tags(xmp=source), mark=Mark('{"a": "<&>"}')) == ()
    picture = load_picture(path)
    assert picture.notes == ()
    whole = properties(picture.xmp)
    assert {name: text for name, text in whole.items() if "DigitalSource" not in name} == properties(source)
    assert look_at(path).record == '{"a": "<&>"}'


def test_the_main_packet_names_the_rest_and_keeps_the_mark() -> None:
    """As the specification has it: a GUID that is the rest's MD5, and offsets into it."""
    main, *parts = in_segments(marked(packet(30_000, 150_000), Mark("made so")))
    assert main.startswith(MAIN)
    assert len(main) <= 65_502 + len(MAIN)
    assert record_in(main.removeprefix(MAIN)) == "made so"
    rest = b"".join(part[len(REST) + 40 :] for part in parts)
    guid = hashlib.md5(rest).hexdigest().upper()
    assert guid.encode() in main
    at = 0
    for part in parts:
        assert part.startswith(REST + guid.encode() + struct.pack(">LL", len(rest), at))
        assert len(part) <= 65_533
        at += len(part) - len(REST) - 40
    assert b"<?xpacket" not in rest
    assert b"x" * 30_000 in main


def test_a_mark_that_is_too_long_itself_goes_into_the_rest(tmp_path: Path) -> None:
    record = '"' * 30_000 + "é" * 30_000
    assert save_picture(tmp_path / "p.jpg", RGB, mark=Mark(record)) == ()
    assert look_at(tmp_path / "p.jpg").record == record


def test_a_short_packet_is_one_segment() -> None:
    assert in_segments(packet(10)) == [MAIN + packet(10)]


def parts_of(source: bytes) -> tuple[bytes, list[bytes]]:
    main, *parts = in_segments(source)
    return main.removeprefix(MAIN), parts


def test_parts_may_stand_in_any_order_and_beside_others() -> None:
    main, parts = parts_of(packet(200_000))
    other = parts[0].replace(parts[0][len(REST) : len(REST) + 32], b"0" * 32)
    assert properties(whole_packet(main, [b"Exif\0\0", other, *reversed(parts), parts[0]])) == properties(
        packet(200_000)
    )
    assert whole_packet(None, parts) is None


def test_of_a_property_in_both_the_main_packets_counts() -> None:
    main, parts = parts_of(packet(200_000, 5))
    twice = main.replace(b'a:short="s"', b'a:short="s" a:p0="mine"')
    assert properties(whole_packet(twice, parts))["{urn:a}p0"] == "mine"


def broken(parts: list[bytes], how: str) -> list[bytes]:
    begin = len(REST) + 32
    match how:
        case "none":
            return []
        case "one is missing":
            return parts[:1] + parts[2:]
        case "the last is missing":
            return parts[:-1]
        case "too long a claim":
            return [part[:begin] + b"\xff" * 4 + part[begin + 4 :] for part in parts]
        case "a cut head":
            return [*parts, REST + b"x"]
        case _:
            return [part.replace(b"</", b"<<") for part in parts]


@pytest.mark.parametrize(
    "how", ["none", "one is missing", "the last is missing", "too long a claim", "a cut head", "no XML"]
)
def test_a_rest_that_is_damaged_costs_itself_alone(tmp_path: Path, how: str) -> None:
    main, parts = parts_of(packet(200_000, 5))
    segments = [b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data for data in [MAIN + main, *broken(parts, how)]]
    file = io.BytesIO()
    options: dict[str, Any] = {"extra": b"".join(segments)}
    Image.fromarray(RGB).save(file, "JPEG", **options)
    (tmp_path / "p.jpg").write_bytes(file.getvalue())
    picture = load_picture(tmp_path / "p.jpg")
    assert picture.notes == NOTE
    assert properties(picture.xmp).keys() == {"{urn:a}short", "{urn:a}long", "{urn:a}p1"}
    assert b"HasExtendedXMP" not in (picture.xmp or b"")
