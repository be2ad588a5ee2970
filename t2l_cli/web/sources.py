"""What the studio works on: photos and videos that the page sent, and masks that were painted on it.

They are kept in one folder under names that their contents give them: what they were called before is no part of a
path.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import t2l_cli
from t2l_cli.errors import RequestError
from t2l_cli.media.atomic import atomic_path
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.output import save_picture
from t2l_cli.media.paths import sha256_of
from t2l_cli.media.small import small_frame
from t2l_cli.media.videos import VideoInfo, parse_span, probe
from t2l_cli.web.looks import SIDE, small

_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
_DIGITS = 16  # of a checksum, in a name


@dataclass(frozen=True)
class Source:
    """A photo or a video in the studio's folder."""

    path: Path
    size: tuple[int, int]  # width and height of the upright photo, or of the video's frames
    info: VideoInfo | None = None  # of a video

    @property
    def video(self) -> bool:
        """Whether it is one."""
        return self.info is not None

    def shown(self, frames: str | None = None) -> Image.Image:
        """The photo, or the first one of a video's ``frames`` ("a:b"), small enough for the page, RGB."""
        if self.info is None:
            return small(self.path, False)
        return small_frame(self.info, parse_span(frames, self.info.frames)[0], SIDE)


class Sources:
    """The folder of the sources."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, path: str | Path) -> Source:
        """Copy the photo or video ``path`` into the folder; RequestError where it is neither."""
        about = t2l_cli.info(path)
        if about.kind not in ("picture", "video"):
            raise RequestError("the studio edits photos and videos.")
        suffix = Path(path).suffix.lower()
        place = self._folder / (sha256_of(path)[:_DIGITS] + (suffix if _SUFFIX.fullmatch(suffix) else ""))
        if not place.is_file():
            self._folder.mkdir(exist_ok=True)
            with atomic_path(place, overwrite=True) as partial:
                shutil.copyfile(path, partial)
        if about.kind == "picture":
            return Source(place, (about.facts["width"], about.facts["height"]))
        info = probe(place)
        return Source(place, (info.width, info.height), info)

    def keep_mask(self, painted: Bytes) -> Path:
        """Write the mask ``painted`` (H, W), which has the shape of its photo or video and may be smaller; its path."""
        name = hashlib.sha256(painted.tobytes() + f"{painted.shape}".encode()).hexdigest()[:_DIGITS]
        place = self._folder / f"mask-{name}.png"
        save_picture(place, painted, overwrite=True)
        return place
