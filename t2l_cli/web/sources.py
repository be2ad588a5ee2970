"""What the studio works on: photos and videos that the page sent, and masks that were painted on it.

They are kept in one folder under names that their contents give them: what they were called before is no part of a
path.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

import t2l_cli
from t2l_cli.errors import RequestError
from t2l_cli.media.atomic import atomic_path
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.images import load_picture
from t2l_cli.media.output import save_picture
from t2l_cli.media.paths import sha256_of
from t2l_cli.media.small import reduced, thumbnail
from t2l_cli.media.videos import parse_span, probe, read_frames

SIDE = 1280  # px of the longer side of what the page shows
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
_DIGITS = 16  # of a checksum, in a name


@dataclass(frozen=True)
class Source:
    """A photo or a video in the studio's folder."""

    path: Path
    video: bool

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright photo, or of the video's frames."""
        if self.video:
            info = probe(self.path)
            return info.width, info.height
        height, width = load_picture(self.path).size
        return width, height

    def shown(self, frames: str | None = None) -> Image.Image:
        """The photo, or the first one of a video's ``frames`` ("a:b"), small enough for the page, RGB."""
        if not self.video:
            return thumbnail(load_picture(self.path), SIDE).convert("RGB")
        info = probe(self.path)
        frame = next(iter(read_frames(info, parse_span(frames, info.frames))))
        return reduced(Image.fromarray(frame.rgb), SIDE)


class Sources:
    """The folder of the sources."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, path: str | Path) -> Source:
        """Copy the photo or video ``path`` into the folder; RequestError where it is neither."""
        kind = t2l_cli.info(path).kind
        if kind not in ("picture", "video"):
            raise RequestError("the studio edits photos and videos.")
        suffix = Path(path).suffix.lower()
        place = self._folder / (sha256_of(path)[:_DIGITS] + (suffix if _SUFFIX.fullmatch(suffix) else ""))
        if not place.is_file():
            self._folder.mkdir(exist_ok=True)
            with atomic_path(place, overwrite=True) as partial:
                shutil.copyfile(path, partial)
        return Source(place, kind == "video")

    def keep_mask(self, painted: Bytes, source: Source) -> Path:
        """Write the mask ``painted`` (H, W) on what the page shows, at the size of the ``source``; its path."""
        width, height = source.size
        mask = Image.fromarray(painted).resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(mask)
        name = hashlib.sha256(pixels.tobytes() + f"{mask.size}".encode()).hexdigest()[:_DIGITS]
        place = self._folder / f"mask-{name}.png"
        save_picture(place, np.ascontiguousarray(pixels), overwrite=True)
        return place
