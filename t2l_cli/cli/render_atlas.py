"""`t2l render-atlas`: an atlas as pictures that a person can look at and paint on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import t2l_cli
from t2l_cli.cli import options as o
from t2l_cli.config import RESOLUTION
from t2l_cli.settings import FIT

AtlasPath = Annotated[
    Path, typer.Argument(metavar="ATLAS", help="A published Layered Neural Atlases checkpoint, or an atlas folder.")
]
Video = Annotated[
    Path | None,
    o.option("--video", "--clip-file", metavar="VIDEO", help="The video that it is of: checks it, and measures it."),
]
Frames = Annotated[str | None, o.option("--frames", metavar="A:B", help="The video's frames that the atlas is of.")]
Resolution = Annotated[
    int | None,
    o.option("--resolution", metavar="N", help=f"Texels across a checkpoint's unit square. Default: {RESOLUTION}."),
]


@o.with_settings(FIT.only("device"))
def render_atlas(
    ctx: typer.Context,
    atlas: AtlasPath,
    output: Annotated[Path, o.option("--output", "-o", metavar="DIR", help="The atlas folder to write.")],
    video: Video = None,
    frames: Frames = None,
    resolution: Resolution = None,
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    events: o.Events = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    **settings: Any,
) -> None:
    """Turn an atlas into pictures: t2l render-atlas checkpoint -o atlas.

    The folder holds foreground.png and background.png to look at and paint on, alpha.png, and checkerboard.mp4, which
    shows whether the atlas sticks to things as they move.
    """
    with o.terminal(ctx) as terminal:
        terminal.result(t2l_cli.render_atlas(**o.asked(ctx), reporter=terminal.reporter).write())
