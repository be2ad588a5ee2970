"""Reads videos: a video file or a folder of pictures becomes upright 8-bit RGB frames with their times, one at a time.

:mod:`t2l_cli.media.encode` writes them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from t2l_cli.errors import RequestError
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.decoding import DEFAULT_RATE, Turn, check_size, decoded, opened, track_rate, turn_of, upright_rgb
from t2l_cli.media.frames import frame_names, load_frames
from t2l_cli.media.paths import STDIO, shown

_HDR_CURVES = (16, 18)  # PQ and HLG (ITU-T H.273, TransferCharacteristics)


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a video, found by decoding all of it once."""

    path: Path
    width: int  # px, upright
    height: int  # px, upright
    frames: int  # exactly the number that read_frames yields
    rate: Fraction  # average frames per second
    time_base: Fraction  # s, unit of Frame.pts
    audio: bool  # has an audio track
    names: tuple[str, ...] = ()  # file names of the frames of a folder; () for a video file
    notes: tuple[str, ...] = ()  # what was converted or left out, one phrase each


@dataclass(frozen=True)
class Frame:
    """One frame, upright, in 8 bits."""

    rgb: Bytes  # (H, W, 3)
    pts: int  # in units of VideoInfo.time_base; starts anywhere, strictly increasing
    duration: int  # in units of VideoInfo.time_base; 0: unknown


def probe(path: str | Path) -> VideoInfo:
    """Read a video file or a folder of frames once, completely, and return its facts.

    Raises RequestError, in one line with the path, for anything that cannot be read from the first to the last frame as
    a video of one size, with sides from 16 to 16,384 px.
    """
    if str(path) == STDIO:
        raise RequestError("a video cannot come from the standard input; name a video file or a folder of frames.")
    path = Path(path)
    return _probe_folder(path) if os.path.isdir(path) else _probe_file(path)


def _probe_folder(path: Path) -> VideoInfo:
    names = frame_names(path)
    notes: dict[str, None] = {}  # in order, each once
    width = height = 0
    for picture in load_frames(path, names):
        if not width:
            height, width = picture.size
            check_size(path, width, height)
        notes |= dict.fromkeys(note.replace(", transparency kept", "") for note in picture.notes)
        if picture.alpha is not None:
            notes["transparency is left out"] = None
    return VideoInfo(path, width, height, len(names), DEFAULT_RATE, 1 / DEFAULT_RATE, False, names, tuple(notes))


def _probe_file(path: Path) -> VideoInfo:
    with opened(path) as (container, stream):
        notes: tuple[str, ...] = ()
        width = height = count = damaged = 0
        for count, shot in enumerate(decoded(path, container, stream), 1):
            if count == 1:
                notes = _notes(container, stream, shot.picture)
                width, height = shot.picture.width, shot.picture.height
                if turn_of(shot.picture).swap:
                    width, height = height, width
            damaged += shot.picture.is_corrupt
        if damaged:
            notes += (f"{damaged} of {count} frames are damaged and read as well as the decoder could",)
        if count < stream.frames:
            notes += (f"{count} frames could be read of the {stream.frames} in its index: the file may be cut short",)
        time_base = stream.time_base or 1 / DEFAULT_RATE
        audio = bool(container.streams.audio)
        return VideoInfo(path, width, height, count, track_rate(stream), time_base, audio, (), notes)


def _notes(container: InputContainer, stream: VideoStream, picture: VideoFrame) -> tuple[str, ...]:
    """What the user should know about a file, from its metadata and first picture."""
    notes = []
    turned = turn_of(picture).words
    if turned:
        notes.append(f"{turned} as its metadata says")
    depth = max((component.bits for component in picture.format.components), default=8)
    if depth > 8:
        notes.append(f"{depth}-bit, read as 8-bit")
    if picture.color_trc in _HDR_CURVES:
        notes.append("HDR, read without tone mapping: colours look pale")
    # FFmpeg's own decoders of VP8 and VP9 do not decode alpha; only the metadata says that there is one.
    hidden = any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())
    if hidden or any(component.is_alpha for component in picture.format.components):
        notes.append("transparency is left out")
    if picture.interlaced_frame:
        notes.append("interlaced, read as whole frames")
    tracks = len(container.streams.video)
    if tracks > 1:
        notes.append(f"{tracks} video tracks: only the main one is used")
    return tuple(notes)


def read_frames(info: VideoInfo, span: tuple[int, int] | None = None) -> Iterator[Frame]:
    """Yield the frames a to b - 1 of ``span`` = (a, b), or all, with one in memory at a time.

    A file is decoded from its start, so that frame numbers are exact. RequestError if the video has changed since
    :func:`probe`.
    """
    first, end = span or (0, info.frames)
    frames = _of_folder(info, first, end) if info.names else _of_file(info, first, end)
    count = 0
    for frame in frames:
        if frame.rgb.shape != (info.height, info.width, 3):
            break
        yield frame
        count += 1
    if count < end - first:
        raise RequestError(f"{shown(info.path)} has changed since it was opened; start again.")


def _of_folder(info: VideoInfo, first: int, end: int) -> Iterator[Frame]:
    for index, picture in enumerate(load_frames(info.path, info.names[first:end]), first):
        yield Frame(picture.rgb, index, 1)


def _of_file(info: VideoInfo, first: int, end: int) -> Iterator[Frame]:
    with opened(info.path) as (container, stream):
        turn: Turn | None = None
        for shot in islice(decoded(info.path, container, stream), first, end):
            turn = turn or turn_of(shot.picture)
            yield Frame(upright_rgb(shot.picture, turn), shot.pts, shot.duration)


def parse_span(text: str | None, frames: int) -> tuple[int, int]:
    """Parse "a:b" like a Python slice, without a step: (a, b), with 0 <= a < b <= ``frames``; b is exclusive.

    Either side may be left out, negative numbers count from the end, and None means the whole video. RequestError if
    ``text`` is not such a range, or if the range is empty or beyond the video.
    """
    if text is None:
        return 0, frames
    text = text.strip()
    match = re.fullmatch(r"(-?[0-9]{1,9})?\s*:\s*(-?[0-9]{1,9})?", text)
    if match is None:
        raise RequestError(f"--frames {shown(text)} is not a range; write it as first:end, such as 0:70.")
    first = int(match[1] or 0)
    end = int(match[2]) if match[2] else frames
    first, end = (place + frames if place < 0 else place for place in (first, end))
    if not (0 <= first <= frames and 0 <= end <= frames):
        raise RequestError(
            f"--frames {shown(text)} is beyond the video, which has {frames} frames: 0:{frames} at most."
        )
    if first >= end:
        raise RequestError(f"--frames {shown(text)} holds no frame; the end comes after the first, such as 0:70.")
    return first, end


def frame_digest(rgb: Bytes) -> str:
    """SHA-256, in hexadecimal, of a frame's size and bytes; ``rgb`` (H, W, 3) uint8."""
    height, width = rgb.shape[:2]
    return hashlib.sha256(f"{width}x{height}:".encode() + rgb.tobytes()).hexdigest()
