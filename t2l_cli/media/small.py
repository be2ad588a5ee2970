"""Pictures and videos made small, to be looked at on a page."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from PIL import Image, ImageCms

from t2l_cli.errors import OutputError
from t2l_cli.media.atomic import temporary_folder
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.images import Picture
from t2l_cli.media.muxing import Recipe, VideoFile
from t2l_cli.media.paths import reason
from t2l_cli.media.videos import Frame, VideoInfo, read_frames

_RUNGS = ((1.0, 30), (0.75, 34), (0.5, 38))  # of a video: part of its size, and x264's crf, the larger the worse


def thumbnail(picture: Picture, side: int) -> Image.Image:
    """``picture`` in sRGB, RGB or RGBA, reduced to at most ``side`` px on its longer side."""
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    small = reduced(image, side)
    if picture.icc is None:
        return small
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):  # a profile that is none
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.icc))
        return ImageCms.profileToProfile(small, profile, ImageCms.createProfile("sRGB")) or small
    return small


def small_frame(info: VideoInfo, t: int, side: int) -> Image.Image:
    """Frame ``t`` of a video, from 0, RGB, reduced to at most ``side`` px on its longer side."""
    frame = next(iter(read_frames(info, (t, t + 1))))
    return reduced(Image.fromarray(frame.rgb), side)


def reduced(image: Image.Image, side: int) -> Image.Image:
    """``image`` with at most ``side`` px on its longer side; smaller ones stay as they are."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)


def webp(image: Image.Image, quality: int = 80) -> bytes:
    """``image`` as a WebP file."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def small_video(frames: Sequence[Frame], info: VideoInfo, limit: int) -> bytes:
    """``frames`` of the video ``info`` as an MP4 file with H.264, without sound, of about ``limit`` bytes at most.

    The frames have one size, which may be smaller than that of the video. OutputError where it cannot be encoded.
    """
    data = b""
    for part, crf in _RUNGS:
        data = _encoded(frames, info, part, crf)
        if len(data) <= limit:
            break
    return data


def _encoded(frames: Sequence[Frame], info: VideoInfo, part: float, crf: int) -> bytes:
    height, width = (max(2, round(side * part / 2) * 2) for side in frames[0].rgb.shape[:2])  # H.264 wants even sides
    # Without a path, there is no sound to copy. One thread: the bytes hang on how many there are.
    own = replace(info, path=Path(), width=width, height=height, audio=False)
    recipe = Recipe("libx264", "yuv420p", {"crf": str(crf), "preset": "slow", "threads": "1"})
    try:
        with temporary_folder() as folder:
            path = folder / "small.mp4"
            with VideoFile(path, own, "h264", partial=True, keep=False, recipe=recipe) as video:
                for frame in frames:
                    video.write(frame, _resized(frame.rgb, width, height), None)
            return path.read_bytes()
    except FFmpegError as error:
        raise OutputError(f"could not encode a small video: {error.strerror}.") from error
    except OSError as error:
        raise OutputError(f"could not encode a small video: {reason(error)}.") from error


def _resized(rgb: Bytes, width: int, height: int) -> Bytes:
    if rgb.shape[:2] == (height, width):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
