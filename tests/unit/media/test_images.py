"""Pictures in: every mode, profile and orientation; and one line for everything that is no picture."""

from __future__ import annotations

import errno
import io
import os
import struct
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from t2l_cli.errors import RequestError
from t2l_cli.media import compositing, opening
from t2l_cli.media.images import load_layer, load_mask, load_picture
from t2l_cli.media.output import save_picture

RAMP = np.dstack([*np.meshgrid(np.arange(0, 240, 8), np.arange(0, 200, 10)), np.full((20, 30), 90)]).astype(np.uint8)


class Stream:
    """Stands in for sys.stdin or sys.stdout."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)

    def isatty(self) -> bool:
        return False


def write(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".webp", ".ppm"])
def test_plain_rgb_comes_back_as_it_is(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    picture = load_picture(write(tmp_path / f"p{suffix}", Image.fromarray(RAMP), **options))
    assert np.array_equal(picture.rgb, RAMP)
    assert (picture.alpha, picture.icc, picture.exif, picture.notes) == (None, None, None, ())


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stream(encoded(Image.fromarray(RAMP), "PNG")))
    assert np.array_equal(load_picture("-").rgb, RAMP)
    monkeypatch.setattr(sys, "stdin", Stream())
    with pytest.raises(RequestError, match="nothing came on the standard input"):
        load_picture("-")


def test_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    if os.fork() == 0:
        (tmp_path / "pipe").write_bytes(encoded(Image.fromarray(RAMP), "PNG"))
        os._exit(0)
    assert np.array_equal(load_picture(tmp_path / "pipe").rgb, RAMP)
    os.wait()


class Endless(io.RawIOBase):
    """/dev/zero, or a program that never ends, as a stream; counts what is taken of it."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.taken += len(buffer)
        return len(buffer)


def test_a_pipe_without_an_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_PIPED", 3 << 20)
    endless = Endless()
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BufferedReader(endless)))
    with pytest.raises(RequestError, match="name a file"):
        load_picture("-")
    assert endless.taken <= 5 << 20


def test_the_bound_of_a_pipe_is_above_every_photo() -> None:
    assert opening.MAX_PIPED > 3 * opening.MAX_PIXELS


def test_stdin_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with os.fdopen(os.open(os.devnull, os.O_WRONLY), "rb") as stream:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=stream))
        with pytest.raises(RequestError, match="cannot read the standard stream: Bad file descriptor"):
            load_picture("-")


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = np.linspace(0, 65535, 20 * 30).reshape(20, 30).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"deep{suffix}"), deep)
    picture = load_picture(tmp_path / f"deep{suffix}")
    assert picture.notes == ("16-bit greyscale converted to 8-bit RGB",)
    assert np.abs(picture.rgb[..., 1] - deep / 257).max() <= 0.51


@pytest.mark.parametrize(("suffix", "channels"), [(".png", 3), (".png", 4), (".tiff", 3), (".ppm", 3)])
def test_16_bit_colour_is_said(tmp_path: Path, suffix: str, channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f"deep{suffix}"), deep)
    picture = load_picture(tmp_path / f"deep{suffix}")
    assert picture.notes[0].startswith("16-bit RGB converted to 8-bit RGB")
    assert np.abs(picture.rgb[..., ::-1] - deep[..., :3] / 257).max() <= 1
    assert (picture.alpha is not None) == (channels == 4)


def test_floating_point_and_32_bit_grey(tmp_path: Path) -> None:
    unit = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    picture = load_picture(write(tmp_path / "unit.tiff", Image.fromarray(unit)))
    assert np.abs(picture.rgb[..., 0] - unit * 255).max() <= 0.51
    assert picture.notes == ("floating-point greyscale converted to 8-bit RGB",)
    wide = (unit * 1e6 - 5e5).astype(np.int32)
    picture = load_picture(write(tmp_path / "wide.tiff", Image.fromarray(wide)))
    assert (picture.rgb.min(), picture.rgb.max()) == (0, 255)
    assert "from -500000 to 500000" in picture.notes[0]


@pytest.mark.parametrize(
    ("mode", "suffix", "note"),
    [
        ("L", ".png", "greyscale converted to 8-bit RGB"),
        ("1", ".png", "black and white converted to 8-bit RGB"),
        ("LA", ".png", "greyscale converted to 8-bit RGB, transparency kept"),
        ("P", ".gif", "palette converted to 8-bit RGB"),
        ("CMYK", ".jpg", "CMYK converted to 8-bit RGB"),
        ("LAB", ".tiff", "LAB converted to 8-bit RGB"),
    ],
)
def test_every_mode_with_a_word_about_it(tmp_path: Path, mode: str, suffix: str, note: str) -> None:
    image = Image.fromarray(RAMP)
    if mode == "LAB":
        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    else:
        image = image.quantize(256) if mode == "P" else image.convert(mode)
    expected = np.array(Image.fromarray(RAMP).convert(mode if mode in ("L", "1", "LA") else "RGB").convert("RGB"))
    options = {"quality": 100} if suffix == ".jpg" else {}
    picture = load_picture(write(tmp_path / f"p{suffix}", image, **options))
    assert picture.notes == (note,)
    assert picture.rgb.shape == RAMP.shape
    assert np.abs(picture.rgb.astype(int) - expected).mean() < 4
    assert (picture.alpha is not None) == (mode == "LA")


def test_alpha_and_palette_transparency_are_kept(tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 600).reshape(20, 30).astype(np.uint8)
    picture = load_picture(write(tmp_path / "a.png", Image.fromarray(np.dstack([RAMP, alpha]))))
    assert np.array_equal(picture.rgb, RAMP)  # colours under alpha 0 too
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, alpha)
    assert picture.notes == ()
    palette = Image.fromarray((alpha > 99).astype(np.uint8)).convert("P")
    picture = load_picture(write(tmp_path / "t.gif", palette, transparency=0))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha > 0, alpha > 99)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_gone(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = orientation, "Maker"
    path = write(tmp_path / "o.png", Image.fromarray(RAMP), exif=exif)
    turned = {
        1: RAMP, 2: RAMP[:, ::-1], 3: RAMP[::-1, ::-1], 4: RAMP[::-1], 5: RAMP.transpose(1, 0, 2),
        6: np.rot90(RAMP, -1), 7: np.rot90(RAMP, 2).transpose(1, 0, 2), 8: np.rot90(RAMP),
    }[orientation]  # fmt: skip
    picture = load_picture(path)
    assert np.array_equal(picture.rgb, turned)
    carried = Image.Exif()
    carried.load(picture.exif or b"")
    assert dict(carried) == {ExifTags.Base.Make: "Maker"}


def test_exif_travels_without_thumbnail_and_tiff_structure(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "A. Person"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.FNumber: 2.8, ExifTags.Base.ExifImageWidth: 30}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    for suffix in (".jpg", ".tiff", ".webp"):
        picture = load_picture(write(tmp_path / f"e{suffix}", Image.fromarray(RAMP), exif=exif.tobytes()))
        save_picture(tmp_path / f"out{suffix}.jpg", picture.rgb, beside=picture.beside)
        with Image.open(tmp_path / f"out{suffix}.jpg") as image:
            back = image.getexif()
            assert back[ExifTags.Base.Artist] == "A. Person"
            assert back.get_ifd(ExifTags.IFD.Exif) == {ExifTags.Base.FNumber: 2.8}
            assert back.get_ifd(ExifTags.IFD.GPSInfo) == {ExifTags.GPS.GPSLatitudeRef: "N"}
            assert set(back) == {ExifTags.Base.Artist, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}


def test_broken_exif_is_no_reason_to_refuse_a_picture(tmp_path: Path) -> None:
    broken = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 900) + b"\x01\x02" * 40
    for exif in (broken, b"Exif\0\0", b"Exif\0\0XX*\0" + bytes(20)):
        for suffix in (".jpg", ".png", ".webp"):
            picture = load_picture(write(tmp_path / f"b{suffix}", Image.fromarray(RAMP), exif=exif))
            assert picture.exif is None
            assert np.abs(picture.rgb.astype(int) - RAMP).mean() < 4
    assert picture.notes == ("its EXIF data is damaged and was left out",)


def test_exif_behind_the_pixels_of_a_png_is_found(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist], exif[ExifTags.Base.Orientation] = "A. Person", 3
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "late.png").write_bytes(PNG[:-12] + png_chunk(b"eXIf", data) + PNG[-12:])
    picture = load_picture(tmp_path / "late.png")
    assert np.array_equal(picture.rgb, RAMP[::-1, ::-1])
    back = Image.Exif()
    back.load(picture.exif or b"")
    assert dict(back) == {ExifTags.Base.Artist: "A. Person"}


def test_rgb_profile_is_carried_and_a_foreign_one_left_out(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert load_picture(write(tmp_path / "p.jpg", Image.fromarray(RAMP), icc_profile=profile)).icc == profile
    wrong = load_picture(write(tmp_path / "w.jpg", Image.fromarray(RAMP).convert("CMYK"), icc_profile=profile))
    assert wrong.icc is None
    assert any("profile" in note for note in wrong.notes)
    junk = load_picture(write(tmp_path / "j.png", Image.fromarray(RAMP), icc_profile=b"no profile"))
    assert junk.icc is None


def grey_profile(gamma: float) -> bytes:
    """A minimal ICC v2 greyscale profile of one gamma value, put together by hand (ICC.1:2001)."""

    def tag(kind: bytes, body: bytes) -> bytes:
        data = kind + bytes(4) + body
        return data + bytes(-len(data) % 4)

    words = b"grey\0"
    parts = [
        (b"desc", tag(b"desc", struct.pack(">I", len(words)) + words + bytes(78))),
        (b"wtpt", tag(b"XYZ ", struct.pack(">3i", 63190, 65536, 54061))),
        (b"kTRC", tag(b"curv", struct.pack(">IH", 1, round(gamma * 256)))),
        (b"cprt", tag(b"text", words)),
    ]
    offset, table, body = 128 + 4 + 12 * len(parts), struct.pack(">I", len(parts)), b""
    for name, data in parts:
        table += name + struct.pack(">2I", offset + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s12s4s", 0, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ", bytes(12), b"acsp")
    head += bytes(128 - len(head) - 60) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    whole = head + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def test_a_grey_profile_is_applied(tmp_path: Path) -> None:
    grey = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (20, 1))
    picture = load_picture(write(tmp_path / "g.png", Image.fromarray(grey), icc_profile=grey_profile(1.0)))
    linear = grey / 255
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255  # IEC 61966-2-1
    assert np.abs(picture.rgb[..., 0] - srgb).max() <= 2
    assert picture.icc is None
    assert "colours converted from its own profile to sRGB" in picture.notes


@pytest.mark.parametrize("name", ["g.png", "g.tif", "floats.tif"])
def test_a_grey_profile_is_applied_to_16_bits_and_floats(tmp_path: Path, name: str) -> None:
    linear = np.tile(np.linspace(0, 1, 600, dtype=np.float32), (20, 1))
    stored = linear if name == "floats.tif" else np.round(linear * 65_535).astype(np.uint16)
    path = write(tmp_path / name, Image.fromarray(stored), icc_profile=grey_profile(1.0))
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255  # IEC 61966-2-1
    for deep in (True, False):
        picture = load_picture(path, deep=deep)
        assert np.abs(picture.rgb - srgb[..., None]).max() <= 1
        assert (picture.icc, picture.deep) == (None, None)
        assert "colours converted from its own profile to sRGB" in picture.notes


def test_a_profile_that_a_grey_picture_cannot_use_is_said(tmp_path: Path) -> None:
    rgb, wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), np.full((20, 20), 1e6, np.float32)
    for name, values, profile in (
        ("deep.png", (wide / 100).astype(np.uint16), rgb),
        ("wide.tif", wide, grey_profile(2.2)),
    ):
        picture = load_picture(write(tmp_path / name, Image.fromarray(values), icc_profile=profile))
        assert "its colour profile does not fit and was left out" in picture.notes


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), c) for c in ("red", "lime", "blue")]
    path = write(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    picture = load_picture(path)
    assert "an animation of 3 pictures: the first one is used" in picture.notes
    assert tuple(picture.rgb[5, 5]) == (255, 0, 0)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(width: int, height: int) -> bytes:
    """A PNG header of the given size with hardly any data behind it."""

    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", head), png_chunk(b"IDAT", zlib.compress(bytes(1000))), png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PNG, JPEG = encoded(Image.fromarray(RAMP), "PNG"), encoded(Image.fromarray(RAMP), "JPEG")

BAD = {
    "empty.png": (b"", "is empty"),
    "text.jpg": (b"dear reader\n" * 50, "is not a picture"),
    "cut.jpg": (JPEG[: len(JPEG) * 2 // 3], "damaged or cut short"),
    "cut.png": (PNG[: len(PNG) // 2], "damaged or cut short"),
    "bomb.png": (bomb(30_000, 20_000), "claims 600,000,000 pixels; the limit is 300,000,000"),
    "bomb2.png": (bomb(200_000, 200_000), "claims 40,000,000,000 pixels"),
    "dot.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), "is 1 x 1 pixels, which is too small to edit: 16 x 16"),
    "thin.png": (encoded(Image.new("RGB", (500, 15)), "PNG"), "is 500 x 15 pixels"),
    "draw.eps": (encoded(Image.fromarray(RAMP), "EPS"), "PostScript"),
}


def damaged_pngs() -> dict[str, bytes]:
    """RAMP as PNG files with one fault each, none of which Pillow's getexif() lets through."""
    start = PNG.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", PNG[start - 8 : start - 4])
    head, packed, tail = PNG[: start - 8], PNG[start : start + length], PNG[start + length + 4 :]
    stored = zlib.compress(zlib.decompress(packed), 0)  # pixels as they are: a changed one still decodes
    with_exif = png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0")
    whole = png_chunk(b"IDAT", packed)
    return {
        "a wrong sum": head + whole[:-4] + bytes(4) + tail,
        "a wrong sum of what decodes": head + png_chunk(b"IDAT", stored).replace(stored[200:300], bytes(100)) + tail,
        "broken deflate": head + png_chunk(b"IDAT", packed[: length // 2] + bytes(length // 2)) + tail,
        "half the data": head + png_chunk(b"IDAT", packed[: length // 2]) + tail,
        "no data": head + tail,
        "an end in the middle": head + whole[: length // 2],
        "an end before the end": head + whole,
        "broken deflate, with EXIF": head + with_exif + png_chunk(b"IDAT", packed[: length // 2] + bytes(9)) + tail,
    }


@pytest.mark.parametrize("case", damaged_pngs())
def test_a_damaged_png_is_refused(tmp_path: Path, case: str) -> None:
    (tmp_path / "p.png").write_bytes(damaged_pngs()[case])
    with pytest.raises(RequestError, match="is damaged or cut short and cannot be read as a picture"):
        load_picture(tmp_path / "p.png")


@pytest.mark.parametrize("default", [True, False])
def test_an_animated_or_interlaced_png_is_not_damaged(tmp_path: Path, default: bool) -> None:
    frames = [Image.fromarray(np.roll(RAMP, i, 1)) for i in range(3)]
    path = write(tmp_path / "a.png", frames[0], save_all=True, append_images=frames[1:], default_image=default)
    assert np.array_equal(load_picture(path).rgb, RAMP)


def test_libtiff_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of odd tags nor of damage: both lines would go past the program to the terminal, also with --quiet."""
    for compression in ("tiff_lzw", "jpeg", "tiff_adobe_deflate"):
        data = encoded(Image.fromarray(RAMP), "TIFF", compression=compression)
        (place,) = struct.unpack("<I", data[4:8])
        (count,) = struct.unpack("<H", data[place : place + 2])
        entries = data[place + 2 : place + 2 + 12 * count] + struct.pack("<HHII", 65_002, 99, 1, 7)
        odd = data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", count + 1) + entries + bytes(4)
        (tmp_path / "odd.tif").write_bytes(odd)
        assert np.abs(load_picture(tmp_path / "odd.tif").rgb.astype(int) - RAMP).mean() < 4
        (tmp_path / "bad.tif").write_bytes(data.replace(data[8:100], bytes(92)))
        with pytest.raises(RequestError, match="damaged"):
            load_picture(tmp_path / "bad.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line_with_the_path(tmp_path: Path, name: str) -> None:
    data, words = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RequestError) as caught:
        load_picture(tmp_path / name)
    assert words in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Image.MAX_IMAGE_PIXELS != 300_000_000  # Pillow's own setting is back


def test_missing_folder_device_and_odd_names(tmp_path: Path) -> None:
    for path, words in [
        (tmp_path / "none.jpg", "there is no file"),
        (tmp_path, "is a folder"),
        ("/dev/zero", "is not a file"),
        (tmp_path / ("x" * 400), "File name too long"),
        ("a\0b", "is not a file name"),
        (str(tmp_path / "two\nlines"), "there is no file"),
    ]:
        with pytest.raises(RequestError, match=words) as caught:
            load_picture(path)
        assert str(caught.value).isprintable()


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "p.png", Image.fromarray(RAMP))
    path.chmod(0)
    if os.geteuid() == 0:  # root reads everything

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RequestError, match="Permission denied"):
        load_picture(path)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_damaged_bytes_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    whole = bytearray(encoded(Image.fromarray(RAMP), form))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
    message = ""
    try:
        assert load_picture(path).rgb.dtype == np.uint8
    except RequestError as error:
        message = str(error)
    assert "\n" not in message


def test_layer_needs_alpha(tmp_path: Path) -> None:
    alpha = np.full((20, 30), 7, np.uint8)
    layer = load_layer(write(tmp_path / "l.png", Image.fromarray(np.dstack([RAMP, alpha]))))
    assert np.array_equal(layer.rgb, RAMP)
    assert np.array_equal(layer.alpha, alpha)
    with pytest.raises(RequestError, match="no alpha channel"):
        load_layer(write(tmp_path / "n.png", Image.fromarray(RAMP)))


def test_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = np.zeros((20, 30), np.uint8)
    half[:, 15:] = 255
    path = write(tmp_path / "m.png", Image.fromarray(half))
    assert np.array_equal(load_mask(path, (20, 30)), half)
    clear = np.linspace(0, 255, 600).reshape(20, 30).astype(np.uint8)
    of_alpha = load_mask(write(tmp_path / "a.png", Image.fromarray(np.dstack([RAMP, clear]))), (20, 30))
    monkeypatch.setattr(compositing, "STRIP_PIXELS", 7 * 30)
    assert np.array_equal(load_mask(tmp_path / "a.png", (20, 30)), of_alpha)
    assert np.abs(of_alpha - np.asarray(Image.fromarray(RAMP).convert("L")) / 255.0 * clear).max() <= 1
    large = load_mask(path, (200, 300))
    assert large.shape == (200, 300)
    assert not large[:, :100].any()
    assert (large[:, 200:] == 255).all()
    with pytest.raises(RequestError, match="the same shape"):
        load_mask(path, (30, 20))
