"""`t2l composite`: an edit layer over its photo, or painted atlas layers over their video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

import t2l_cli
from t2l_cli.cli import options as o
from t2l_cli.config import CODECS, DEFAULT_CODEC, DEFAULT_LAYER, LAYERS, BlendMode

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The photo (- is stdin), or with --atlas the video.")]
Layer = Annotated[
    str | None,
    typer.Argument(
        metavar="LAYER", help="The RGBA layer, of the photo's size, or a .ora; - is stdin.", show_default=False
    ),
]
VIDEOS = "Videos"
AtlasPath = Annotated[Path | None, o.option("--atlas", metavar="ATLAS", panel=VIDEOS, help="The video's atlas.")]
Foreground = Annotated[
    Path | None, o.option("--foreground", metavar="PNG", panel=VIDEOS, help="Painted RGBA layer of the foreground.")
]
Background = Annotated[
    Path | None, o.option("--background", metavar="PNG", panel=VIDEOS, help="Painted RGBA layer of the background.")
]
Paint = Annotated[
    Path | None,
    o.option("--paint", metavar="PNG", panel=VIDEOS, help="RGBA paint on one frame, carried to all; see --frame."),
]
FrameNumber = Annotated[int, o.option("--frame", metavar="N", panel=VIDEOS, help="Frame that --paint is on, from 0.")]
LayerName = Annotated[str, o.option("--layer", metavar="|".join(LAYERS), panel=VIDEOS, help="What --paint sticks to.")]
Frames = Annotated[
    str | None, o.option("--frames", metavar="A:B", panel=VIDEOS, help="The frames that the atlas is of.")
]
Codec = Annotated[
    str,
    o.option("--codec", metavar="|".join(CODECS), panel=VIDEOS, help="prores: the edit alone with alpha, to .mov."),
]


Blend = Annotated[
    str,
    o.option(
        "--blend",
        metavar="MODE",
        help="How the layer's colours meet what is below: as in t2l edit-video, or in an image editor. A photo's layer "
        "shows its edit with normal.",
        autocompletion=o.one_of(get_args(BlendMode)),
    ),
]

Opacity = Annotated[float, o.option("--opacity", metavar="X", help="How much of the layer is seen, from 0 to 1.")]
Matte = Annotated[
    str,
    o.option("--matte", metavar="auto|on|off", help="Bring the outlines of a photo's LAYER to those of the photo."),
]


def composite(
    ctx: typer.Context,
    source: Source,
    output: Annotated[str, o.option("--output", "-o", metavar="PATH", help="Where to write; - is a PNG to stdout.")],
    layer: Layer = None,
    blend: Blend = "normal",
    opacity: Opacity = 1.0,
    matte: Matte = "off",
    atlas: AtlasPath = None,
    foreground: Foreground = None,
    background: Background = None,
    paint: Paint = None,
    frame: FrameNumber = 0,
    paint_layer: LayerName = DEFAULT_LAYER,
    frames: Frames = None,
    codec: Codec = DEFAULT_CODEC,
    overwrite: o.Overwrite = False,
    metadata: o.Metadata = True,
    as_json: o.Json = False,
    events: o.Events = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Lay an RGBA edit layer over a photo: t2l composite photo.jpg layer.png -o out.png.

    Or painted atlas layers over their video: t2l composite video.mp4 --atlas atlas --foreground painted.png -o out.mp4.
    """
    with o.terminal(ctx) as terminal:
        terminal.result(t2l_cli.composite(**o.asked(ctx), reporter=terminal.reporter).write())
