"""Folders of frames: which files in a folder are frames, and their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from t2l_cli.errors import RequestError
from t2l_cli.media.images import Picture, load_picture
from t2l_cli.media.opening import suffixes
from t2l_cli.media.paths import reason, shown


def frame_names(folder: Path) -> tuple[str, ...]:
    """File names of the frames in ``folder``, in natural order (2 before 10); RequestError if there are none.

    Hidden files, sub-folders and files without a picture's suffix are not frames.
    """
    try:
        names = [
            entry.name
            for entry in os.scandir(folder)
            if not entry.name.startswith(".") and Path(entry.name).suffix.lower() in suffixes() and not entry.is_dir()
        ]
    except OSError as error:
        raise RequestError(f"cannot read the folder {shown(folder)}: {reason(error)}.") from error
    if not names:
        raise RequestError(f"the folder {shown(folder)} holds no pictures.")
    return tuple(sorted(names, key=_natural))


def _natural(name: str) -> tuple[list[str | int], str]:
    # Text is at even places and numbers at odd ones, so that like is compared with like; the name orders 1 and 01.
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def load_frames(folder: Path, names: tuple[str, ...]) -> Iterator[Picture]:
    """The pictures ``names`` of ``folder``, one at a time; RequestError if one is unreadable or of another size."""
    size: tuple[int, int] | None = None
    for name in names:
        picture = load_picture(folder / name)
        size = size or picture.size
        if picture.size != size:
            has, others = (f"{width} x {height}" for height, width in (picture.size, size))
            raise RequestError(
                f"{shown(folder / name)} is {has} pixels and {shown(names[0])} {others}: "
                "the frames of a video have one size."
            )
        yield picture


def png_names(sources: tuple[str, ...], count: int) -> Iterator[str]:
    """Names for ``count`` PNG frames: from the stems of ``sources``, or 00000.png upwards if there are no sources."""
    stems = [Path(source).stem for source in sources]
    if not stems:
        stems = [f"{index:05d}" for index in range(count)]
    elif len({stem.lower() for stem in stems}) < len(stems):  # a.jpg beside a.png
        stems = list(sources)
    return (f"{stem}.png" for stem in stems)


def is_png_frame(name: str) -> bool:
    """Whether ``name`` is one that a PNG frame written by this program could have."""
    return name.lower().endswith(".png") and not name.startswith(".")
