"""What a fit is given beside the frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from t2l_cli.engine.motion.masks import FrameMask
from t2l_cli.errors import RequestError
from t2l_cli.jobs.excerpt import Excerpt, fitted_key
from t2l_cli.jobs.fit_inputs import given_masks
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
