"""EXIF and colour profile on their way through a file: kept in every format, and no picture is lost to them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from t2l_cli.errors import DeviceMemoryError, OutputError
from t2l_cli.media.compositing import Rows
from t2l_cli.media.exif import lighter
from t2l_cli.media.images import load_picture
from t2l_cli.media.output import FORMATS, Format, save_picture
from t2l_cli.media.tags import Tags

RGB = np.dstack([*np.meshgrid(np.arange(30) * 8, np.arange(20) * 9), np.full((20, 30), 50)]).astype(np.uint8)
ALPHA = np.tile(np.arange(30, dtype=np.uint8) * 8, (20, 1))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TAGGED = [suffix for suffix, form in FORMATS.items() if form.tags]
MAIN = {271: "Maker", 272: "A camera", 305: "1.0", 306: "2024:05:06 07:08:09", 315: "A. Person", 33432: "(c) A. Person"}
SHOT = {
    33434: IFDRational(1, 250),
    33437: IFDRational(28, 10),
    34855: 102_400,
    36864: b"0232",
    36867: "2024:05:06 07:08:09",
    37121: b"\1\2\3\0",
    37380: IFDRational(-1, 3),
    37500: b"a maker's own" * 9,
    37510: b"ASCII\0\0\0hello",
    42034: (24.0, 70.0, 2.8, 4.0),
    42036: "24-70mm",
}
PLACE = {0: b"\2\3\0\0", 1: "N", 2: (52.0, 30.0, 1.5), 3: "E", 4: (13.0, 20.0, 7.25), 5: b"\0", 29: "2024:05:06"}


def camera_exif(**more: Any) -> Image.Exif:
    """EXIF as a camera writes it, with sub-folders; ``t282=...`` sets a tag of the main folder."""
    exif = Image.Exif()
    exif.update(MAIN | {282: IFDRational(300), 283: IFDRational(300), 296: 2, 531: 1})
    exif[ExifTags.IFD.Exif] = SHOT | {0xA002: 30, 0xA003: 20, 0xA005: 1234}
    exif[ExifTags.IFD.GPSInfo] = PLACE
    exif.update({int(name[1:]): value for name, value in more.items()})
    return exif


def photo(path: Path, exif: Image.Exif | bytes, form: str = "JPEG") -> Path:
    Image.fromarray(RGB).save(path, form, exif=exif if isinstance(exif, bytes) else exif.tobytes(), quality=95)
    return path


def story(path: Path) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    """The tags of a file: main folder without what is a TIFF's own, shot, place."""
    with Image.open(path) as image:
        exif = image.getexif()
        own = {*range(256, 260), 262, 273, 277, 278, 279, 284, 338, 34665, 34853, 34675}
        main = {tag: exif[tag] for tag in exif if tag not in own}
        return main, dict(exif.get_ifd(ExifTags.IFD.Exif)), dict(exif.get_ifd(ExifTags.IFD.GPSInfo))


def there_and_back(tmp_path: Path, exif: Image.Exif | bytes, suffix: str) -> tuple[str, ...]:
    """Read a JPEG with ``exif`` and write it as out``suffix``; the notes of both."""
    picture = load_picture(photo(tmp_path / "photo.jpg", exif))
    notes = save_picture(tmp_path / f"out{suffix}", picture.rgb, picture.alpha, picture.beside, True)
    assert load_picture(tmp_path / f"out{suffix}").size == picture.size
    return picture.notes + notes


@pytest.mark.parametrize("suffix", TAGGED)
def test_a_cameras_exif_arrives_in_every_format(tmp_path: Path, suffix: str) -> None:
    assert there_and_back(tmp_path, camera_exif(), suffix) == ()
    main, shot, place = story(tmp_path / f"out{suffix}")
    assert main == MAIN | {282: 300, 283: 300, 296: 2}
    assert shot == SHOT
    assert place == PLACE


ODD: dict[str, dict[str, Any]] = {
    "resolution 0/0": {"t282": IFDRational(0, 0), "t283": IFDRational(0, 0)},
    "resolution 0": {"t282": IFDRational(0), "t283": IFDRational(5, 0)},
    "unit 0": {"t296": 0},
    "tags of nobody": {"t50000": b"abc", "t59999": "text", "t60000": (1, 2, 3), "t65000": 1.5, "t40091": b"x\0y\0"},
    "packets that travel elsewhere": {"t700": b"<x/>", "t33723": b"\x1c\x02", "t34377": b"8BIM", "t34675": b"icc"},
    "a way to turn it": {"t274": 6},
    "the old file's structure": {
        "t256": 9,
        "t259": 7,
        "t273": 5,
        "t279": 5,
        "t320": (1,) * 768,
        "t330": 8,
        "t347": b"",
    },
}


@pytest.mark.parametrize("suffix", TAGGED)
@pytest.mark.parametrize("case", ODD)
def test_odd_tags_cost_nothing_but_themselves(tmp_path: Path, case: str, suffix: str) -> None:
    assert there_and_back(tmp_path, camera_exif(**ODD[case]), suffix) == ()
    main, shot, place = story(tmp_path / f"out{suffix}")
    assert main.items() >= MAIN.items()
    assert (shot, place) == (SHOT, PLACE)
    assert main.get(296) != 0
    assert not main.keys() & {700, 33723, 34377, 274, 320, 330, 347}


@pytest.mark.parametrize("suffix", TAGGED)
def test_text_beyond_ascii_keeps_its_bytes(tmp_path: Path, suffix: str) -> None:
    exif = camera_exif(t315="© Jürgen".encode(), t33432="© J".encode("latin-1"))
    exif[ExifTags.IFD.Exif] = SHOT | {42036: "24-70mm (R)"}
    data = exif.tobytes().replace(b"24-70mm (R)", "24-70mm®\0\0".encode())
    assert there_and_back(tmp_path, data, suffix) == ()
    main, shot, _ = story(tmp_path / f"out{suffix}")
    assert main[315].encode("latin-1").decode() == "© Jürgen"
    assert main[33432] == "© J"
    assert shot[42036].encode("latin-1").decode().rstrip("\0") == "24-70mm®"


def as_text(exif: bytes, tag: int, rationals: int) -> bytes:
    """``exif``, big-endian, with the type of ``tag``, which is ``rationals`` fractions, changed to text."""
    entry, damaged = struct.pack(">HHL", tag, 5, rationals), struct.pack(">HHL", tag, 2, 8 * rationals)
    assert exif.count(entry) == 1
    return exif.replace(entry, damaged)


@pytest.mark.parametrize(("folder", "tag", "rationals"), [(0, 282, 1), (2, 2, 3)])
def test_a_damaged_tag_costs_that_tag(tmp_path: Path, folder: int, tag: int, rationals: int) -> None:
    notes = there_and_back(tmp_path, as_text(camera_exif().tobytes(), tag, rationals), ".tif")
    assert notes == ("a part of its EXIF data is damaged and was left out",)
    for i, (found, whole) in enumerate(zip(story(tmp_path / "out.tif"), (MAIN, SHOT, PLACE), strict=True)):
        assert found.items() >= {key: value for key, value in whole.items() if key != tag}.items()
        assert i != folder or tag not in found


def test_a_long_makers_note_is_left_out_only_where_it_does_not_fit(tmp_path: Path) -> None:
    exif = camera_exif()
    exif[ExifTags.IFD.Exif] = SHOT | {37500: bytes(200_000)}
    picture = load_picture(photo(tmp_path / "photo.png", exif, "PNG"))
    assert picture.notes == ()
    for suffix in TAGGED:
        path = tmp_path / f"out{suffix}"
        notes = save_picture(path, picture.rgb, beside=picture.beside)
        _, shot, place = story(path)
        if FORMATS[suffix].name == "JPEG":
            assert notes == (f"JPEG cannot hold the camera maker's note in the EXIF data: {path} is without it",)
            assert 37500 not in shot
        else:
            assert notes == ()
            assert len(shot[37500]) == 200_000
        assert shot[34855] == 102_400
        assert place == PLACE


def test_a_large_profile_comes_back_from_every_format(tmp_path: Path) -> None:
    """A scanner's profile is a table of a megabyte or two; and a text of that size may lie beside it in a PNG."""
    icc = PROFILE[:128] + np.random.default_rng(0).bytes(2_000_000)
    for suffix in TAGGED:
        assert save_picture(tmp_path / f"p{suffix}", RGB, beside=Tags(icc)) == ()
        picture = load_picture(tmp_path / f"p{suffix}")
        assert (picture.icc, picture.notes) == (icc, ())
    info = PngInfo()
    info.add_text("Comment", "x" * 3_000_000, zip=True)
    Image.fromarray(RGB).save(tmp_path / "text.png", pnginfo=info)
    assert np.array_equal(load_picture(tmp_path / "text.png").rgb, RGB)


def test_exif_that_does_not_fit_at_all_is_left_out_with_a_note(tmp_path: Path) -> None:
    picture = load_picture(photo(tmp_path / "photo.png", camera_exif(t315="x" * 100_000), "PNG"))
    path = tmp_path / "out.jpg"
    assert save_picture(path, picture.rgb, beside=Tags(PROFILE, picture.exif)) == (
        f"JPEG cannot hold the EXIF data: {path} is without it",
    )
    with Image.open(path) as image:
        assert not image.getexif()
        assert image.info["icc_profile"] == PROFILE


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=120)
@given(st.sampled_from(TAGGED), st.binary(max_size=400), st.binary(max_size=400), st.integers(0, 10**9), st.booleans())
def test_no_picture_is_lost_to_metadata(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, icc: bytes, exif: bytes, seed: int, mutate: bool
) -> None:
    """Whatever bytes are called profile and EXIF, the pixels are written and read back."""
    if mutate:
        whole = bytearray(camera_exif().tobytes())
        places = np.random.default_rng(seed).integers(6, len(whole), 5)
        for place in places:
            whole[place] = seed % 256
        exif, icc = bytes(whole), PROFILE[:128] + icc
    path = tmp_path_factory.getbasetemp() / f"metadata{suffix}"
    notes = save_picture(path, RGB, None, Tags(icc, exif), overwrite=True)
    assert all(note.startswith(FORMATS[suffix].name) for note in notes)
    levels = np.sort(load_picture(path).rgb.astype(int), axis=None)  # whichever way an orientation among them turns it
    difference = np.abs(levels - np.sort(RGB, axis=None))
    assert difference.mean() <= 3
    assert FORMATS[suffix].name not in ("PNG", "TIFF") or not difference.any()


def test_what_an_encoder_refuses_is_left_out_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any failure, with any part of the metadata, and nothing more is left out than has to be."""
    exif = camera_exif().tobytes()

    def encoder(refused: Any) -> Any:
        def encode(pixels: Any, tags: Tags) -> bytes:
            if refused(tags.icc, tags.exif):
                raise RuntimeError("Error setting from dictionary")
            return repr((tags.icc and "icc", tags.exif and ("all" if tags.exif == exif else "part"))).encode()

        return encode

    for refused, kept, words in [
        (lambda icc, story: False, ("icc", "all"), None),
        (lambda icc, story: story == exif, ("icc", "part"), "the camera maker's note in the EXIF data"),
        (lambda icc, story: story, ("icc", None), "the EXIF data"),
        (lambda icc, story: icc, (None, "all"), "the colour profile"),
        (lambda icc, story: icc or story, (None, None), "the colour profile and the EXIF data"),
    ]:
        monkeypatch.setitem(FORMATS, ".png", Format("ODD", encoder(refused)))
        notes = save_picture(tmp_path / "p.png", RGB, beside=Tags(PROFILE, exif), overwrite=True)
        assert (tmp_path / "p.png").read_text() == repr(kept)
        assert notes == ((f"ODD cannot hold {words}: {tmp_path / 'p.png'} is without it",) if words else ())
    monkeypatch.setitem(FORMATS, ".png", Format("ODD", encoder(lambda icc, story: True)))
    with pytest.raises(OutputError, match=r"could not encode .* as ODD: Error setting"):
        save_picture(tmp_path / "p.png", RGB, beside=Tags(PROFILE, exif), overwrite=True)


@pytest.mark.parametrize("failure", [MemoryError, DeviceMemoryError, KeyboardInterrupt])
def test_pixels_that_cannot_be_made_are_no_reason_to_leave_metadata_out(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    tries: list[slice] = []

    def make(rows: slice) -> Any:
        tries.append(rows)
        raise failure("no room")

    for suffix in FORMATS:
        tries.clear()
        with pytest.raises(failure):
            save_picture(tmp_path / f"p{suffix}", Rows((20, 30, 3), make), beside=Tags(PROFILE))
        assert len(tries) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(1, 1, 3), (20, 30, 4), (3, 90_000, 3), (700, 500, 4)])
def test_tiff_is_read_by_others(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    alpha = pixels[..., 3] if shape[2] == 4 else None
    save_picture(tmp_path / "p.tif", pixels[..., :3], alpha, Tags(PROFILE, camera_exif().tobytes()))
    with Image.open(tmp_path / "p.tif") as image:
        assert np.array_equal(np.asarray(image), pixels)
        assert image.info["compression"] == "tiff_adobe_deflate"
        assert image.info["dpi"] == (300, 300)
    if alpha is None:  # OpenCV premultiplies
        read = cv2.imread(str(tmp_path / "p.tif"), cv2.IMREAD_UNCHANGED)
        assert read is not None
        assert np.array_equal(read[..., ::-1], pixels)


def test_lighter_is_without_the_makers_note_alone() -> None:
    exif = camera_exif().tobytes()
    light = lighter(exif)
    assert light is not None
    back = Image.Exif()
    back.load(light)
    assert back.get_ifd(ExifTags.IFD.Exif) == {tag: value for tag, value in SHOT.items() if tag != 37500} | {
        0xA002: 30,
        0xA003: 20,
        0xA005: 1234,
    }
    assert lighter(light) is None
    assert lighter(b"no EXIF") is None
    alone = Image.Exif()
    alone[ExifTags.IFD.Exif] = {37500: b"x" * 99}
    assert lighter(alone.tobytes()) is None
    Image.new("RGB", (9, 9)).save(io.BytesIO(), "JPEG", exif=light)
