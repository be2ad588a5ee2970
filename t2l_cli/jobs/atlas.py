"""An atlas as pictures to look at and paint on, with a video that shows whether it sticks to things as they move."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from t2l_cli.jobs.excerpt import Excerpt, open_atlas, open_video
from t2l_cli.jobs.job import Result, Stepless, need_output
from t2l_cli.jobs.naming import claimed
from t2l_cli.jobs.pixels import in_notebook, picture_bytes, tensor_of
from t2l_cli.media.compositing import Bytes, rgba
from t2l_cli.media.encode import VideoWriter
from t2l_cli.media.images import save_picture
from t2l_cli.media.records import plain
from t2l_cli.media.videos import Frame, VideoInfo
from t2l_cli.progress import Reporter, counted

if TYPE_CHECKING:
    from t2l_cli.engine.atlas.model import Atlas, AtlasLayer

SQUARE = 0.06  # of the frame's shorter side: a square of the checkerboard


@dataclass(frozen=True)
class RenderRequest:
    """One atlas to be written as pictures: plain data."""

    atlas: str  # an atlas folder, or a published checkpoint
    output: str = ""  # the folder to write; "" where the pictures are only looked at
    video: str | None = None  # that the atlas is of, to check and measure it
    frames: str | None = None  # "a:b" of the video
    resolution: int | None = None  # texels across a checkpoint's unit square
    device: str = "auto"
    overwrite: bool = False


class AtlasPictures:
    """The pictures of a job's ``atlas``."""

    @property
    @abstractmethod
    def atlas(self) -> Atlas:
        """The atlas."""

    @property
    def foreground(self) -> Image.Image:
        """The foreground's texture, RGBA: opaque where it is in use."""
        return _texture(self.atlas.foreground)

    @property
    def background(self) -> Image.Image:
        """The background's texture, RGBA: opaque where it is in use."""
        return _texture(self.atlas.background)

    @property
    def alpha(self) -> Image.Image:
        """The foreground's opacity in the middle frame, grey."""
        return Image.fromarray(_middle_alpha(self.atlas)).convert("L")

    def _repr_png_(self) -> bytes | None:
        return in_notebook(self.foreground) if getattr(self, "has_result", True) else None


class RenderJob(AtlasPictures, Stepless):
    """An atlas read from a folder, or discretised from a published checkpoint. It has no steps of its own."""

    def __init__(self, request: RenderRequest, reporter: Reporter | None = None) -> None:
        super().__init__(reporter)
        self.request = request

    @cached_property
    def excerpt(self) -> Excerpt | None:
        """The video that the atlas is of, where the request names it."""
        request = self.request
        return None if request.video is None else open_video(request.video, request.frames, self.reporter)

    @cached_property
    def atlas(self) -> Atlas:
        """The atlas; with a video, its origin says how well it holds that."""
        request, excerpt = self.request, self.excerpt
        atlas = open_atlas(request.atlas, excerpt, self.reporter, request.resolution, request.device)
        if excerpt is None:
            return atlas
        psnr = _round_trip(atlas, excerpt, self.reporter)
        return dataclasses.replace(atlas, video=excerpt.identity(), origin=atlas.origin | {"round_trip_psnr": psnr})

    @property
    def record(self) -> dict[str, Any]:
        """What the atlas is of, and how well it holds it."""
        from t2l_cli.atlases.store import is_atlas_folder

        atlas, request = self.atlas, self.request
        record = {"command": "render-atlas", "atlas": request.atlas, "video": plain(atlas.video)}
        if request.video is not None:
            return record | {"psnr": atlas.origin["round_trip_psnr"]}
        if is_atlas_folder(request.atlas):
            return record
        return record | {"networks_psnr": atlas.origin["networks_psnr"]}

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the atlas folder with its previews."""
        from t2l_cli.atlases.store import check_atlas_output, save_atlas

        check_atlas_output(path, overwrite, self.request.atlas, self.request.video)
        atlas = self.atlas
        save_atlas(atlas, path, overwrite, beside=lambda folder: write_previews(atlas, folder, self.reporter))

    def write(self) -> Result:
        """Write the request's output, and say how well the atlas holds the video."""
        from t2l_cli.atlases.store import check_atlas_output

        request = self.request
        need_output(request.output)
        check_atlas_output(request.output, request.overwrite, request.atlas, request.video)
        _ = self.excerpt
        with claimed(Path(request.output)):
            record = self.record
            if "psnr" in record:
                self.reporter.note(f"rebuilt from the atlas, the video has a PSNR of {record['psnr']:.1f} dB")
            elif "networks_psnr" in record:
                figure, frames = record["networks_psnr"], self.atlas.video.frames
                self.reporter.note(f"the pictures hold the networks' own video with a PSNR of {figure:.1f} dB")
                self.reporter.note(f"taken to be of {frames} frames; --video checks that, and how well it fits")
            self.save(request.output, request.overwrite)
        return Result("done", (request.output,), record)


def _texture(layer: AtlasLayer) -> Image.Image:
    from t2l_cli.atlases.store import texture_bytes

    return Image.fromarray(rgba(*texture_bytes(layer)).whole())


def _middle_alpha(atlas: Atlas) -> Bytes:
    """The foreground's opacity in the middle frame, (H, W, 3)."""
    return picture_bytes(atlas.alpha[atlas.video.frames // 2].expand(3, -1, -1))


def _round_trip(atlas: Atlas, excerpt: Excerpt, reporter: Reporter) -> float:
    """Mean PSNR, in dB, of the video rebuilt from the atlas."""
    from t2l_cli.engine.atlas.discretize import round_trip

    with counted(excerpt.read(), excerpt.frames, "round trip", reporter) as frames:
        figures = [round_trip(atlas, tensor_of(frame.rgb), t) for t, frame in enumerate(frames)]
    return round(sum(figures) / len(figures), 2)


def write_previews(atlas: Atlas, folder: Path, reporter: Reporter) -> None:
    """Write alpha.png, the opacity of the middle frame, and checkerboard.mp4 into ``folder``."""
    from t2l_cli.engine.atlas.mapping import Mapper, reconstruct
    from t2l_cli.engine.atlas.quality import checkerboard

    video = atlas.video
    save_picture(folder / "alpha.png", _middle_alpha(atlas), overwrite=True)
    side = max(4.0, SQUARE * min(video.width, video.height))
    boards = [checkerboard(layer, side) for layer in (atlas.foreground, atlas.background)]
    mapper = Mapper(atlas, *(dataclasses.replace(board, alpha=board.alpha * 0.5) for board in boards))
    rate = Fraction(video.rate or 25).limit_denominator(1001) or Fraction(1, 1001)
    info = VideoInfo(folder, video.width, video.height, video.frames, rate, 1 / rate, audio=False, names=(), notes=())
    with (
        VideoWriter(folder / "checkerboard.mp4", info, overwrite=True) as writer,
        counted(range(video.frames), video.frames, "checkerboard", reporter) as frames,
    ):
        for t in frames:
            picture = picture_bytes(mapper.over(reconstruct(atlas, t), t))
            writer.write(Frame(picture, t, 1), picture)
