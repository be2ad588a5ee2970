"""Clips in: whatever PyAV decodes, or a folder of frames, as upright 8-bit RGB, one frame at a time.

Writing is in :mod:`t2l_cli.media.encode`.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace

from t2l_cli.errors import RequestError
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.images import load_picture
from t2l_cli.media.paths import reason, shown

FOLDER_RATE = Fraction(25)  # frames a second of a folder of pictures
MIN_SIDE = 16  # px
MAX_PIXELS = 50_000_000  # px a frame
_HD_HEIGHT = 720  # px; an untagged clip from here on is taken for BT.709, below for BT.601


@dataclass(frozen=True)
class ClipInfo:
    """A clip, before its frames are read."""

    path: Path
    width: int  # px, upright
    height: int
    frames: int  # exactly as many as ``read_frames`` yields
    rate: Fraction  # frames a second, on average
    time_base: Fraction  # unit of Frame.pts
    audio: bool = False
    names: tuple[str, ...] = ()  # of the frames' files, where the clip is a folder
    notes: tuple[str, ...] = ()  # what was converted, one phrase each


@dataclass(frozen=True)
class Frame:
    """One frame and when it is shown."""

    rgb: Bytes  # (H, W, 3), upright
    pts: int  # in the clip's time base, rising
    duration: int = 0  # in the clip's time base; 0: unknown


def probe(path: str | Path) -> ClipInfo:
    """Look at a clip: a video file or a folder of pictures. Counts the frames by decoding them once.

    Raises RequestError, in one line, for whatever is not a readable clip, down to its last frame.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _probe_folder(path)
        if not path.exists():
            raise RequestError(f"there is no clip {shown(path)}.")
        if path.stat().st_size == 0:
            raise RequestError(f"{shown(path)} is empty.")
    except OSError as error:
        raise RequestError(f"cannot read {shown(path)}: {reason(error)}.") from error
    return _probe_video(path)


def read_frames(info: ClipInfo, span: tuple[int, int] | None = None) -> Iterator[Frame]:
    """The frames ``span`` = (a, b), a to b - 1, of a clip, or all; one in memory at a time."""
    first, end = span or (0, info.frames)
    if info.names:
        for i in range(first, end):
            yield Frame(_frame_file(info.path / info.names[i], (info.width, info.height)), i, 1)
        return
    for i, frame in enumerate(_decoded(info.path)):
        if i >= end:
            return
        if i >= first:
            yield Frame(_upright(frame), _time(frame), int(frame.duration or 0))


def parse_span(text: str | None, frames: int) -> tuple[int, int]:
    """``a:b`` as (a, b) for a clip of ``frames``, Python's slices in spirit; RequestError where that leaves none."""
    if text is None:
        return 0, frames
    match = re.fullmatch(r"\s*(-?\d*)\s*:\s*(-?\d*)\s*", text)
    if match is None or "-" in match.groups():
        raise RequestError(f"--frames must be a:b, such as 0:70, not {text[:40]!r}.")
    first, end, _ = slice(*(int(part) if part else None for part in match.groups())).indices(frames)
    if first >= end:
        raise RequestError(f"--frames {text.strip()} leaves no frame of the clip's {frames}.")
    return first, end


def frame_digest(rgb: Bytes) -> str:
    """SHA-256 of a frame's size and pixels."""
    return hashlib.sha256(str(rgb.shape).encode() + np.ascontiguousarray(rgb).tobytes()).hexdigest()


def _probe_folder(path: Path) -> ClipInfo:
    files = [f for f in path.iterdir() if f.is_file() and not f.name.startswith(".")]
    names = sorted((f.name for f in files), key=_natural)
    if not names:
        raise RequestError(f"the folder {shown(path)} holds no frames.")
    size: tuple[int, int] | None = None
    for name in names:
        size = size or (lambda rgb: (rgb.shape[1], rgb.shape[0]))(load_picture(path / name).rgb)
        _frame_file(path / name, size)
    assert size is not None
    return ClipInfo(path, *size, len(names), FOLDER_RATE, 1 / FOLDER_RATE, names=tuple(names))


def _natural(name: str) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


def _frame_file(path: Path, size: tuple[int, int]) -> Bytes:
    rgb = load_picture(path).rgb
    if (rgb.shape[1], rgb.shape[0]) != size:
        raise RequestError(
            f"the frame {shown(path)} is {rgb.shape[1]} x {rgb.shape[0]} px, the first one {size[0]} x {size[1]}."
        )
    return rgb


def _probe_video(path: Path) -> ClipInfo:
    frames, size, notes = 0, (0, 0), list[str]()
    first = last = 0
    for frame in _decoded(path):
        turned = round(frame.rotation) % 360
        upright = (frame.height, frame.width) if turned in (90, 270) else (frame.width, frame.height)
        if frames == 0:
            size, first = upright, _time(frame)
            _check_size(path, *size)
            if turned:
                notes.append(f"turned by {turned} degrees, as its metadata says")
            if any(component.bits > 8 for component in frame.format.components):
                notes.append("more than 8 bits a channel, read as 8")
        elif upright != size:
            raise RequestError(
                f"the size of {shown(path)} changes at frame {frames}, "
                f"from {size[0]} x {size[1]} to {upright[0]} x {upright[1]}."
            )
        frames, last = frames + 1, _time(frame)
    if not frames:
        raise RequestError(f"{shown(path)} has no frame that can be decoded.")
    with _opened(path) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base or Fraction(1, 90_000))
        rate = Fraction(frames - 1) / ((last - first) * base) if last > first else Fraction(stream.average_rate or 25)
        return ClipInfo(path, *size, frames, rate, base, bool(container.streams.audio), notes=tuple(notes))


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE or width * height > MAX_PIXELS:
        raise RequestError(
            f"the frames of {shown(path)} are {width} x {height} px; t2l takes {MIN_SIDE} px to 50 megapixels."
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise RequestError(f"{shown(path)} is not a clip that can be read: {_why(error)}.") from error
    with container:
        if not container.streams.video:
            raise RequestError(f"{shown(path)} has no video stream.")
        yield container


def _decoded(path: Path) -> Iterator[av.VideoFrame]:
    """The frames of the first video stream, in the order they are shown."""
    done = 0
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError, ValueError) as error:
                where = f"breaks after {done} frames" if done else "cannot be decoded"
                raise RequestError(f"{shown(path)} {where}: {_why(error)}.") from error
            yield frame
            done += 1


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _time(frame: av.VideoFrame) -> int:
    return int(frame.pts if frame.pts is not None else frame.dts or 0)


def _upright(frame: av.VideoFrame) -> Bytes:
    """The frame as RGB, by its own colour matrix, turned as its metadata says."""
    matrix = Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601
    tagged = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601}.get(int(frame.colorspace), matrix)
    rgb = frame.reformat(format="rgb24", src_colorspace=tagged).to_ndarray()
    turns = round(frame.rotation / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(rgb, turns))
