"""Small pictures and videos."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from t2l_cli.media.images import Picture
from t2l_cli.media.small import reduced, small_video, thumbnail, webp
from t2l_cli.media.videos import probe, read_frames
from tests.tiny_videos import SIXHUNDREDTH, VFR, make_video


@pytest.mark.parametrize(
    ("size", "side", "expected"), [((100, 40), 50, (50, 20)), ((40, 20), 50, (40, 20)), ((900, 1), 3, (3, 1))]
)
def test_a_picture_is_reduced_but_never_enlarged(size: tuple[int, int], side: int, expected: tuple[int, int]) -> None:
    assert reduced(Image.new("RGB", size), side).size == expected


def test_a_thumbnail_is_in_srgb_and_keeps_its_opacity() -> None:
    rgb, alpha = np.full((20, 40, 3), (200, 30, 90), np.uint8), np.full((20, 40), 77, np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (None, srgb, b"no profile"):
        small = thumbnail(Picture(rgb, alpha, icc), 10)
        assert (small.mode, small.size) == ("RGBA", (10, 5))
        assert small.getpixel((3, 3)) == pytest.approx((200, 30, 90, 77), abs=2)
    with Image.open(io.BytesIO(webp(small))) as image:
        assert (image.format, image.size, image.mode) == ("WEBP", (10, 5), "RGBA")


def test_a_small_video_keeps_its_times_and_has_even_sides(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "video.mp4", VFR, SIXHUNDREDTH, size=(51, 33), audio="aac"))
    frames = list(read_frames(info))
    data = small_video(frames, info, 100_000)
    (tmp_path / "small.mp4").write_bytes(data)
    small = probe(tmp_path / "small.mp4")
    assert (small.width, small.height, small.frames, small.audio) == (52, 32, len(VFR), False)
    times = [frame.pts * small.time_base for frame in read_frames(small)]
    assert times == [(pts - VFR[0]) * SIXHUNDREDTH for pts in VFR]
    assert small_video(frames, info, 100_000) == data
    assert len(small_video(frames, info, 1)) < len(data)  # as small as it can be
