"""`t2l composite`: an edit layer over its photo, pixel for pixel as edit-image does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from t2l_cli.cli import options as o
from t2l_cli.cli.naming import claimed
from t2l_cli.cli.terminal import Terminal
from t2l_cli.errors import RequestError

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The photo; - is stdin.")]
Layer = Annotated[str, typer.Argument(metavar="LAYER", help="The RGBA layer, of the photo's size; - is stdin.")]


def composite(
    source: Source,
    layer: Layer,
    output: Annotated[str, o.option("--output", "-o", metavar="PATH", help="Where to write; - is a PNG to stdout.")],
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Lay an RGBA edit layer over a photo: t2l composite photo.jpg layer.png -o out.png."""
    with Terminal(quiet, verbose, as_json) as terminal, claimed(Path(output)):
        _run(source, layer, output, overwrite, terminal)


def _run(source: str, layer: str, output: str, overwrite: bool, terminal: Terminal) -> None:
    from t2l_cli.media import compositing, images

    if source == layer == "-":
        raise RequestError("the photo and the layer cannot both come from the standard input.")
    if output == "-" and terminal.as_json:
        raise RequestError("-o - and --json both write to the standard output; choose one.")
    for given in (source, layer):
        images.check_output(output, overwrite, given)
    picture = images.load_picture(source)
    images.check_output(output, overwrite, source, picture.size)
    rgb = compositing.composite(picture.rgb, *images.load_layer(layer))
    notes = images.save_picture(output, rgb, picture.alpha, picture.icc, picture.exif, overwrite)
    for note in (*picture.notes, *notes):
        terminal.note(f"note: {note}")
    if output != "-":
        terminal.result([Path(output)], {"command": "composite", "source": source, "layer": layer})
