"""`t2l edit-image`: the command line of one edit; the work itself is in editing.py."""

from __future__ import annotations

from typing import Annotated

import typer

from t2l_cli.cli import options as o
from t2l_cli.cli.naming import claimed
from t2l_cli.cli.terminal import Terminal

Image = Annotated[
    str | None, typer.Argument(metavar="IMAGE", help="The photo, in any still format; - is stdin.", show_default=False)
]
Prompts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT", help="What it should show; several describe one and the same edit.", show_default=False
    ),
]


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
    roi: o.Roi = None,
    layer_text: o.LayerText = None,
    mask: o.Mask = None,
    config: o.Config = None,
    preset: o.PresetName = None,
    steps: o.Steps = None,
    size: o.Size = None,
    views: o.Views = None,
    tries: o.Tries = None,
    seed: o.Seed = None,
    device: o.Device = None,
    precision: o.Precision = None,
    clip: o.ClipName = None,
    clip_weights: o.ClipWeights = None,
    offline: o.Offline = False,
    screen_weight: o.ScreenWeight = None,
    structure_weight: o.StructureWeight = None,
    sparsity_weight: o.SparsityWeight = None,
    l1_weight: o.L1Weight = None,
    bootstrap_weight: o.BootstrapWeight = None,
    distance: o.Distance = None,
    lr: o.Lr = None,
    lr_decay: o.LrDecay = None,
    lr_min: o.LrMin = None,
    weight_decay: o.WeightDecay = None,
    momentum: o.Momentum = None,
    source_every: o.SourceEvery = None,
    try_steps: o.TrySteps = None,
    shared_draws: o.SharedDraws = None,
) -> None:
    """Edit a photo from text: t2l edit-image photo.jpg "crochet swan".

    The rest of the photo stays as it is, byte for byte where the edit is transparent. Ctrl-C keeps the result so far.
    """
    with Terminal(quiet, verbose, as_json) as terminal:
        from t2l_cli.cli.editing import checked, run

        request = checked(ctx.params)
        with claimed(request.output):
            run(request, terminal)
