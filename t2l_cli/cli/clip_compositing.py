"""Painted atlas layers, or paint on one frame, over their video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from t2l_cli.cli.terminal import Terminal
from t2l_cli.cli.video_editing import layer_of, map_back
from t2l_cli.cli.videos import codec_of, open_atlas, open_clip
from t2l_cli.errors import RequestError
from t2l_cli.media.encode import check_video_output
from t2l_cli.media.images import load_layer

if TYPE_CHECKING:
    from t2l_cli.engine.atlas.model import LayerName
    from t2l_cli.engine.layers import EditLayer


@dataclass(frozen=True)
class ClipRequest:
    """One command line of composite for a video."""

    source: Path
    output: Path
    atlas: Path
    painted: dict[str, Path | None]  # layer -> RGBA picture of the atlas's size
    paint: Path | None  # RGBA picture of a frame's size
    frame: int
    layer: str  # what the paint sticks to
    frames: str | None
    codec: str
    overwrite: bool


def run(request: ClipRequest, terminal: Terminal) -> None:
    """Write the video with the paint on it; RequestError where layers, atlas and video do not fit."""
    codec = codec_of(request.codec)
    inputs = (request.source, request.atlas, *request.painted.values(), request.paint)
    check_video_output(request.output, request.overwrite, *inputs, codec=codec)
    layers = {name: layer_of(*load_layer(path)) for name, path in request.painted.items() if path is not None}
    excerpt = open_clip(request.source, request.frames, terminal)
    atlas = open_atlas(request.atlas, excerpt, terminal)
    if request.paint is not None:
        if request.layer in layers:
            raise RequestError(f"give the {request.layer} either as a painted layer or by --paint.")
        layers[request.layer] = _carried(request, layer_of(*load_layer(request.paint)), atlas)
    map_back(excerpt, atlas, layers, request.output, codec, request.overwrite, terminal)
    record = {"command": "composite", "source": str(request.source), "atlas": str(request.atlas)}
    terminal.result([request.output], record)


def _carried(request: ClipRequest, paint: EditLayer, atlas: object) -> EditLayer:
    from t2l_cli.engine.atlas.mapping import from_frame
    from t2l_cli.engine.atlas.model import Atlas

    assert isinstance(atlas, Atlas)
    video = atlas.video
    if not 0 <= request.frame < video.frames:
        raise RequestError(f"--frame must be between 0 and {video.frames - 1}, not {request.frame}.")
    if paint.size != (video.height, video.width):
        raise RequestError(
            f"the paint is {paint.size[1]} x {paint.size[0]} px, the video's frames {video.width} x {video.height}."
        )
    return from_frame(atlas, request.frame, paint, cast("LayerName", request.layer))
