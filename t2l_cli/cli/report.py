"""`t2l report`: edits on one page of HTML, to look at offline."""

from __future__ import annotations

from typing import Annotated

import typer

import t2l_cli
from t2l_cli.cli import options as o

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN_OR_BATCH",
        help="Run directories (--run-dir), or a folder of several; folders of batches; results with their record.",
    ),
]
Output = Annotated[str, o.option("--output", "-o", metavar="FILE", panel=o.OUTPUT, help="The page to write, .html.")]


def report(
    ctx: typer.Context,
    sources: Sources,
    output: Output = "report.html",
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    events: o.Events = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Show edits on one page that opens offline: t2l report run -o report.html.

    Per edit: before and after under a slider, the layer, the losses, texts, settings, times, and the command that
    repeats it. A run directory knows all of that; a result only what its record holds.
    """
    with o.terminal(ctx) as terminal:
        terminal.result(t2l_cli.report(**o.asked(ctx), reporter=terminal.reporter).write())
