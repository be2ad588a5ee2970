"""`t2l info`: what is known about a file, and the record of the edit in it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

import t2l_cli
from t2l_cli.cli import options as o
from t2l_cli.cli.terminal import printable

File = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A picture, a video, a run.json or its folder, or an atlas folder."),
]
Json = Annotated[bool, o.option("--json", help="Print one JSON object; its record is null where there is none.")]
Verbose = Annotated[bool, o.option("--verbose", "-v", help="Show tracebacks and the libraries' warnings.")]


def info(ctx: typer.Context, file: File, as_json: Json = False, verbose: Verbose = False) -> None:
    """Show what a file holds, and how t2l made it: t2l info photo-crochet-swan.png.

    A file without a record of t2l is no error. The record repeats the edit: t2l edit-image --config FILE.
    """
    with o.terminal(ctx) as terminal:
        found = t2l_cli.info(file)
        if as_json:
            terminal.write(json.dumps(found.as_json()))
        else:
            rows = found.rows()
            width = max(len(name) for name, _ in rows)
            terminal.write("\n".join(printable(f"{name:{width}}  {value}" if name else value) for name, value in rows))
