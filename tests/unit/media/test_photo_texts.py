"""Texts of a PNG and comments of a JPEG: each into the other, and what describes the old file into none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo, iTXt

from t2l_cli.media.images import load_picture
from t2l_cli.media.marks import look_at
from t2l_cli.media.output import FORMATS, save_picture
from t2l_cli.media.tags import Tags
from t2l_cli.media.texts import text_properties
from t2l_cli.media.xmp import Mark

RGB = np.dstack([*np.meshgrid(np.arange(30) * 8, np.arange(20) * 9), np.full((20, 30), 50)]).astype(np.uint8)
SAID = {"Title": "A title", "Comment": "Grüße", "parameters": "p" * 5000, "Note": "漢字"}


def png(path: Path, texts: dict[str, str]) -> Path:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.fromarray(RGB).save(path, pnginfo=info)
    return path


def jpeg(path: Path, comment: bytes) -> Path:
    Image.fromarray(RGB).save(path, quality=95, comment=comment)
    return path


def written(path: Path, source: Path, mark: Mark | None = None) -> Path:
    """``source`` as a result is written to ``path``."""
    picture = load_picture(source)
    assert picture.notes == ()
    assert save_picture(path, picture.rgb, beside=picture.beside, overwrite=True, mark=mark) == ()
    return path


def test_texts_of_a_png_stay_with_their_language(tmp_path: Path) -> None:
    texts: dict[str, str] = SAID | {"Remark": iTXt("so", "de", "Bemerkung")}
    out = written(tmp_path / "out.png", png(tmp_path / "in.png", texts))
    with Image.open(out) as image:
        image.load()
        assert image.text == texts  # type: ignore[attr-defined]
        remark = image.text["Remark"]  # type: ignore[attr-defined]
    assert (remark.lang, remark.tkey) == ("de", "Bemerkung")


def test_16_bits_keep_them_too(tmp_path: Path) -> None:
    assert save_picture(tmp_path / "p.png", RGB.astype(np.uint16) * 257, beside=Tags(texts=SAID)) == ()
    assert load_picture(tmp_path / "p.png", deep=True).texts == SAID


@pytest.mark.parametrize(
    "name",
    [
        "t2l",
        "Raw profile type exif",
        "Raw profile type iptc",
        "Thumb::URI",
        "date:modify",
        "exif:Orientation",
        "Signature",
    ],
)
def test_what_describes_the_old_file_stays_behind(tmp_path: Path, name: str) -> None:
    source = png(tmp_path / "in.png", SAID | {name: "old"})
    assert load_picture(source).texts == SAID
    out = written(tmp_path / "out.png", source, Mark("new"))
    assert b"old" not in out.read_bytes()
    assert look_at(out).record == "new"


def test_a_comment_goes_from_jpeg_to_png_and_back(tmp_path: Path) -> None:
    out = written(tmp_path / "b.png", jpeg(tmp_path / "a.jpg", "Grüße".encode()))
    assert load_picture(out).texts == {"Comment": "Grüße"}
    back = written(tmp_path / "c.jpg", out)
    with Image.open(back) as image:
        assert image.info["comment"] == "Grüße".encode()
    assert [look_at(path).values["comment"] for path in (out, back)] == ["Grüße"] * 2


@pytest.mark.parametrize(
    ("comment", "text"), [(b"\xa9 A. Person\0", "© A. Person"), (b"", None), (b"\0\0", None), ("漢".encode(), "漢")]
)
def test_a_comment_is_read_in_the_encoding_it_has(tmp_path: Path, comment: bytes, text: str | None) -> None:
    picture = load_picture(jpeg(tmp_path / "a.jpg", comment))
    assert (picture.texts.get("Comment"), picture.notes) == (text, ())


def test_a_comment_that_is_no_text_is_left_out_with_a_note(tmp_path: Path) -> None:
    picture = load_picture(jpeg(tmp_path / "a.jpg", b"\1\0\2\0binary"))
    assert (picture.texts, picture.notes) == ({}, ("its comment is no text and was left out",))
    assert look_at(tmp_path / "a.jpg").values["comment"] is None


def test_a_comment_too_long_for_a_jpeg_is_said(tmp_path: Path) -> None:
    beside = Tags(texts={"Comment": "x" * 70_000})
    path = tmp_path / "p.jpg"
    assert save_picture(path, RGB, beside=beside, mark=Mark("r")) == (
        f"JPEG cannot hold the comment: {path} is without it",
    )
    assert look_at(path).record == "r"


@pytest.mark.parametrize("suffix", [suffix for suffix, form in FORMATS.items() if form.tags and not form.texts])
def test_where_there_are_no_texts_xmp_says_what_it_has_a_word_for(tmp_path: Path, suffix: str) -> None:
    texts = SAID | {"Author": "A. Person\x01", "Copyright": "(c)", "Description": "<what>"}
    packet = load_picture(written(tmp_path / f"out{suffix}", png(tmp_path / "in.png", texts))).xmp or b""
    for words in (b"A title", b"A. Person<", b"(c)", b"&lt;what&gt;"):
        assert words in packet
    assert b"ppp" not in packet


def test_only_four_keywords_are_properties() -> None:
    texts = {"title": "a", "Author": "b", "Software": "c", "Creation Time": "d", "Comment": "e"}
    assert [(each.name, each.texts) for each in text_properties(texts)] == [("title", ("a",)), ("creator", ("b",))]
