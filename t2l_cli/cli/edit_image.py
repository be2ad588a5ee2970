"""`t2l edit-image`: one edit of a photo."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import t2l_cli
from t2l_cli.cli import options as o
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
    source: Image = None,
    prompts: Prompts = None,
    output: o.Output = None,
    overwrite: o.Overwrite = False,
    run_dir: o.RunDir = None,
    metadata: o.Metadata = True,
    as_json: o.Json = False,
    events: o.Events = None,
    preview: o.Preview = None,
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
    with o.terminal(ctx) as terminal:
        terminal.result(t2l_cli.edit_image(**o.asked(ctx), reporter=terminal.reporter).write())
