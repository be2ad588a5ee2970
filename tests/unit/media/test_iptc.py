"""IPTC-IIM: read whole or up to its damage, without the old file's structure; in XMP's words where it must be."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, IptcImagePlugin

from t2l_cli.media.images import load_picture
from t2l_cli.media.iptc import iptc_of, iptc_properties, photoshop_block, portable_iptc
from t2l_cli.media.output import save_picture
from t2l_cli.media.tags import Tags

RGB = np.dstack([*np.meshgrid(np.arange(30) * 8, np.arange(20) * 9), np.full((20, 30), 50)]).astype(np.uint8)


def dataset(record: int, number: int, value: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, record, number, len(value)) + value


STORY = b"".join(
    dataset(*each)
    for each in [
        (1, 90, b"\x1b%G"),
        (2, 5, b"A title"),
        (2, 25, b"one"),
        (2, 25, b"two"),
        (2, 80, "Jürgen".encode()),
        (2, 116, b""),
        (2, 120, b"What it shows"),
    ]
)
OF_THE_FILE = b"".join(
    dataset(*each)
    for each in [(1, 20, b"\0\x0b"), (2, 130, b"3Y"), (2, 131, b"L"), (2, 202, bytes(200)), (3, 60, b"x")]
)


def photoshop_jpeg(block: bytes) -> bytes:
    """A JPEG with Photoshop's segment as an editor would write it."""
    file = io.BytesIO()
    segment = b"\xff\xed" + struct.pack(">H", len(block) + 2) + block
    Image.fromarray(RGB).save(file, "JPEG", quality=95, extra=segment)
    return file.getvalue()


def resource(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HxxL", number, len(data)) + data + b"\0" * (len(data) % 2)


def test_the_story_stays_and_what_describes_the_old_file_goes() -> None:
    assert portable_iptc(STORY) == (STORY, ())
    assert portable_iptc(OF_THE_FILE + STORY + OF_THE_FILE + b"\0\0\0") == (STORY, ())
    assert portable_iptc(dataset(1, 90, b"\x1b%G")) == (None, ())
    assert portable_iptc(None) == (None, ())


def test_long_values_keep_their_length() -> None:
    long = b"\x1c\x02\x78\x80\x04" + struct.pack(">L", 40_000) + b"x" * 40_000
    assert portable_iptc(long + STORY) == (long + STORY, ())


@pytest.mark.parametrize(
    "tail", [b"\x1c\x02\x78\x7f\xffcut", b"\x1c\x02", b"noise", b"\x1c\x02\x78\xff\xff" + b"9" * 99]
)
def test_what_comes_before_the_damage_is_kept(tail: bytes) -> None:
    assert portable_iptc(STORY + tail) == (STORY, ("a part of its IPTC data is damaged and was left out",))
    assert portable_iptc(tail) == (None, ("its IPTC data is damaged and was left out",))


def test_xmp_has_the_same_words() -> None:
    latin = dataset(2, 105, "Größe".encode("latin-1"))
    found = {each.name: (each.kind, each.texts) for each in iptc_properties(STORY + latin)}
    assert found == {
        "title": ("Alt", ("A title",)),
        "subject": ("Bag", ("one", "two")),
        "creator": ("Seq", ("Jürgen",)),
        "description": ("Alt", ("What it shows",)),
        "Headline": ("", ("Größe",)),
    }


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(STORY)))
def test_no_bytes_raise_anything(noise: bytes, place: int) -> None:
    for data in (noise, STORY[:place] + noise + STORY[place:]):
        kept, notes = portable_iptc(data)
        assert kept is None or portable_iptc(kept) == (kept, ())
        assert kept is None or iptc_properties(kept) is not None
        assert bool(notes) or kept is not None or b"\x1c\x02" not in data


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_pillows_own_reader_finds_it(tmp_path: Path, suffix: str) -> None:
    assert save_picture(tmp_path / f"p{suffix}", RGB, beside=Tags(iptc=STORY)) == ()
    with Image.open(tmp_path / f"p{suffix}") as image:
        found = IptcImagePlugin.getiptcinfo(image)  # type: ignore[arg-type]  # an ImageFile is what open() gives
        assert iptc_of(image) is not None
    assert found is not None
    assert (found[2, 25], found[2, 80]) == ([b"one", b"two"], "Jürgen".encode())
    assert load_picture(tmp_path / f"p{suffix}").iptc == STORY


def test_of_photoshops_resources_only_iptc_is_carried(tmp_path: Path) -> None:
    others = resource(0x0425, b"digest of it all") + resource(0x040C, b"thumbnail") + resource(0x07D0, b"path")
    (tmp_path / "p.jpg").write_bytes(photoshop_jpeg(b"Photoshop 3.0\0" + others + resource(0x0404, STORY) + others))
    picture = load_picture(tmp_path / "p.jpg")
    assert (picture.iptc, picture.notes) == (STORY, ())
    save_picture(tmp_path / "q.jpg", picture.rgb, beside=picture.beside)
    with Image.open(tmp_path / "q.jpg") as image:
        assert image.info["photoshop"] == {0x0404: STORY}


def test_a_length_beyond_the_block_costs_that_dataset(tmp_path: Path) -> None:
    block = photoshop_block(STORY)
    start = block.index(b"\x04\x04") + 4
    (tmp_path / "p.jpg").write_bytes(photoshop_jpeg(block[:start] + b"\xff" * 4 + block[start + 4 : -6]))
    picture = load_picture(tmp_path / "p.jpg")
    assert picture.notes == ("a part of its IPTC data is damaged and was left out",)
    assert picture.iptc == STORY[: STORY.index(b"\x1c\x02\x78")]


def test_too_much_for_a_jpeg_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    long = dataset(2, 5, b"title") + 3 * dataset(2, 120, b"x" * 30_000)
    path = tmp_path / "p.jpg"
    beside = Tags(iptc=long, texts={"Comment": "said"})
    assert save_picture(path, RGB, beside=beside) == (f"JPEG cannot hold the IPTC data: {path} is without it",)
    assert (load_picture(path).iptc, load_picture(path).texts) == (None, {"Comment": "said"})
