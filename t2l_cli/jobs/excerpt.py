"""The frames of a video that are wanted, in memory; and the atlas of them, from a folder or a checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from t2l_cli.config import RESOLUTION, Codec, check_choice
from t2l_cli.errors import RequestError
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.videos import Frame, VideoInfo, frame_digest, parse_span, probe, read_frames
from t2l_cli.progress import Reporter, tracked

if TYPE_CHECKING:
    from torch import Tensor

    from t2l_cli.config import FitConfig
    from t2l_cli.engine.atlas.model import Atlas, VideoIdentity


@dataclass(frozen=True)
class Excerpt:
    """A video and the frames of it that are wanted."""

    info: VideoInfo
    span: tuple[int, int]

    @property
    def frames(self) -> int:
        """How many frames."""
        return self.span[1] - self.span[0]

    def read(self) -> Iterator[Frame]:
        """The frames, one at a time."""
        return read_frames(self.info, self.span)

    def identity(self) -> VideoIdentity:
        """The excerpt as an atlas names it."""
        from t2l_cli.engine.atlas.model import VideoIdentity

        first = frame_digest(next(self.read()).rgb)
        return VideoIdentity(self.frames, self.info.width, self.info.height, float(self.info.rate), first, self.span[0])

    def in_memory(self) -> Tensor:
        """All frames, (T, 3, H, W) uint8: 3 bytes per pixel, beside the 20 of the atlas."""
        import torch

        out = torch.empty(self.frames, 3, self.info.height, self.info.width, dtype=torch.uint8)
        for row, frame in zip(out, self.read(), strict=True):
            row.copy_(torch.from_numpy(frame.rgb).permute(2, 0, 1))
        return out


def open_video(path: str | Path, frames: str | None, reporter: Reporter) -> Excerpt:
    """Look at a video and pick ``frames`` ("a:b", None: all); says what was converted."""
    info = probe(path)
    for note in info.notes:
        reporter.note(f"note: {note}")
    return Excerpt(info, parse_span(frames, info.frames))


def codec_of(name: str) -> Codec:
    """The codec by its name on the command line; RequestError for an unknown one."""
    check_choice("--codec", name, Codec)
    return cast(Codec, name)


def open_atlas(
    path: str | Path, excerpt: Excerpt | None, reporter: Reporter, resolution: int | None = None, device: str = "auto"
) -> Atlas:
    """The atlas of a folder, or of a published checkpoint, which is discretised; it must be ``excerpt``'s, if given."""
    from t2l_cli.atlases.checkpoint import load_checkpoint
    from t2l_cli.atlases.store import as_stored, is_atlas_folder, load_atlas

    if is_atlas_folder(path):
        if resolution is not None:
            raise RequestError(f"{shown(path)} is an atlas of pictures already: --resolution is for checkpoints.")
        atlas = load_atlas(path)
    else:
        from t2l_cli.engine.atlas.discretize import Discretization
        from t2l_cli.engine.runtime import resolve

        video = None if excerpt is None else (excerpt.frames, excerpt.info.width, excerpt.info.height)
        networks, identity = load_checkpoint(path, video)
        work = Discretization(networks, identity, resolution or RESOLUTION, resolve(device).device)
        with tracked(work, reporter) as steps:
            for _ in steps:
                pass
        atlas = as_stored(work.result())
    if excerpt is not None:
        atlas.check_video(excerpt.frames, excerpt.info.width, excerpt.info.height)
        own = atlas.video.first_frame
        if own is not None and own != frame_digest(next(excerpt.read()).rgb):
            reporter.warn("the video's first frame is not the one that the atlas was made from: is it the same video?")
    return atlas


def fitted_key(excerpt: Excerpt, config: FitConfig, mask: str | None = None, mask_frame: int | None = None) -> str:
    """A name for the atlas that ``config`` makes of these very frames, with the user's ``mask``, if any."""
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
    for frame in excerpt.read():
        digest.update(frame_digest(frame.rgb).encode())  # a quarter of the time that decoding the frame takes
    digest.update(f"{excerpt.span} {excerpt.info.width} {excerpt.info.height}".encode())
    if mask is not None:
        digest.update(f"{excerpt.span[0] if mask_frame is None else mask_frame}".encode())
        place = Path(mask)
        try:
            for file in sorted(place.iterdir()) if os.path.isdir(place) else [place]:
                digest.update(file.name.encode("utf-8", "surrogateescape"))
                digest.update(file.read_bytes() if os.path.isfile(file) else b"")
        except OSError as error:
            raise RequestError(f"cannot read the mask {shown(mask)}: {reason(error)}.") from error
    return digest.hexdigest()[:24]
