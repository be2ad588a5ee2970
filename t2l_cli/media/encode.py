"""Clips out: same frames, same times, same sound as the source; whole or not at all.

H.264 for everyone, an RGB-exact H.264 on request, ProRes 4444 for an edit layer with its alpha, or a folder of PNGs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media.atomic import atomic_path
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.output import check_place, save_layer, save_picture
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.videos import ClipInfo, Frame

Codec = Literal["h264", "lossless", "prores"]
SUFFIXES = (".mp4", ".mkv", ".mov")
_CRF = "16"  # x264's quality: hardly to be told from the source
_BT709 = 1  # ffmpeg's number of the colour space, primaries and transfer


def check_clip_output(path: str | Path, overwrite: bool, source: str | Path | None = None) -> None:
    """Raise RequestError, before any work, where :class:`ClipWriter` could not or should not write ``path``.

    A suffix of SUFFIXES is a video file; a name without one is a folder of PNG frames.
    """
    path = Path(path)
    if path.suffix and path.suffix.lower() not in SUFFIXES:
        raise RequestError(
            f"the suffix {path.suffix} of {shown(path)} is not one that t2l can write a clip for; "
            f"use one of {' '.join(SUFFIXES)}, or none for a folder of PNG frames."
        )
    check_place(path, overwrite, source, folder=not path.suffix)


class ClipWriter:
    """Writes the frames of a clip under its own timing; use it in a ``with``, which finishes or undoes the file.

    ``span`` says which frames of ``info`` will come, for the sound. ``notes`` tells what was converted.
    Raises RequestError for a codec that the suffix does not take, OutputError where the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        info: ClipInfo,
        codec: Codec = "h264",
        span: tuple[int, int] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path, self.info, self.codec, self.overwrite = Path(path), info, codec, overwrite
        self.span = span or (0, info.frames)
        self.notes: list[str] = []
        self._stack = ExitStack()
        self._sink: _Folder | _Movie | None = None
        if codec == "prores" and self.path.suffix.lower() != ".mov":
            raise RequestError(f"ProRes 4444 is written to .mov; {shown(path)} has another suffix.")

    def __enter__(self) -> ClipWriter:
        with ExitStack() as stack:
            if self.path.suffix:
                target = stack.enter_context(atomic_path(self.path, self.overwrite))
                self._sink = _Movie(target, self.info, self.codec, self.span, self.notes)
            else:
                target = stack.enter_context(_AtomicFolder(self.path, self.overwrite))
                self._sink = _Folder(target, self.info, self.span)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:  # renames or removes, whatever happens to the encoder
            assert self._sink is not None
            self._guarded(self._sink.abandon if kind else self._sink.close)
            if kind is not None:
                self._stack.pop_all().__exit__(kind, error, trace)

    def write(self, frame: Frame, rgb: Bytes, alpha: Bytes | None = None) -> None:
        """Write ``rgb`` (H, W, 3) at ``frame``'s time; ``alpha`` (H, W), straight, for ProRes and folders."""
        sink = self._sink
        assert sink is not None, "use ClipWriter in a with"
        self._guarded(lambda: sink.write(frame, rgb, alpha))

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except (av.error.FFmpegError, OSError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise OutputError(f"could not write {shown(self.path)}: {why}.") from error


class _AtomicFolder:
    """A folder that appears whole: a temporary sibling, renamed at the end."""

    def __init__(self, final: Path, overwrite: bool) -> None:
        self.final, self.overwrite = final, overwrite

    def __enter__(self) -> Path:
        try:
            self.work = Path(tempfile.mkdtemp(prefix=f".{self.final.name[:60]}.", dir=self.final.parent))
        except OSError as error:
            raise OutputError(f"could not write {shown(self.final)}: {reason(error)}.") from error
        return self.work

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self.work.chmod(0o755)
                if self.overwrite and self.final.is_dir():
                    shutil.rmtree(self.final)
                os.rename(self.work, self.final)
        except OSError as error:
            raise OutputError(f"could not write {shown(self.final)}: {reason(error)}.") from error
        finally:
            shutil.rmtree(self.work, ignore_errors=True)


class _Folder:
    """PNG frames, named as the source's where it is a folder."""

    def __init__(self, folder: Path, info: ClipInfo, span: tuple[int, int]) -> None:
        self.folder, self.i = folder, 0
        self.names = [Path(name).stem for name in info.names[slice(*span)]]

    def write(self, frame: Frame, rgb: Bytes, alpha: Bytes | None) -> None:
        path = self.folder / f"{self.names[self.i] if self.names else f'{self.i:05d}'}.png"
        self.i += 1
        if alpha is None:
            save_picture(path, rgb)
        else:
            save_layer(path, rgb, alpha)

    def close(self) -> None:
        pass

    abandon = close


class _Movie:
    """A video file: frames encoded, sound copied packet by packet."""

    def __init__(self, target: Path, info: ClipInfo, codec: Codec, span: tuple[int, int], notes: list[str]) -> None:
        self.info, self.codec, self.notes = info, codec, notes
        options = {"movflags": "+faststart"} if target.suffix.lower() != ".mkv" else {}
        self.out = av.open(str(target), "w", options=options)
        self.stream = self._video_stream()
        self.audio = _Audio(self.out, info, span, notes) if info.audio else None
        self.zero: int | None = None
        self.end = 0

    def _video_stream(self) -> Any:
        info = self.info
        name = {"h264": "libx264", "lossless": "libx264rgb", "prores": "prores_ks"}[self.codec]
        stream: Any = self.out.add_stream(name, rate=info.rate.limit_denominator(60_000))
        stream.width, stream.height = info.width, info.height
        even = info.width % 2 == 0 and info.height % 2 == 0
        if self.codec == "h264":
            stream.pix_fmt, stream.options = "yuv420p" if even else "yuv444p", {"crf": _CRF, "preset": "medium"}
            if not even:
                self.notes.append("the size is odd: H.264 in 4:4:4, which some players do not show")
        elif self.codec == "lossless":
            stream.pix_fmt, stream.options = "rgb24", {"qp": "0", "preset": "veryfast"}
        else:
            stream.pix_fmt, stream.options = "yuva444p10le", {"profile": "4444", "alpha_bits": "16"}
        if self.codec != "lossless":
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = int(ColorRange.MPEG)
        stream.time_base = stream.codec_context.time_base = info.time_base
        return stream

    def write(self, frame: Frame, rgb: Bytes, alpha: Bytes | None) -> None:
        pixels = (
            rgb
            if self.codec != "prores"
            else np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8) if alpha is None else alpha])
        )
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24" if pixels.shape[2] == 3 else "rgba")
        if self.codec != "lossless":
            picture = picture.reformat(
                format=self.stream.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            picture.colorspace = _BT709
            picture.color_range = int(ColorRange.MPEG)
        if self.zero is None:
            self.zero = frame.pts
            if self.audio is not None:
                self.audio.begin(frame.pts * self.info.time_base)
        picture.pts, picture.time_base = frame.pts - self.zero, self.info.time_base
        self.end = frame.pts + (frame.duration or round(1 / (self.info.rate * self.info.time_base)))
        for packet in self.stream.encode(picture):
            self.out.mux(packet)
        if self.audio is not None:
            self.audio.copy_until(self.end * self.info.time_base)

    def close(self) -> None:
        for packet in self.stream.encode(None):
            self.out.mux(packet)
        if self.audio is not None:
            self.audio.finish()
        self.out.close()

    def abandon(self) -> None:
        if self.audio is not None:
            self.audio.source.close()
        self.out.close()


class _Audio:
    """The source's first sound track, copied packet by packet beside the frames as they come."""

    def __init__(self, out: Any, info: ClipInfo, span: tuple[int, int], notes: list[str]) -> None:
        self.out = out
        self.source: Any = av.open(str(info.path), metadata_errors="ignore")
        self.track = self.source.streams.audio[0]
        self.whole = span == (0, info.frames)
        self.packets = (p for p in self.source.demux(self.track) if p.dts is not None)
        self.waiting: Any = None
        self.shift = 0
        try:
            self.stream = out.add_stream_from_template(self.track)
        except (ValueError, av.error.FFmpegError):
            notes.append(f"the sound ({self.track.codec_context.name}) does not fit this file and is left out")
            self.stream = None

    def begin(self, first: Fraction) -> None:
        """The picture's time 0 is ``first`` seconds of the source: the sound moves along."""
        self.shift = round(first / self.track.time_base)

    def copy_until(self, seconds: Fraction | None) -> None:
        while self.stream is not None:
            packet = self.waiting or next(self.packets, None)
            if packet is None:
                return
            if seconds is not None and packet.pts * self.track.time_base >= seconds:
                self.waiting = packet
                return
            self.waiting = None
            if not self.whole and packet.pts < self.shift:
                continue
            packet.pts, packet.dts = packet.pts - self.shift, packet.dts - self.shift
            packet.stream = self.stream
            self.out.mux(packet)

    def finish(self) -> None:
        if self.whole:
            self.copy_until(None)
        self.source.close()
