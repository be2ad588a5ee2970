"""`t2l composite`: an edit layer over its photo, or painted atlas layers over their video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from t2l_cli.cli import options as o
from t2l_cli.cli.naming import claimed
from t2l_cli.cli.terminal import Terminal
from t2l_cli.errors import RequestError

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The photo (- is stdin), or with --atlas the video.")]
Layer = Annotated[
    str | None,
    typer.Argument(metavar="LAYER", help="The RGBA layer, of the photo's size; - is stdin.", show_default=False),
]
VIDEOS = "Clips"
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
LayerName = Annotated[
    str, o.option("--layer", metavar="foreground|background", panel=VIDEOS, help="What --paint sticks to.")
]
Frames = Annotated[
    str | None, o.option("--frames", metavar="A:B", panel=VIDEOS, help="The frames that the atlas is of.")
]
Codec = Annotated[
    str,
    o.option(
        "--codec", metavar="h264|lossless|prores", panel=VIDEOS, help="prores: the edit alone with alpha, to .mov."
    ),
]


def composite(
    source: Source,
    output: Annotated[str, o.option("--output", "-o", metavar="PATH", help="Where to write; - is a PNG to stdout.")],
    layer: Layer = None,
    atlas: AtlasPath = None,
    foreground: Foreground = None,
    background: Background = None,
    paint: Paint = None,
    frame: FrameNumber = 0,
    layer_name: LayerName = "foreground",
    frames: Frames = None,
    codec: Codec = "h264",
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Lay an RGBA edit layer over a photo: t2l composite photo.jpg layer.png -o out.png.

    Or painted atlas layers over their video: t2l composite video.mp4 --atlas atlas --foreground painted.png -o out.mp4.
    """
    with Terminal(quiet, verbose, as_json) as terminal, claimed(Path(output)):
        painted = {"foreground": foreground, "background": background}
        if atlas is None:
            if layer is None or any((foreground, background, paint)):
                raise RequestError("give a photo and its LAYER, or a video with --atlas and painted atlas layers.")
            _photo(source, layer, output, overwrite, terminal)
            return
        if layer is not None:
            raise RequestError("with --atlas, painted layers are given by --foreground and --background.")
        if not any((foreground, background, paint)):
            raise RequestError("give --foreground, --background or --paint: nothing is painted yet.")
        if layer_name not in painted:
            raise RequestError(f"--layer must be foreground or background, not {layer_name!r}.")
        from t2l_cli.cli.clip_compositing import ClipRequest, run

        run(
            ClipRequest(Path(source), Path(output), atlas, painted, paint, frame, layer_name, frames, codec, overwrite),
            terminal,
        )


def _photo(source: str, layer: str, output: str, overwrite: bool, terminal: Terminal) -> None:
    from t2l_cli.media import compositing, images

    if source == layer == "-":
        raise RequestError("the photo and the layer cannot both come from the standard input.")
    if output == "-" and terminal.as_json:
        raise RequestError("-o - and --json both write to the standard output; choose one.")
    images.check_output(output, overwrite, source, layer)
    picture = images.load_picture(source)
    images.check_output(output, overwrite, size=picture.size)
    compositing.composite(picture.rgb, *images.load_layer(layer), out=picture.rgb)
    notes = images.save_picture(output, picture.rgb, picture.alpha, picture.icc, picture.exif, overwrite)
    for note in (*picture.notes, *notes):
        terminal.note(f"note: {note}")
    if output != "-":
        terminal.result([Path(output)], {"command": "composite", "source": source, "layer": layer})
