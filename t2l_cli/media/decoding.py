"""Reads video files through PyAV: opened safely, decoded in display order, each picture as upright 8-bit RGB."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from PIL import Image

from t2l_cli.errors import RequestError
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.images import MIN_PICTURE_SIDE
from t2l_cli.media.opening import register_formats
from t2l_cli.media.paths import reason, shown

MAX_SIDE = 16_384  # px; libx264's limit
DEFAULT_RATE = Fraction(25)  # frames per second if the file does not say

# Chroma is repeated when reading and averaged when writing. One exactly undoes the other, so that an unedited frame
# comes back unchanged; swscale's defaults lose more than a level of brightness each way.
_EXACT = 0x40000 | 0x2000  # SWS_ACCURATE_RND, SWS_FULL_CHR_H_INT: PyAV 17 has no names for them
TO_RGB = 0x10 | _EXACT  # SWS_POINT
FROM_RGB = 0x20 | _EXACT  # SWS_AREA

# Colour matrices by number, as frames name them (ITU-T H.273, MatrixCoefficients) -> as swscale does (SWS_CS_*).
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709, _BT601 = 1, 5

# FFmpeg's demuxers that may read a file: each of them reads only that file. Some of the others (hls, concat, dash, imf)
# follow playlists, whatever the file's name: they would read other files, or wait forever for a broadcast to end.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,apng,mxf,nut,rm,wtv,dv,ivf,gxf,nsv,"
    "yuv4mpegpipe,mpegvideo,m4v,h261,h263,h264,hevc,vvc,av1,obu,vc1,dirac,mjpeg,mpjpeg,"
    "wav,mp3,flac,aac"  # to say that they hold no video
)


_STILL = "is a still picture, not a video; give a video file or a folder of frames"
_STILL_BRANDS = {"heic", "heix", "heim", "heis", "mif1", "avif"}  # of HEIF and AVIF (ISO 23008-12)


class Decoded(NamedTuple):
    """One decoded picture, as stored, with its time and duration in units of the stream's time base."""

    picture: VideoFrame
    pts: int
    duration: int  # 0: unknown


class Turn(NamedTuple):
    """How to turn a stored picture upright: first swap the axes, then mirror."""

    swap: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def words(self) -> str:
        """The turn in words, for a note; "" if there is none."""
        degrees = {(True, True, False): 90, (False, True, True): 180, (True, False, True): 270}.get(self)
        if degrees is not None:
            return f"turned by {degrees} degrees"
        return "mirrored" if any(self) else ""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file: its container and its main video track. RequestError if there is no readable track."""
    check_readable(path)
    try:
        # An absolute path, and files only: a name like http:x must not fetch anything.
        limits = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        container = av.open(os.path.abspath(path), "r", options=limits, metadata_errors="replace")
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise RequestError(f"cannot read {shown(path)}: {reason(error)}.") from error
        if _is_picture(path):
            raise RequestError(f"{shown(path)} {_STILL}.") from error
        what = "is not a video that t2l reads, or it is cut short; playlists are not followed"
        raise RequestError(f"{shown(path)} {what}.") from error
    with container:
        if container.metadata.get("major_brand") in _STILL_BRANDS:  # to FFmpeg, a video of one frame
            raise RequestError(f"{shown(path)} {_STILL}.")
        yield container, _main_track(path, container)


def _is_picture(path: Path) -> bool:
    register_formats()
    with contextlib.suppress(Exception), Image.open(path):
        return True
    return False


def check_readable(path: Path) -> None:
    """Raise RequestError unless ``path`` is a readable regular file that is not empty."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RequestError(f"{shown(path)} is neither a video file nor a folder of frames.")
        if status.st_size == 0:
            raise RequestError(f"{shown(path)} is empty.")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise RequestError(f"there is no file or folder {shown(path)}.") from error
    except OSError as error:
        raise RequestError(f"cannot read {shown(path)}: {reason(error)}.") from error
    except ValueError as error:  # a null byte in the name
        raise RequestError(f"{shown(path)} is not a file name.") from error


def check_size(path: Path, width: int, height: int) -> None:
    """Raise RequestError if frames of ``width`` x ``height`` px are too small to edit or too large to write."""
    if min(width, height) < MIN_PICTURE_SIDE:
        least = f"{MIN_PICTURE_SIDE} x {MIN_PICTURE_SIDE}"
        raise RequestError(f"{shown(path)} is {width} x {height} pixels, which is too small to edit: {least} at least.")
    if max(width, height) > MAX_SIDE:
        raise RequestError(f"{shown(path)} is {width} x {height} pixels; the limit is {MAX_SIDE:,} a side.")


def _main_track(path: Path, container: InputContainer) -> VideoStream:
    # To FFmpeg, an album cover is a video track.
    tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    if not tracks:
        raise RequestError(f"{shown(path)} holds no video.")
    best = container.streams.best("video")
    track = best if isinstance(best, VideoStream) and best in tracks else tracks[0]
    # Without a decoder in this build of FFmpeg, PyAV gives no codec context.
    if getattr(track, "codec_context", None) is None:
        raise RequestError(f"{shown(path)} is in a video format that cannot be decoded here; convert it to H.264.")
    return track


def track_rate(stream: VideoStream) -> Fraction:
    """Average frames per second of a track, from its header."""
    rate = stream.average_rate or stream.guessed_rate
    return rate if rate else DEFAULT_RATE


def decoded(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[Decoded]:
    """Every picture of ``stream`` in display order, all of one size, with strictly increasing times.

    RequestError if the file is damaged (the message says after how many frames) or the size changes.
    """
    time_base = stream.time_base or 1 / DEFAULT_RATE
    step = max(1, round(1 / (track_rate(stream) * time_base)))  # ticks per frame
    stores_dts_alone = container.format.name == "avi"  # FFmpeg's pts of an AVI with B-frames are in the wrong order
    last: int | None = None
    size: tuple[int, int] | None = None
    for count, picture in enumerate(_pictures(path, container, stream)):
        found = (picture.height, picture.width)
        if size is None:
            check_size(path, picture.width, picture.height)
            size = found
        elif found != size:
            was, now = (f"{width} x {height}" for height, width in (size, found))
            raise RequestError(
                f"{shown(path)} changes its size from {was} to {now} pixels at frame {count}; convert it to one size."
            )
        pts = picture.dts if stores_dts_alone else picture.pts
        if pts is None:
            pts = 0 if last is None else last + step
        elif last is not None and pts <= last:
            pts = last + 1
        last = pts
        yield Decoded(picture, pts, max(0, picture.duration or 0))


def _pictures(path: Path, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    # PyAV's default, threads within a picture, is kept: with threads across pictures an error comes late and loses good
    # pictures.
    count = 0
    try:
        for packet in container.demux(stream):
            try:
                pictures = packet.decode()
            except InvalidDataError:
                if count == 0 and packet.size:  # a recording that starts between two key frames
                    continue
                raise
            for picture in pictures:
                yield picture
                count += 1
    except FFmpegError as error:
        if count:
            raise RequestError(
                f"{shown(path)} breaks after {count} frames ({error.strerror}); repair it or cut it there."
            ) from error
        raise RequestError(f"nothing of {shown(path)} can be decoded: it is damaged or cut short.") from error
    if count == 0:
        raise RequestError(f"{shown(path)} holds no frame that can be decoded; it may be cut short.")


def turn_of(picture: VideoFrame) -> Turn:
    """The turn that the display matrix of ``picture`` asks for, to the nearest quarter turn.

    It is the same for a whole track. Call it for one picture only: reading side data makes PyAV put the picture into a
    reference cycle, so that its memory is freed only by the garbage collector.
    """
    side_data: Any = picture.side_data  # its type names motion vectors only
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Turn()
    # Rows a b u, c d v, x y w: the point (p, q) of the picture is shown at (a p + c q + x, b p + d q + y).
    a, b, _, c, d = (int(value) for value in np.frombuffer(memoryview(matrix), np.int32)[:5])
    return Turn(True, c < 0, b < 0) if abs(b) > abs(a) else Turn(False, a < 0, d < 0)


def upright_rgb(picture: VideoFrame, turn: Turn) -> Bytes:
    """``picture`` as (H, W, 3) uint8: converted with its own colour matrix and range, then turned upright."""
    options: dict[str, Any] = {}
    if not (picture.format.is_rgb or picture.format.has_palette):
        options["src_colorspace"] = _matrix(picture)
        if picture.color_range in (ColorRange.MPEG, ColorRange.JPEG):
            options["src_color_range"] = picture.color_range
        picture = _untagged(picture)
    converted = picture.reformat(format="rgb24", dst_color_range=ColorRange.JPEG, interpolation=TO_RGB, **options)
    rgb: Bytes = converted.to_ndarray().astype(np.uint8, copy=False)
    if turn.swap:
        rgb = rgb.transpose(1, 0, 2)
    return np.ascontiguousarray(rgb[:: -1 if turn.flip_y else 1, :: -1 if turn.flip_x else 1])


def _untagged(picture: VideoFrame) -> VideoFrame:
    """A copy without a chroma location; with one, swscale would shift the chroma, and not shift it fully back."""
    plain = VideoFrame(picture.width, picture.height, picture.format.name)
    for source, target in zip(picture.planes, plain.planes, strict=True):
        rows = np.frombuffer(memoryview(source), np.uint8).reshape(source.height, -1)  # rows end in padding
        room = np.frombuffer(memoryview(target), np.uint8).reshape(target.height, -1)
        width = min(rows.shape[1], room.shape[1])
        room[:, :width] = rows[:, :width]
    return plain


def _matrix(picture: VideoFrame) -> int:
    # Like players, take untagged video as BT.709 from HD upwards and as BT.601 below.
    large = picture.width >= 1280 or picture.height > 576
    return _MATRICES.get(picture.colorspace, _BT709 if large else _BT601)
