"""Painted atlas layers mapped back onto their video, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from t2l_cli.config import BlendMode, Codec
from t2l_cli.jobs.excerpt import Excerpt
from t2l_cli.jobs.pixels import bytes_of, picture_bytes, tensor_of
from t2l_cli.media.compositing import Levels
from t2l_cli.media.encode import VideoWriter
from t2l_cli.media.xmp import Mark
from t2l_cli.progress import Reporter, counted

MEASURED = 5  # frames per layer that tell how light the places are that an edit shades

if TYPE_CHECKING:
    from t2l_cli.engine.atlas.mapping import Mapper
    from t2l_cli.engine.atlas.model import Atlas
    from t2l_cli.engine.layers import EditLayer


def layer_of(rgb: Levels, alpha: Levels) -> EditLayer:
    """A picture's layer from its levels (H, W, 3) and (H, W)."""
    from t2l_cli.engine.layers import EditLayer

    return EditLayer(tensor_of(rgb)[None], tensor_of(alpha)[None])


def map_back(
    excerpt: Excerpt,
    atlas: Atlas,
    layers: Mapping[str, EditLayer],
    output: Path,
    codec: Codec,
    overwrite: bool,
    reporter: Reporter,
    blend: BlendMode = "normal",
    mark: Mark | None = None,
    keep: bool = True,
) -> None:
    """Write the video with the painted atlas ``layers`` on it; with the codec prores the edit alone, with its alpha.

    mark: what the file says of its making. keep: the source's tags stay.
    """
    mapper = mapper_of(excerpt, atlas, layers, blend)
    with (
        VideoWriter(output, excerpt.info, codec, excerpt.span, overwrite, mark, keep) as writer,
        counted(excerpt.read(), excerpt.frames, "mapping back", reporter) as frames,
    ):
        for t, frame in enumerate(frames):
            if codec == "prores":
                writer.write(frame, *bytes_of(mapper.layer(t, tensor_of(frame.rgb))))
            else:
                writer.write(frame, picture_bytes(mapper.over(tensor_of(frame.rgb), t)))
    for note in writer.notes:
        reporter.note(f"note: {note}")


def mapper_of(excerpt: Excerpt, atlas: Atlas, layers: Mapping[str, EditLayer], blend: BlendMode) -> Mapper:
    """What maps ``layers`` to the frames of the video; for the mode shade it has seen some of them."""
    from t2l_cli.engine.atlas.mapping import Mapper

    mapper = Mapper(atlas, layers.get("foreground"), layers.get("background"), blend=blend)
    if blend == "shade":
        chosen = mapper.telling(MEASURED)
        mapper.measure({t: tensor_of(frame.rgb) for t, frame in enumerate(excerpt.read()) if t in chosen})
    return mapper


def middle_frame(
    excerpt: Excerpt, atlas: Atlas, layers: Mapping[str, EditLayer], blend: BlendMode = "normal"
) -> Image.Image:
    """The video's middle frame with the painted atlas ``layers`` on it."""
    mapper, t = mapper_of(excerpt, atlas, layers, blend), excerpt.frames // 2
    frame = next(islice(excerpt.read(), t, None))
    return Image.fromarray(picture_bytes(mapper.over(tensor_of(frame.rgb), t)))
