"""Writes one video file: encodes frames as they come, with the times and the audio of their source."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from t2l_cli.config import Codec
from t2l_cli.errors import OutputError
from t2l_cli.media.audio import AudioCopy
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.decoding import FROM_RGB, opened
from t2l_cli.media.paths import reason
from t2l_cli.media.video_tags import append_packet, mark_tags, need_keys, packet_of, portable_tags
from t2l_cli.media.videos import Frame, VideoInfo
from t2l_cli.media.xmp import Mark

FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
"""Videos that can be written: suffix -> FFmpeg's name of the format."""

_RGB = 0  # MatrixCoefficients of pictures that are stored as RGB (ITU-T H.273)
_TS_DISCONT = 0x0200  # FFmpeg's flag of broadcast formats, whose times start anywhere
_START_UNITS = 1_000_000  # ticks per second of a container's start time
_FINE = 48_000  # minimum ticks per second for the offsets between the tracks of an mp4 or mov


@dataclass(frozen=True)
class Recipe:
    """The encoder and settings of a codec."""

    encoder: str  # FFmpeg's name
    pixels: str  # pixel format
    options: dict[str, str]


def recipe_of(codec: Codec, odd: bool) -> Recipe:
    """How FFmpeg encodes ``codec``; ``odd``: a side of the frames is odd."""
    if codec == "lossless":
        return Recipe("libx264rgb", "rgb24", {"qp": "0"})
    if codec == "prores":
        return Recipe("prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"})
    return Recipe("libx264", "yuv444p" if odd else "yuv420p", {"crf": "16"})


class VideoFile:
    """Encodes frames into the file ``path``, in the format of its suffix; a context manager that completes the file.

    ``partial``: the frames are a part of the video, so the first one's time becomes 0, and the audio begins and ends
    with them. Otherwise times are the source's, except that a broadcast recording starts at 0. The ``mark`` is what the
    file says of its making; ``keep`` the source's tags. ``recipe``: another one than that of ``codec``. Raises PyAV's
    errors, which for a full disk are also OSErrors.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        codec: Codec,
        partial: bool,
        mark: Mark | None = None,
        keep: bool = True,
        recipe: Recipe | None = None,
    ) -> None:
        self._path, self._info, self._mark, self._keep = path, info, mark, keep
        self._tagged = path.suffix.lower() == ".mkv"  # the mark is tags, not an XMP packet
        self._partial = partial
        odd = bool(info.width % 2 or info.height % 2)
        self.recipe = recipe or recipe_of(codec, odd)
        self._shift = 0  # ticks by which the output is earlier than the source
        self._start = self._end = Fraction(0)  # s, of the frames written
        self._count = 0
        self._notes: list[str] = []
        if codec == "h264" and odd:
            self._notes.append(
                f"{info.width} x {info.height} is odd: written as H.264 4:4:4, which some players cannot show"
            )
        with contextlib.ExitStack() as stack:
            # A folder of frames, or a video without a file, has no audio.
            source, track = stack.enter_context(opened(info.path)) if info.path.is_file() else (None, None)
            tags = portable_tags(source.metadata) if source and keep else {}
            options = _options(path, info, need_keys(tags))
            self._container = av.open(str(path), "w", format=FORMATS[path.suffix.lower()], options=options)
            stack.callback(_abandon, self._container)
            self._container.metadata.update(tags | (mark_tags(mark) if mark and self._tagged else {}))
            self._stream = self._add_video(track)
            self._audio = AudioCopy(source, self._container, info.path) if source else None
            if source and not partial:
                self._shift = _origin(source, info.time_base)
            self._resources = stack.pop_all()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the file could not keep, one phrase each."""
        return (*self._notes, *(self._audio.notes if self._audio else ()))

    def _add_video(self, track: VideoStream | None) -> VideoStream:
        recipe, info = self.recipe, self._info
        try:
            stream = self._container.add_stream(recipe.encoder, rate=info.rate, options=recipe.options)
        except UnknownCodecError as error:
            raise OutputError(f"this PyAV has no {recipe.encoder}; reinstall it: pip install av.") from error
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, recipe.pixels
        context = stream.codec_context
        stream.time_base = context.time_base = info.time_base
        rgb = recipe.pixels == "rgb24"
        context.colorspace = _RGB if rgb else Colorspace.ITU709
        context.color_range = ColorRange.JPEG if rgb else ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        aspect = track.sample_aspect_ratio if track is not None else None
        if track is not None and aspect:
            turned = (track.width, track.height) != (info.width, info.height)
            context.sample_aspect_ratio = 1 / aspect if turned else aspect
        return stream

    def write(self, frame: Frame, rgb: Bytes, alpha: Bytes | None) -> None:
        """Add ``rgb`` (H, W, 3) uint8 at the time of ``frame``, with ``alpha`` (H, W) uint8 if the codec keeps one."""
        time_base = self._info.time_base
        if self._count == 0:
            self._start = frame.pts * time_base
            if self._partial:
                self._shift = frame.pts
        picture = self.picture(rgb, alpha)
        picture.time_base = time_base
        picture.pts = frame.pts - self._shift
        picture.duration = frame.duration
        self._container.mux(self._stream.encode(picture))
        self._count += 1
        self._end = frame.pts * time_base + (frame.duration * time_base or 1 / self._info.rate)
        self._copy_audio(self._end)

    def picture(self, rgb: Bytes, alpha: Bytes | None) -> VideoFrame:
        """``rgb`` (H, W, 3) with ``alpha`` (H, W), uint8, in the pixel format of the recipe."""
        if self.recipe.pixels == "rgb24":
            return VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
        if self.recipe.pixels.startswith("yuva"):
            cover = np.full(rgb.shape[:2], 255, np.uint8) if alpha is None else alpha
            picture = VideoFrame.from_ndarray(np.dstack([rgb, cover]), "rgba")
        else:
            picture = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
        return picture.reformat(
            format=self.recipe.pixels,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=FROM_RGB,
        )

    def _copy_audio(self, end: Fraction | None) -> None:
        if self._audio is not None:
            start = self._start if self._partial else None
            self._audio.copy(start, end, self._shift * self._info.time_base)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._resources:
            if kind is None:
                self._container.mux(self._stream.encode(None))
                whole = not self._partial and self._count == self._info.frames
                self._copy_audio(None if whole else self._end)
                self._container.close()
                self._append_packet()

    def _append_packet(self) -> None:
        """Write the mark, and the source's XMP packet, into the finished file."""
        if self._tagged:
            return
        packet = packet_of(self._info.path if self._keep else None, self._mark)
        try:
            append_packet(self._path, packet or b"")
        except OSError as error:  # such as a full disk
            self._notes.append(f"there was no room for the XMP data and the record of the edit: {reason(error)}")


def _options(path: Path, info: VideoInfo, keys: bool) -> dict[str, str]:
    """Options of the container: index at the beginning, times as fine as the source's, ``keys`` for any tags."""
    if path.suffix.lower() == ".mkv":  # always milliseconds
        return {}
    ticks = info.time_base.denominator
    return {
        "movflags": "+faststart+use_metadata_tags" if keys else "+faststart",
        "video_track_timescale": str(ticks),
        "movie_timescale": str(ticks * -(-_FINE // ticks)),
    }


def _origin(source: InputContainer, time_base: Fraction) -> int:
    """The start time, in ticks of ``time_base``, of a broadcast recording; 0 for other files, whose times are kept."""
    flags: Any = source.format.flags
    if not int(flags) & _TS_DISCONT:
        return 0
    return round(Fraction(source.start_time or 0, _START_UNITS) / time_base)


def _abandon(container: OutputContainer) -> None:
    """Close a container that may be half written, ignoring errors. Does nothing if it is closed already."""
    with contextlib.suppress(FFmpegError, OSError):
        container.close()
