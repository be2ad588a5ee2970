"""Pictures out: the checks before any work, and what each format keeps."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image, ImageCms

from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media import compositing
from t2l_cli.media.compositing import Bytes, Rows, composite, rgba
from t2l_cli.media.images import load_layer, load_picture
from t2l_cli.media.output import FORMATS, check_output, save_layer, save_picture
from t2l_cli.media.paths import reason
from t2l_cli.media.tags import Tags

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (20, 30), dtype=np.uint8)


class Terminal:
    """A standard output that is a terminal."""

    buffer: ClassVar[io.BytesIO] = io.BytesIO()

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_suffix_is_written_as_its_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix.upper()}"
    check_output(path, overwrite=False)
    smooth = np.dstack([*np.meshgrid(np.arange(30) * 8, np.arange(20) * 9), np.full((20, 30), 50)]).astype(np.uint8)
    assert save_picture(path, smooth) == ()
    with Image.open(path) as image:
        assert image.format == FORMATS[suffix].name
        assert np.abs(np.array(image).astype(int) - smooth).mean() <= 3
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_grey_is_written_in_every_format(tmp_path: Path, suffix: str) -> None:
    ramp = np.tile(np.arange(30, dtype=np.uint8) * 8, (20, 1))
    assert save_picture(tmp_path / f"p{suffix}", ramp) == ()
    with Image.open(tmp_path / f"p{suffix}") as image:
        grey = np.asarray(image.convert("L")).astype(int)
    assert np.abs(grey - ramp).max() <= (0 if suffix in (".png", ".tif", ".tiff", ".bmp") else 8)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_lossless_formats_keep_bytes_alpha_profile_and_exif(tmp_path: Path, suffix: str) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[315] = "A. Person"
    assert save_picture(tmp_path / f"p{suffix}", RGB, ALPHA, Tags(icc, exif.tobytes())) == ()
    picture = load_picture(tmp_path / f"p{suffix}")
    assert picture.alpha is not None
    assert np.array_equal(picture.rgb, RGB)
    assert np.array_equal(picture.alpha, ALPHA)
    assert picture.icc == icc
    back = Image.Exif()
    back.load(picture.exif or b"")
    assert back[315] == "A. Person"


@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["opaque", "transparent"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_made_by_the_row_gives_the_same_file(
    tmp_path: Path, suffix: str, alpha: Bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compositing, "STRIP_PIXELS", 7 * RGB.shape[1])
    save_picture(tmp_path / f"a{suffix}", RGB, alpha)
    save_picture(tmp_path / f"b{suffix}", Rows(RGB.shape, lambda rows: RGB[rows]), alpha)
    monkeypatch.undo()
    save_picture(tmp_path / f"c{suffix}", RGB, alpha)
    a, b, c = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "abc")
    assert a == b == c


def test_grey(tmp_path: Path) -> None:
    save_picture(tmp_path / "p.png", ALPHA)
    with Image.open(tmp_path / "p.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.array(image), ALPHA)


def test_jpeg_flattens_transparency_and_says_so(tmp_path: Path) -> None:
    clear = np.zeros((20, 30), np.uint8)
    (note,) = save_picture(tmp_path / "p.jpg", RGB, clear)
    assert "flattened onto white" in note
    assert (load_picture(tmp_path / "p.jpg").rgb > 250).all()
    assert save_picture(tmp_path / "q.jpg", RGB, np.full((20, 30), 255, np.uint8)) == ()


def test_layer_over_photo_from_disk_is_the_composite(tmp_path: Path) -> None:
    layer = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    save_layer(tmp_path / "layer.png", rgba(layer, ALPHA))
    read = load_layer(tmp_path / "layer.png")
    assert read.alpha is not None
    assert np.array_equal(composite(RGB, read.rgb, read.alpha), composite(RGB, layer, ALPHA))
    with pytest.raises(RequestError, match="written as PNG"):
        save_layer(tmp_path / "layer.jpg", rgba(layer, ALPHA))


def test_stdout(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    check_output("-", overwrite=False)
    save_picture("-", RGB, ALPHA)
    out = capfdbinary.readouterr().out
    with Image.open(io.BytesIO(out)) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.array(image), np.dstack([RGB, ALPHA]))
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(RequestError, match="terminal"):
        check_output("-", overwrite=False)


def test_bad_outputs_are_found_before_the_work(tmp_path: Path) -> None:
    there, source = tmp_path / "there.png", tmp_path / "photo.jpg"
    save_picture(there, RGB)
    save_picture(source, RGB)
    (tmp_path / "other.jpg").symlink_to(source)
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone")
    for path, overwrite, words in [
        (there, False, "exists; choose another --output or add --overwrite"),
        (tmp_path / "nowhere.png", False, "exists"),
        (source, True, "is the input itself"),
        (tmp_path / "other.jpg", True, "is the input itself"),
        (tmp_path / "gone" / "a.png", False, "the folder .* does not exist"),
        (there / "a.png", False, "does not exist"),
        (tmp_path / "a.gif", False, "suffix .gif of .* is not one that t2l can write"),
        (tmp_path / "a", False, "has no suffix"),
        (tmp_path / ("x" * 300 + ".png"), False, "File name too long"),
        (tmp_path / "a\0.png", False, "zero byte"),
    ]:
        with pytest.raises(RequestError, match=words) as caught:
            check_output(path, overwrite, source)
        assert str(caught.value).isprintable()
    (tmp_path / "dir.png").mkdir()
    with pytest.raises(RequestError, match="is a folder"):
        check_output(tmp_path / "dir.png", True)
    check_output(there, True, source)
    check_output(tmp_path / "new.png", False, "-")
    with pytest.raises(RequestError, match="WEBP holds at most 16383"):
        check_output(tmp_path / "new.webp", False, size=(20_000, 10))


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.geteuid() == 0:  # root writes everywhere
        monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK))
    with pytest.raises(RequestError, match="not writable"):
        check_output(tmp_path / "locked" / "a.png", False)


def test_a_second_run_does_not_replace(tmp_path: Path) -> None:
    save_picture(tmp_path / "p.png", RGB)
    with pytest.raises(OutputError, match="written by another run"):
        save_picture(tmp_path / "p.png", RGB // 2)
    assert np.array_equal(load_picture(tmp_path / "p.png").rgb, RGB)


def test_a_size_the_encoder_refuses_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not encode"):
        save_picture(tmp_path / "p.webp", np.zeros((1, 17_000, 3), np.uint8))
    assert os.listdir(tmp_path) == []


def test_a_closed_pipe_is_an_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    class Out:
        buffer = Closed()

    monkeypatch.setattr(sys, "stdout", Out())
    with pytest.raises(OutputError, match="Broken pipe"):
        save_picture("-", RGB)


def test_why_a_name_cannot_be() -> None:
    """Under an ASCII locale a run.json's "\u00fc.png" is no name; it holds no zero byte for that."""
    with pytest.raises(UnicodeEncodeError) as caught:
        "\u00fc.png".encode("ascii")
    assert reason(caught.value) == "this system's encoding, ascii, has no such name"
    assert reason(ValueError("embedded null byte")) == "the name holds a zero byte"
    assert reason(OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))) == "File name too long"
