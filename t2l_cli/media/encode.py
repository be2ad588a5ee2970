"""Writes video files and folders of PNG frames, completely or not at all. :mod:`t2l_cli.media.videos` reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from av.error import FFmpegError

from t2l_cli.config import DEFAULT_CODEC, Codec
from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media.atomic import atomic_folder, atomic_path
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.frames import is_png_frame, png_names
from t2l_cli.media.muxing import FORMATS, VideoFile
from t2l_cli.media.output import save_picture
from t2l_cli.media.paths import STDIO, shown
from t2l_cli.media.places import check_place, foreign_in
from t2l_cli.media.videos import Frame, VideoInfo
from t2l_cli.media.xmp import Mark

__all__ = ["VideoWriter", "check_video_output"]


def check_video_output(
    path: str | Path, overwrite: bool, *inputs: str | Path | None, codec: Codec = DEFAULT_CODEC
) -> None:
    """Raise RequestError, before any work, if :class:`VideoWriter` could not or should not write ``path``.

    Refused are suffixes other than .mp4, .mkv and .mov (no suffix: a folder of PNG frames), a codec that does not fit
    the suffix, and what :func:`~t2l_cli.media.places.check_place` refuses. An existing folder is replaced only if it
    holds nothing except PNG frames.
    """
    if str(path) == STDIO:
        raise RequestError("a video cannot go to the standard output; name a file or a folder with -o.")
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix and suffix not in FORMATS:
        known = " ".join(FORMATS)
        raise RequestError(
            f"the suffix {shown(suffix)} of {shown(path)} is not one that t2l can write a video for; "
            f"use one of {known}, or none for a folder of frames."
        )
    if codec == "prores" and suffix not in ("", ".mov"):
        raise RequestError(f"ProRes is written to .mov; {shown(path)} has another suffix.")
    check_place(path, overwrite, *inputs, folder=not suffix)
    if not suffix and path.is_dir() and (foreign := foreign_in(path, is_png_frame)):
        raise RequestError(
            f"the folder {shown(path)} holds more than PNG frames and is not replaced: {shown(foreign)}; "
            "choose another --output."
        )


class _Sink(Protocol):
    """What frames are written to; ``notes`` lists what could not be kept."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    def write(self, frame: Frame, rgb: Bytes, alpha: Bytes | None) -> None: ...


class VideoWriter:
    """Writes a video frame by frame. A context manager: the output appears at its end, and not at all after an error.

    ``info`` is the source, whose audio and frame times are kept. ``span`` = (a, b): frames a to b - 1 of the source
    will be written (None: all). ``mark``: what a file says of its making; ``keep``: the source's tags stay. A folder
    gets PNG files, whatever ``codec`` is, and no mark. A .mkv stores times in milliseconds,
    and if its audio begins before 0 (as AAC's first packet often does), everything in it is delayed by that much.

    Raises RequestError at once for what :func:`check_video_output` refuses, OutputError if writing fails.
    """

    def __init__(
        self,
        path: str | Path,
        info: VideoInfo,
        codec: Codec = DEFAULT_CODEC,
        span: tuple[int, int] | None = None,
        overwrite: bool = False,
        mark: Mark | None = None,
        keep: bool = True,
    ) -> None:
        check_video_output(path, overwrite, info.path, codec=codec)
        self._mark, self._keep = mark, keep
        self._path = Path(path)
        self._info = info
        self._codec = codec
        self._span = span or (0, info.frames)
        self._overwrite = overwrite
        self._keeps_alpha = codec == "prores" or not self._path.suffix
        self._count = 0
        self._sink: _Sink | None = None
        self._stack = contextlib.ExitStack()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the output does not keep, or how it differs, one phrase each; complete after the context."""
        return self._sink.notes if self._sink else ()

    def write(self, frame: Frame, rgb: Bytes, alpha: Bytes | None = None) -> None:
        """Write ``rgb`` (H, W, 3) uint8 at the time of ``frame``.

        ``alpha``: (H, W) uint8, straight; for the codec "prores" and for folders only.
        """
        size = (self._info.height, self._info.width)
        if rgb.shape != (*size, 3) or (alpha is not None and alpha.shape != size):
            raise ValueError(f"a frame of {rgb.shape} does not belong to a video of {size}")
        if alpha is not None and not self._keeps_alpha:
            raise ValueError(f"{self._codec} keeps no alpha")
        if self._sink is None:
            raise ValueError("the writer is a context manager: use it in a with statement")
        self._sink.write(frame, rgb, alpha)
        self._count += 1

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_explained(self._path))
            if self._path.suffix:
                temporary = stack.enter_context(atomic_path(self._path, self._overwrite))
                partial = self._span != (0, self._info.frames)
                self._sink = stack.enter_context(
                    VideoFile(temporary, self._info, self._codec, partial, self._mark, self._keep)
                )
            else:
                temporary = stack.enter_context(atomic_folder(self._path, self._overwrite))
                first, end = self._span
                names = png_names(self._info.names[first:end], end - first)
                self._sink = _FrameFolder(temporary, names)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._count:
            with self._stack:
                raise OutputError(f"no frame came for {shown(self._path)}: nothing was written.")
        self._stack.__exit__(kind, error, trace)


class _FrameFolder:
    """Writes PNG frames into the folder ``place``."""

    notes: tuple[str, ...] = ()

    def __init__(self, place: Path, names: Iterator[str]) -> None:
        self._place = place
        self._names = names

    def write(self, frame: Frame, rgb: Bytes, alpha: Bytes | None) -> None:
        """Write one picture under the next name."""
        save_picture(self._place / next(self._names), rgb, alpha)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn PyAV's errors into one line. Those that are OSErrors have become OutputError already."""
    try:
        yield
    except FFmpegError as error:
        raise OutputError(f"could not write {shown(path)}: {error.strerror}.") from error
