"""What stands beside the pixels never keeps them from being read."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from t2l_cli.media.broken import without_broken
from t2l_cli.media.images import load_picture
from t2l_cli.media.marks import look_at

RGB = np.dstack([*np.meshgrid(np.arange(30) * 8, np.arange(20) * 9), np.full((20, 30), 50)]).astype(np.uint8)
TEXT, BLOCK = ("a text in it cannot be read and was left out",), ("its IPTC data is damaged and was left out",)


def plain(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).convert("P" if form == "GIF" else "RGB").save(file, form)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(*chunks: bytes, late: bool = False) -> bytes:
    """A PNG with ``chunks`` before its pixels, or after them."""
    data = plain("PNG")
    place = len(data) - 12 if late else 33
    return data[:place] + b"".join(chunks) + data[place:]


BOMB = zlib.compress(bytes(70_000_000))
HALF = zlib.compress(b"x" * 20_000_000)
PILLOWS = (b"transparency", b"icc_profile", b"bbox", b"interlace", b"xmp")
BROKEN = {
    "a bomb": chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "a bomb in other words": chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
    "no method": chunk(b"zTXt", b"Comment\0\7" + zlib.compress(b"x")),
    "no data": chunk(b"zTXt", b"Comment\0\0nothing packed"),
    "no UTF-8": chunk(b"iTXt", b"Comment\0\0\0\0\0\xff\xfe"),
    "cut": chunk(b"iTXt", b"Comment\0\0"),
    "very long": chunk(b"tEXt", b"Comment\0" + b"x" * 33_000_000),
    "Pillow's own": b"".join(chunk(b"tEXt", name + b"\0no") for name in PILLOWS),
}


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_text_that_cannot_be_read_costs_itself_alone(tmp_path: Path, case: str, late: bool) -> None:
    good = chunk(b"tEXt", b"Title\0A title"), chunk(b"zTXt", b"Author\0\0" + zlib.compress(b"A. Person"))
    (tmp_path / "p.png").write_bytes(png(good[0], BROKEN[case], good[1], late=late))
    picture = load_picture(tmp_path / "p.png")
    assert np.array_equal(picture.rgb, RGB)
    assert (picture.notes, picture.texts) == (TEXT, {"Title": "A title", "Author": "A. Person"})
    assert (picture.alpha, picture.icc) == (None, None)
    assert look_at(tmp_path / "p.png").values["width"] == 30


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "RGBA"])
@pytest.mark.parametrize(
    "name", ["gamma", "dpi", "loop", "srgb", "aspect", "background", "comment", "photoshop", "exif"]
)
def test_no_text_costs_a_picture_of_any_kind(tmp_path: Path, name: str, mode: str) -> None:
    """Pillow keeps texts among its own facts about the picture."""
    info = PngInfo()
    info.add_text(name, "no")
    image = Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / "p.png", pnginfo=info)
    assert np.array_equal(load_picture(tmp_path / "p.png").rgb, np.asarray(image.convert("RGB")))


def test_texts_are_bounded_together(tmp_path: Path) -> None:
    many = [chunk(b"zTXt", name + b"\0\0" + HALF) for name in (b"One", b"Two", b"Three")]
    (tmp_path / "p.png").write_bytes(png(*many))
    picture = load_picture(tmp_path / "p.png")
    assert (picture.texts.keys(), picture.notes) == ({"One"}, TEXT)


def jpeg(block: bytes) -> bytes:
    data = plain("JPEG")
    return data[:2] + b"\xff" * 3 + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:]


@pytest.mark.parametrize(
    "block", [b"8BIM\4\4", b"8BIM\4\4\0\0\0\0\0\2xx8BIM\4\4", b"8BIM\4\4\0\0\0\0\0\1x\0" * 9 + b"8BIM\0\1"]
)
def test_a_photoshop_block_that_ends_in_a_head_is_cut_out(tmp_path: Path, block: bytes) -> None:
    """Pillow takes a file with such a block for no picture."""
    (tmp_path / "p.jpg").write_bytes(jpeg(b"Photoshop 3.0\0" + block))
    assert load_picture(tmp_path / "p.jpg").notes == BLOCK
    assert load_picture(tmp_path / "p.jpg").size == (20, 30)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "TIFF"])
def test_a_file_without_anything_broken_stays_itself(form: str) -> None:
    file = io.BytesIO(plain(form))
    assert without_broken(file) == (file, ())
    assert file.tell() == 0


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["PNG", "JPEG"]), st.binary(max_size=60), st.integers(2, 400), st.integers(0, 400))
def test_any_file_ends(form: str, noise: bytes, place: int, cut: int) -> None:
    data = plain(form)
    file, _ = without_broken(io.BytesIO(data[:place] + noise + data[place + cut :]))
    assert len(file.read()) <= len(data) + len(noise)
