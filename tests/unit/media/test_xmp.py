"""XMP packets: what the source's says stays, what described the old file goes, and the mark can be read back."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2l_cli.media.rdf import DC, Property
from t2l_cli.media.xmp import (
    TRAINED,
    Mark,
    is_trained,
    marked,
    portable_xmp,
    record_in,
    source_type_in,
    with_properties,
)

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
PHONE = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="uuid:1" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
  xmlns:IptcExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
  tiff:Orientation="6" tiff:Make="Maker &amp; Co" hdrgm:Version="1.0" IptcExt:DigitalSourceType="digitalCapture">
 <dc:creator><rdf:Seq><rdf:li>J\u00fcrgen</rdf:li></rdf:Seq></dc:creator>
 <xmp:Thumbnails>AAAA</xmp:Thumbnails>
 <photoshop:LegacyIPTCDigest xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">00</photoshop:LegacyIPTCDigest>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


def properties(packet: bytes) -> dict[str, str]:
    """Every property of a packet by name, read by another parser; each may stand there once."""
    found: list[tuple[str, str]] = []
    tree = ElementTree.fromstring(packet.decode().removeprefix("\ufeff"))
    for description in tree.iter(f"{RDF}Description"):
        found += [item for item in description.attrib.items() if item[0] != f"{RDF}about"]
        found += [(child.tag, "".join(child.itertext()).strip()) for child in description]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_what_a_photo_says_stays_and_what_its_file_was_goes() -> None:
    packet, notes = portable_xmp(PHONE)
    assert packet is not None
    assert notes == ()
    assert {name.rpartition("}")[2]: text for name, text in properties(packet).items()} == {
        "Make": "Maker & Co",
        "creator": "Jürgen",
        "DigitalSourceType": "digitalCapture",
    }
    assert portable_xmp(packet.decode()) == (packet, ())


@pytest.mark.parametrize("source", [None, PHONE], ids=["alone", "in a phone's packet"])
def test_a_mark_is_one_property_and_the_last_one_counts(source: bytes | None) -> None:
    packet = marked(portable_xmp(source)[0], Mark('{"a": "<&\\"\u00e9"}'))
    assert record_in(packet) == '{"a": "<&\\"\u00e9"}'
    assert properties(packet)[f"{IPTC}DigitalSourceType"] == TRAINED
    assert is_trained(packet)
    again, _ = portable_xmp(packet)
    assert record_in(again) is None
    assert is_trained(again)
    packet = marked(again, Mark("second", trained=False))
    assert record_in(packet) == "second"
    assert is_trained(packet)  # what was said of the source stays true
    assert source is None or "Maker & Co" in properties(packet).values()
    abouts = {
        e.get(f"{RDF}about") for e in ElementTree.fromstring(packet.decode()[1:] if packet[0] == 0xEF else packet)[0]
    }
    assert len(abouts) == 1


def test_without_a_trained_model_the_kind_of_picture_stays() -> None:
    assert source_type_in(marked(portable_xmp(PHONE)[0], Mark("x", trained=False))) == "digitalCapture"
    assert source_type_in(marked(None, Mark("x", trained=False))) is None


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>' + PHONE


DEEP = PHONE.replace(b"AAAA", b"<a>" * 300 + b"</a>" * 300)
MANY = PHONE.replace(b"AAAA", b"<a/>" * 400_000)


@pytest.mark.parametrize(
    "packet", [b"x", PHONE[:-200], BOMB, BOMB.decode().encode("utf-16"), b"<a/>", b"<" * 99, DEEP, MANY]
)
def test_damaged_packets_are_left_out_with_a_note(packet: bytes) -> None:
    assert portable_xmp(packet) == (None, ("its XMP data is damaged and was left out",))
    assert record_in(packet) is None


def test_what_a_packet_says_already_is_not_said_again() -> None:
    packet, _ = portable_xmp(PHONE)
    new = [
        Property(DC, "creator", "Seq", ("Somebody", "else")),
        Property(DC, "subject", "Bag", ("one", "t<o\x02")),
        Property(DC, "subject", "Bag", ("another source's",)),
        Property(DC, "title", "Alt", ("a", "b")),
    ]
    made = with_properties(packet, new)
    assert made is not None
    found = {name.rpartition("}")[2]: text for name, text in properties(made).items()}
    assert (found["creator"], found["subject"], found["title"]) == ("Jürgen", "onet<o", "a")
    assert with_properties(made, new) == made
    assert with_properties(None, []) is None


@pytest.mark.parametrize("text", ['"' * 3_000_000, "x" * 15_500_000])
def test_a_packet_that_leaves_no_room_for_a_mark_is_left_out_with_a_note(text: str) -> None:
    """Quotation marks become six characters each."""
    packet = PHONE.replace(b"AAAA", b"").replace(b"J\xc3\xbcrgen", text.encode())
    assert portable_xmp(packet) == (None, ("its XMP data is too long and was left out",))


def test_words_that_leave_no_room_for_a_mark_are_not_added() -> None:
    packet, _ = portable_xmp(PHONE)
    for texts in [("x" * 20_000_000,), ("a",) * 200_000]:
        made = with_properties(packet, [Property(DC, "subject", "Bag", texts)])
        assert made == packet
        assert record_in(marked(made, Mark("x"))) == "x"


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(PHONE)))
def test_no_bytes_raise_anything(noise: bytes, place: int) -> None:
    for packet in (noise, PHONE[:place] + noise + PHONE[place:]):
        kept, _ = portable_xmp(packet)
        record_in(packet)
        assert record_in(marked(kept, Mark("x"))) == "x"
