"""Sixteen bits per channel: in and out of PNG and TIFF, and the composite of them."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms

from t2l_cli.media import compositing
from t2l_cli.media.compositing import Rows, composite, deepened, flattened, over, quantise_layer
from t2l_cli.media.images import load_layer, load_picture, save_like
from t2l_cli.media.output import save_layer, save_picture
from t2l_cli.media.tags import Tags
from t2l_cli.media.xmp import Mark

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65_536, (41, 30, 4), dtype=np.uint16)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
level = st.integers(0, 65_535)


@given(level, level, level)
def test_a_composite_is_the_exact_mean_rounded(photo: int, layer: int, alpha: int) -> None:
    rgb, colour = np.full((1, 1, 3), photo, np.uint16), np.full((1, 1, 3), layer, np.uint16)
    got = int(composite(rgb, colour, np.full((1, 1), alpha, np.uint16))[0, 0, 0])
    assert abs(got - Fraction(alpha * layer + (65_535 - alpha) * photo, 65_535)) <= Fraction(1, 2)


def test_eight_bits_become_sixteen_and_come_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert (int(deepened(levels).whole().max()), deepened(levels).whole().dtype) == (65_535, np.uint16)
    assert np.array_equal(flattened(deepened(levels)).whole(), levels)
    assert np.abs(flattened(DEEP).whole() - DEEP / 257).max() <= 0.5


def test_layers_of_different_bits_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        composite(DEEP[..., :3], DEEP[..., :3].astype(np.uint8), DEEP[..., 3])


def test_over_keeps_the_pictures_own_alpha() -> None:
    layer = RNG.integers(0, 65_536, DEEP.shape, dtype=np.uint16)
    result = over(layer, DEEP).whole()
    assert np.array_equal(result[..., 3], DEEP[..., 3])
    assert np.array_equal(result[..., :3], composite(DEEP[..., :3], layer[..., :3], layer[..., 3]))


def test_a_layer_has_as_many_levels_as_are_asked_for() -> None:
    rgb, alpha = RNG.random((9, 8, 3)), RNG.random((9, 8))
    colour, cover = quantise_layer(rgb, alpha, deep=True)
    assert colour.dtype == cover.dtype == np.uint16
    assert max(np.abs(colour - rgb * 65_535).max(), np.abs(cover - alpha * 65_535).max()) <= 0.5


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_every_level_comes_back(tmp_path: Path, suffix: str, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compositing, "STRIP_PIXELS", 7 * DEEP.shape[1])
    path = tmp_path / f"p{suffix}"
    alpha = DEEP[..., 3] if channels == 4 else None
    exif = Image.Exif()
    exif[315] = "A. Person"
    assert save_picture(path, DEEP[..., :3], alpha, Tags(PROFILE, exif.tobytes()), mark=Mark("{}")) == ()
    picture = load_picture(path, deep=True)
    assert picture.deep is not None
    assert picture.deep.dtype == np.uint16
    assert np.array_equal(picture.deep, DEEP[..., :channels])
    assert (picture.icc, picture.notes) == (PROFILE, ())
    assert b"A. Person" in (picture.exif or b"")
    assert picture.trained
    assert np.abs(picture.rgb - DEEP[..., :3] / 257).max() <= 1
    assert load_picture(path).deep is None
    assert load_picture(path).notes[0].startswith("16-bit RGB converted to 8-bit RGB")


@settings(deadline=None, max_examples=25)
@given(hnp.arrays(np.uint16, st.sampled_from([(16, 17), (17, 16, 3), (16, 16, 4)]), elements=level))
def test_pngs_are_read_by_others(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "deep.png"
    alpha = pixels[..., 3] if pixels.ndim == 3 and pixels.shape[2] == 4 else None
    save_picture(path, pixels[..., :3] if pixels.ndim == 3 else pixels, alpha, overwrite=True)
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert np.array_equal(read if read.ndim == 2 else np.dstack([read[..., 2::-1], read[..., 3:]]), pixels)
    with Image.open(path) as image:
        image.verify()


def test_a_smooth_png_is_not_longer_than_opencvs(tmp_path: Path) -> None:
    y, x = np.mgrid[:200, :300]
    noise = RNG.integers(0, 40, (200, 300, 3))
    smooth = (np.stack([x * 200, y * 300, (x + y) * 100], -1) + noise).astype(np.uint16)
    save_picture(tmp_path / "a.png", smooth)
    cv2.imwrite(str(tmp_path / "b.png"), smooth[..., ::-1])
    assert (tmp_path / "a.png").stat().st_size < 1.05 * (tmp_path / "b.png").stat().st_size


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_imagemagick_reads_the_same_levels(tmp_path: Path, suffix: str) -> None:
    if shutil.which("identify") is None:
        pytest.skip("there is no ImageMagick here")
    save_picture(tmp_path / f"p{suffix}", DEEP[..., :3])
    ask = ["identify", "-format", "%z %[fx:p{3,5}.r*65535] %[fx:p{3,5}.b*65535]", str(tmp_path / f"p{suffix}")]
    depth, red, blue = subprocess.run(ask, capture_output=True, check=True, text=True).stdout.split()
    assert (int(depth), round(float(red)), round(float(blue))) == (16, DEEP[5, 3, 0], DEEP[5, 3, 2])


def by_opencv(path: Path, pixels: np.ndarray) -> Path:
    """Written as another program does: TIFF is compressed and predicted."""
    assert cv2.imwrite(str(path), pixels if pixels.ndim == 2 else np.dstack([pixels[..., 2::-1], pixels[..., 3:]]))
    return path


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_what_others_write_is_read(tmp_path: Path, suffix: str) -> None:
    for channels in (3, 4):
        picture = load_picture(by_opencv(tmp_path / f"p{channels}{suffix}", DEEP[..., :channels]), deep=True)
        assert np.array_equal(picture.deep, DEEP[..., :channels])
    grey = load_picture(by_opencv(tmp_path / f"grey{suffix}", DEEP[..., 0]), deep=True)
    assert np.array_equal(grey.deep, np.dstack([DEEP[..., 0]] * 3))
    assert grey.notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_as_upright_as_in_eight_bits(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    save_picture(tmp_path / "p.tif", DEEP[..., :3])
    save_picture(tmp_path / "q.png", DEEP[..., :3], beside=Tags(exif=exif.tobytes()))
    picture = load_picture(tmp_path / "q.png", deep=True)
    assert picture.deep is not None
    assert picture.deep.shape == picture.rgb.shape
    assert np.abs(picture.rgb - picture.deep / 257).max() <= 1


def test_pictures_of_eight_bits_stay_so(tmp_path: Path) -> None:
    save_picture(tmp_path / "p.png", DEEP[..., :3].astype(np.uint8))
    picture = load_picture(tmp_path / "p.png", deep=True)
    assert picture.deep is None
    assert picture.finest.dtype == np.uint8


def test_what_opencv_reads_otherwise_is_taken_in_eight_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_picture(tmp_path / "p.png", DEEP[..., :3])
    for wrong in (DEEP[..., :3] // 2, DEEP, DEEP[:30], DEEP[..., 0].astype(np.uint8), None):
        monkeypatch.setattr(cv2, "imdecode", lambda data, flags, wrong=wrong: None if wrong is None else wrong.copy())
        picture = load_picture(tmp_path / "p.png", deep=True)
        assert picture.deep is None
        assert picture.notes == ("16-bit RGB converted to 8-bit RGB",)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_odd_chunks_are_passed_over_silently(channels: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """libpng would say on stderr that each of them is invalid."""
    data = by_opencv(tmp_path / "p.png", DEEP[..., 0] if channels == 1 else DEEP[..., :channels]).read_bytes()
    profile = _chunk(b"iCCP", b"x\0\0" + zlib.compress(b"junk" * 50))
    odd = profile + _chunk(b"sRGB", b"\x09") + _chunk(b"bKGD", b"\0") + _chunk(b"sBIT", b"\0" * 9)
    (tmp_path / "odd.png").write_bytes(data[:33] + odd + data[33:])  # after the header
    picture, plain = (load_picture(tmp_path / name, deep=True) for name in ("odd.png", "p.png"))
    assert picture.deep is not None
    assert plain.deep is not None
    assert np.array_equal(picture.deep, plain.deep)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".bmp"])
def test_a_format_of_eight_bits_says_so(tmp_path: Path, suffix: str) -> None:
    save_picture(tmp_path / "p.png", DEEP[..., :3], DEEP[..., 3])
    picture = load_picture(tmp_path / "p.png", deep=True)
    notes = save_like(tmp_path / f"out{suffix}", picture.finest, picture, None)
    assert "holds 8 bits per channel" in notes[0]
    assert load_picture(tmp_path / f"out{suffix}").size == picture.size


def test_a_layer_keeps_its_levels(tmp_path: Path) -> None:
    save_layer(tmp_path / "layer.png", Rows(DEEP.shape, lambda rows: DEEP[rows], np.uint16))
    assert np.array_equal(load_layer(tmp_path / "layer.png", deep=True).deep, DEEP)
