"""`t2l edit-image`: the command line of one edit; the work itself is in editing.py."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from t2l_cli.cli import options as o
from t2l_cli.cli.naming import claimed
from t2l_cli.cli.terminal import Terminal
from t2l_cli.settings import PHOTO

Image = Annotated[
    str | None, typer.Argument(metavar="IMAGE", help="The photo, in any still format; - is stdin.", show_default=False)
]
Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT", help="What it should show; several describe one and the same edit.", show_default=False
    ),
]


@o.with_settings(PHOTO)
def edit_image(
    ctx: typer.Context,
    image: Image = None,
    prompts: Prompts = None,
    output: o.Output = None,
    overwrite: o.Overwrite = False,
    run_dir: o.RunDir = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    mask: o.Mask = None,
    config: o.Config = None,
    preset: o.PresetName = None,
    clip_weights: o.ClipWeights = None,
    offline: o.Offline = False,
    **settings: Any,
) -> None:
    """Edit a photo from text: t2l edit-image photo.jpg "crochet swan".

    The rest of the photo stays as it is, byte for byte where the edit is transparent. Ctrl-C keeps the result so far.
    """
    with Terminal(quiet, verbose, as_json) as terminal:
        from t2l_cli.cli.editing import checked, run

        request = checked(ctx.params, settings)
        with claimed(request.output, request.run_dir):
            run(request, terminal)
