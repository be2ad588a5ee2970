"""`t2l models`: the weights of CLIP models, and of the networks for clips, on this machine."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from t2l_cli.cli import options as o
from t2l_cli.cli.command import Command
from t2l_cli.progress import downloading

if TYPE_CHECKING:
    from t2l_cli.weights.registry import ModelEntry

models = typer.Typer(help="The weights cache: list, pull, path, remove.", no_args_is_help=True)


def _published(incomplete: str) -> list[str]:
    from t2l_cli.weights.names import published

    return o.one_of(published())(incomplete)


def _removable(incomplete: str) -> list[str]:
    from t2l_cli.weights.names import removable

    return o.one_of(removable())(incomplete)


_NAME: Any = {
    "metavar": "NAME",
    "help": "A CLIP as for --clip, such as ViT-B-32 or hf-hub:owner/name; or raft, mask-rcnn.",
}
Json = Annotated[bool, o.option("--json", help="Print JSON.")]
Quiet = Annotated[bool, o.option("--quiet", "-q", help="No progress and no notes.")]
Verbose = Annotated[bool, o.option("--verbose", "-v", help="Show tracebacks and the libraries' warnings.")]


@models.command("list", cls=Command)
def list_(
    ctx: typer.Context,
    cached: Annotated[bool, o.option("--cached", help="Only those on this machine.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the models that t2l can use, those on this machine first: name, size, licence, and the side that they see.

    A licence that is unknown is not a permission: look at the model's page.
    """
    with o.terminal(ctx) as terminal:
        from t2l_cli.weights.registry import list_models

        entries = sorted((e for e in list_models() if e.cached or not cached), key=lambda e: not e.cached)
        if as_json:
            terminal.write(json.dumps([dataclasses.asdict(entry) for entry in entries]))
        elif sys.stdout.isatty():
            _table(entries)
        else:
            terminal.write("\n".join("\t".join((e.name, "cached" if e.cached else "-", *_facts(e))) for e in entries))


@models.command(cls=Command)
def pull(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(autocompletion=_published, **_NAME)],
    offline: o.Offline = False,
    as_json: Json = False,
    events: o.Events = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Download the weights of a model into the cache and print their path."""
    with o.terminal(ctx) as terminal:
        from t2l_cli.jobs.job import Result
        from t2l_cli.weights import registry

        with downloading(name, terminal.reporter) as tell:
            path = registry.pull(name, tell, offline)
        terminal.result(Result("done", (str(path),), {"model": name}))


@models.command(cls=Command)
def path(ctx: typer.Context, as_json: Json = False) -> None:
    """Print the cache folder; it may be copied to another machine."""
    with o.terminal(ctx) as terminal:
        from t2l_cli.weights.cache import cache_dir

        terminal.paths([str(cache_dir())], {})


@models.command(cls=Command)
def remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(autocompletion=_removable, **_NAME)],
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Delete the weights of a model from the cache; the cache of the Hugging Face hub's own programs stays as it is."""
    with o.terminal(ctx) as terminal:
        from t2l_cli.weights import registry

        freed = registry.remove(name)
        terminal.note(f"{name}: {_size(freed)} freed")
        if as_json:
            terminal.write(json.dumps({"model": name, "freed": freed}))


def _table(entries: list[ModelEntry]) -> None:
    from rich.console import Console
    from rich.table import Table

    table: Any = Table("model", "here", "size", "licence", "sees", box=None)
    for entry in entries:
        table.add_row(entry.name, "yes" if entry.cached else "", *_facts(entry))
    Console(highlight=False).print(table)


def _facts(entry: ModelEntry) -> tuple[str, str, str]:
    """Size, licence and resolution in words."""
    return (
        ("about " if entry.about else "") + _size(entry.size),
        entry.licence + (" (non-commercial)" if entry.non_commercial else ""),
        "-" if entry.resolution is None else f"{entry.resolution} px",
    )


def _size(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.1f} MB"
