"""What a fit is given beside the frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from torch import Tensor

from t2l_cli.engine.motion.masks import FrameMask
from t2l_cli.errors import RequestError
from t2l_cli.jobs.excerpt import Excerpt, fitted_key
from t2l_cli.jobs.fit_inputs import given_masks
from t2l_cli.media.opening import register_formats
from t2l_cli.media.videos import probe
from t2l_cli.settings import FIT
from tests.tiny_videos import make_video


def test_a_single_mask_is_of_the_first_frame_that_is_wanted(tmp_path: Path) -> None:
    excerpt, mask = Excerpt(probe(make_video(tmp_path / "a.mkv")), (2, 6)), tmp_path / "mask.png"
    Image.new("L", (64, 48), 255).save(mask)
    for frame, index in ((None, 0), (2, 0), (5, 3)):
        made = given_masks(mask, frame, excerpt)
        assert isinstance(made, FrameMask)
        assert made.t == index
    with pytest.raises(RequestError, match="not among the frames 2 to 5"):
        given_masks(mask, 0, excerpt)
    keys = [fitted_key(excerpt, FIT.base, str(mask), frame) for frame in (None, 2, 3)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("name", ["mask.heic", "mask.ppm", "mask.jp2", "mask.gif", "mask.tga", "MASK.PNG", "mask"])
def test_a_mask_may_be_any_still_picture_that_is_read(name: str, tmp_path: Path) -> None:
    register_formats()
    excerpt, mask = Excerpt(probe(make_video(tmp_path / "a.mkv")), (2, 6)), tmp_path / name
    picture = Image.new("RGB", (64, 48))
    picture.paste((255, 255, 255), (0, 0, 32, 48))
    picture.save(mask, None if mask.suffix else "PNG")
    made = given_masks(mask, None, excerpt)
    assert isinstance(made, FrameMask)
    assert (made.t, made.mask[:, :28].min() > 240, made.mask[:, 36:].max() < 15) == (0, True, True)


def test_an_animation_has_a_mask_for_every_frame(tmp_path: Path) -> None:
    excerpt = Excerpt(probe(make_video(tmp_path / "a.mkv")), (0, 8))
    first, *rest = [Image.new("L", (64, 48), 255 if t < 3 else 0) for t in range(8)]
    rest = [picture.copy() for picture in rest]
    for t, picture in enumerate(rest, 1):
        picture.putpixel((t, 0), 128)  # else Pillow writes a frame that repeats as a longer one
    first.save(tmp_path / "mask.gif", save_all=True, append_images=rest, duration=40)
    made = given_masks(tmp_path / "mask.gif", None, excerpt)
    assert isinstance(made, Tensor)
    assert [int(mask[24, 32]) for mask in made] == [255] * 3 + [0] * 5


def test_a_mask_that_is_no_picture_is_called_that(tmp_path: Path) -> None:
    excerpt = Excerpt(probe(make_video(tmp_path / "a.mkv")), (0, 8))
    for name, words in (("mask.png", "is not a picture"), ("mask.heic", "is not a picture"), ("mask.mp4", "video")):
        (tmp_path / name).write_text("Dear reader, this is a letter.")
        with pytest.raises(RequestError, match=words):
            given_masks(tmp_path / name, None, excerpt)


def test_the_key_of_a_fit_is_of_every_frame(tmp_path: Path) -> None:
    for i in range(20):
        Image.new("RGB", (40, 24), (i, 0, 0)).save(tmp_path / f"{i:02d}.png")

    def key() -> str:
        return fitted_key(Excerpt(probe(tmp_path), (2, 18)), FIT.base)

    keys = [key()]
    for i in range(2, 18):  # one other frame after the other
        Image.new("RGB", (40, 24), (i, 1, 0)).save(tmp_path / f"{i:02d}.png")
        keys.append(key())
    assert len(set(keys)) == 17
    Image.new("RGB", (40, 24), (0, 1, 0)).save(tmp_path / "00.png")  # not wanted
    assert key() == keys[-1]
