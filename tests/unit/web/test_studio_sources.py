"""What the studio keeps of what the page sends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2l_cli.errors import RequestError
from t2l_cli.media.images import load_mask
from t2l_cli.web.sources import Sources
from tests.tiny_videos import make_video, picture


def test_a_photo_is_kept_under_the_name_of_its_contents(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    named = tmp_path / "photo of $(me); -x.JPG"
    Image.fromarray(picture(0)).save(named)
    first, again = Sources(folder).keep(named), Sources(folder).keep(named)
    assert first == again
    assert (first.video, first.size, first.path.parent) == (False, (64, 48), folder)
    assert first.path.read_bytes() == named.read_bytes()
    assert [path.name for path in folder.iterdir()] == [first.path.name]
    assert "photo" not in first.path.name
    odd = tmp_path / "x.p;n g"
    Image.fromarray(picture(1)).save(odd, "PNG")
    assert Sources(folder).keep(odd).path.suffix == ""


def test_a_turned_photo_is_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(0)).save(tmp_path / "a.jpg", exif=exif)
    source = Sources(tmp_path / "s").keep(tmp_path / "a.jpg")
    assert source.size == source.shown().size == (48, 64)


def test_a_video_is_shown_by_its_first_frame_of_those_wanted(tmp_path: Path) -> None:
    source = Sources(tmp_path / "s").keep(make_video(tmp_path / "a.mkv"))
    assert (source.video, source.size) == (True, (64, 48))
    assert (np.asarray(source.shown()) == picture(0)).all()
    assert (np.asarray(source.shown("3:5")) == picture(3)).all()
    with pytest.raises(RequestError):
        source.shown("5:3")


@pytest.mark.parametrize("text", [b"", b"hello", b'{"command": "edit-image"}'])
def test_what_is_neither_is_refused_and_not_kept(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / ("a.json" if text.startswith(b"{") else "a.png")
    path.write_bytes(text)
    with pytest.raises(RequestError):
        Sources(tmp_path / "s").keep(path)
    assert not (tmp_path / "s").exists()


def test_a_painted_mask_has_the_photos_size(tmp_path: Path) -> None:
    Image.fromarray(picture(0, (200, 100))).save(tmp_path / "a.png")
    sources = Sources(tmp_path / "s")
    sources.keep(tmp_path / "a.png")
    painted = np.zeros((50, 100), np.uint8)
    painted[10:40, 20:60] = 255
    place = sources.keep_mask(painted)
    mask = load_mask(place, (100, 200))
    assert mask.shape == (100, 200)
    assert mask[30:70, 50:110].min() == 255
    assert mask[:15].max() == mask[:, 130:].max() == 0
    assert sources.keep_mask(painted) == place
