"""`t2l schema`: what the files and events look like, for programs that read them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from t2l_cli.cli.terminal import Terminal

Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Which one. Default: list the names.", show_default=False)
]


def schema(name: Name = None) -> None:
    """Print the JSON Schema of a kind of file, of the events, or of a command's request: t2l schema run."""
    with Terminal() as terminal:
        from t2l_cli.jobs import schemas

        if name is None:
            terminal.write("\n".join(f"{known}\t{what}" for known, what in schemas.NAMES.items()))
        else:
            terminal.write(json.dumps(schemas.schema(name), indent=2))
