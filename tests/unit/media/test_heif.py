"""Photos of phones: HEIF, in any orientation, with several pictures and with ten bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageCms

from t2l_cli.errors import RequestError
from t2l_cli.media.frames import frame_names
from t2l_cli.media.images import load_picture
from t2l_cli.media.marks import look_at
from t2l_cli.media.videos import probe

RAMP = np.dstack([*np.meshgrid(np.arange(64) * 3, np.arange(48) * 5), np.full((48, 64), 90)]).astype(np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int = 1) -> bytes:
    data = Image.Exif()
    data.update({274: orientation, 315: "A. Person"})
    return data.tobytes()


def heic(path: Path, *pictures: np.ndarray, orientation: int = 1, **more: object) -> Path:
    file = pillow_heif.HeifFile()
    for picture in pictures:
        file.add_frombytes("RGB", (picture.shape[1], picture.shape[0]), picture.tobytes())
    file.save(path, quality=-1, exif=exif(orientation), **more)
    return path


def close(picture: np.ndarray, expected: np.ndarray) -> bool:
    """The same but for the loss of a video codec, with one hue for four pixels."""
    return picture.shape == expected.shape and np.abs(picture.astype(int) - expected).mean() < 3


def test_a_photo_of_a_phone_is_read_with_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    Image.fromarray(RAMP).save(path.with_suffix(".png"))
    pillow_heif.register_heif_opener()
    Image.fromarray(RAMP).save(path, exif=exif(), icc_profile=PROFILE, quality=95)
    picture = load_picture(path)
    assert close(picture.rgb, RAMP)
    assert (picture.icc, picture.alpha, picture.notes) == (PROFILE, None, ())
    assert b"A. Person" in (picture.exif or b"")
    facts = look_at(path)
    assert (facts.values["format"], facts.values["width"], facts.values["height"]) == ("HEIF", 64, 48)


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 3), (8, 1)])
def test_it_is_upright_once(tmp_path: Path, orientation: int, turn: int) -> None:
    picture = load_picture(heic(tmp_path / "photo.heic", RAMP, orientation=orientation))
    assert close(picture.rgb, np.rot90(RAMP, turn))
    back = Image.Exif()
    back.load(picture.exif or b"")
    assert ExifTags.Base.Orientation not in back


def test_of_several_pictures_the_main_one_is_used(tmp_path: Path) -> None:
    picture = load_picture(heic(tmp_path / "photo.heif", 255 - RAMP, RAMP, primary_index=1))
    assert close(picture.rgb, RAMP)
    assert picture.notes == ("a file of 2 pictures: the main one is used",)


def test_ten_bits_become_eight_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    deep = (RAMP.astype(np.uint16) * 257).tobytes()
    pillow_heif.encode("RGB;16", (64, 48), deep, path, quality=-1)
    picture = load_picture(path)
    assert close(picture.rgb, RAMP)
    assert picture.notes == ("10-bit RGB converted to 8-bit RGB",)


def test_a_folder_of_them_is_a_video_and_one_of_them_is_not(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    photo = heic(tmp_path / "frames" / "1.heic", RAMP)
    assert frame_names(photo.parent) == ("1.heic",)
    with pytest.raises(RequestError, match="a still picture, not a video"):
        probe(photo)


def test_one_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    photo = heic(tmp_path / "photo.heic", RAMP)
    photo.write_bytes(photo.read_bytes()[:-200])
    with pytest.raises(RequestError, match=r"photo\.heic is (damaged|not a picture)"):
        load_picture(photo)
