"""One video file out: frames encoded as they come, with the source's times and its sound."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import OutputContainer
from av.container.core import Container
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from t2l_cli.media.audio import AudioCopy
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.decoding import FROM_RGB, opened
from t2l_cli.media.videos import ClipInfo, Frame

Codec = Literal["h264", "lossless", "prores"]
FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
"""Clips that can be written: suffix -> FFmpeg's name of the format."""

_TS_DISCONT = 0x0200  # AVFMT_TS_DISCONT: broadcast formats, whose times start anywhere
_FINE = 48_000  # ticks a second at least, for the offsets between tracks in mp4 and mov


@dataclass(frozen=True)
class _Recipe:
    """How a codec is asked for."""

    encoder: str  # FFmpeg's name
    pixels: str  # pixel format
    options: dict[str, str]
    alpha: bool = False


def _recipe(codec: Codec, info: ClipInfo) -> _Recipe:
    if codec == "lossless":
        return _Recipe("libx264rgb", "rgb24", {"qp": "0", "preset": "medium"})
    if codec == "prores":
        return _Recipe("prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}, True)
    odd = info.width % 2 or info.height % 2
    return _Recipe("libx264", "yuv444p" if odd else "yuv420p", {"crf": "16", "preset": "medium"})


class VideoFile:
    """Encodes frames into the file ``path`` (format by its suffix). Raises FFmpegError, and OSError for a full disk.

    ``partial``: the frames are a part of the clip, so the first one's time becomes 0, and the sound begins and ends
    with them. Otherwise times are the source's, except that a broadcast recording starts at 0.
    """

    def __init__(self, path: Path, info: ClipInfo, codec: Codec, partial: bool) -> None:
        self._info = info
        self._recipe = _recipe(codec, info)
        self._partial = partial
        self._origin: int | None = None  # of the output, in ticks of the source; known with the first frame
        self._first = self._end = Fraction(0)  # s, of the frames written
        self._count = 0
        self._resources = contextlib.ExitStack()  # holds the source open, for its sound
        self.notes: list[str] = []
        if info.names or codec != "h264":
            pass
        self._audio: AudioCopy | None = None
        self._start_ticks = 0
        self._aspect: Fraction | None = None
        self._container = av.open(str(path), "w", format=FORMATS[path.suffix.lower()], options=_options(path, info))
        try:
            self._open_source(path)
        except BaseException:
            self.abandon()
            raise
