"""Options: those that several commands share, and how the table of settings becomes options."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from t2l_cli.config import DEFAULT_PRESET, PRESETS
from t2l_cli.settings import CLIP, EDIT, RUN, Table

OUTPUT = "Output"
_Command = TypeVar("_Command", bound=Callable[..., None])


def option(*names: str, help: str, panel: str | None = None, metavar: str | None = None, **more: Any) -> Any:
    """A typer option that can also come from T2L_<NAME>, after its first name."""
    variable = "T2L_" + names[0].partition("/")[0].lstrip("-").replace("-", "_").upper()
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, envvar=variable, **more)


def with_settings(*tables: Table[Any]) -> Callable[[_Command], _Command]:
    """Give a command whose last parameter is ``**settings`` an option for each setting of ``tables``."""

    def decorate(command: _Command) -> _Command:
        signature = inspect.signature(command)
        fixed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        kinds = typing.get_type_hints(command, include_extras=True)
        own = [parameter.replace(annotation=kinds[parameter.name]) for parameter in fixed]
        settings = [_parameter(table, setting) for table in tables for setting in table.settings]
        command.__signature__ = signature.replace(parameters=[*own, *settings])  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *settings)}
        return command

    return decorate


def _parameter(table: Table[Any], setting: Any) -> inspect.Parameter:
    spelled = option(
        setting.option,
        help=f"{setting.help} Default: {table.default(setting)}.",
        panel=setting.panel,
        metavar=setting.metavar,
        show_default=False,
    )
    one = table.kind(setting)
    kind = list[one] | None if setting.several else one | None  # type: ignore[valid-type]  # known at run time
    annotation = Annotated[kind, spelled]  # type: ignore[valid-type]
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


_HOW_TO_SPEAK = ("as_json", "quiet", "verbose")  # of the terminal; the rest says what to do


def asked(ctx: typer.Context) -> dict[str, Any]:
    """The options of a command, as keywords for the Python function of the same name.

    What was not given is None, also where several values may be: of those, typer makes an empty list.
    """
    options = {name: value for name, value in ctx.params.items() if name not in _HOW_TO_SPEAK}
    return {name: (value or None) if isinstance(value, list | tuple) else value for name, value in options.items()}


Output = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        metavar="PATH",
        panel=OUTPUT,
        help="Where to write; the suffix says the format, - is a PNG to stdout. Default: in the working directory, "
        "named after picture and prompt, such as photo-crochet-swan.png.",
    ),
]
Overwrite = Annotated[bool, option("--overwrite", panel=OUTPUT, help="Replace an output that exists.")]
RunDir = Annotated[
    Path | None,
    option(
        "--run-dir",
        metavar="DIR",
        panel=OUTPUT,
        help="Keep everything of the run here: layer, alpha, composite, losses.csv, run.json, snapshots.",
    ),
]
Json = Annotated[bool, option("--json", panel=OUTPUT, help="Print one JSON object instead of the paths written.")]
Quiet = Annotated[bool, option("--quiet", "-q", panel=OUTPUT, help="No progress and no notes.")]
Verbose = Annotated[bool, option("--verbose", "-v", panel=OUTPUT, help="Show tracebacks and the libraries' warnings.")]

Mask = Annotated[
    Path | None,
    option("--mask", metavar="PATH", panel=EDIT, help="Keep the edit inside the white area of this picture."),
]
Config = Annotated[
    Path | None,
    option(
        "--config",
        metavar="RUN.JSON",
        panel=EDIT,
        help="Repeat the run that wrote this file; whatever else is given wins over it.",
    ),
]

ClipWeights = Annotated[
    Path | None,
    option(
        "--clip-weights",
        metavar="PATH",
        panel=CLIP,
        help="Local weights file for that model; for the first of several.",
    ),
]
Offline = Annotated[bool, option("--offline", panel=CLIP, help="Never touch the network.")]

PresetName = Annotated[
    str | None,
    option(
        "--preset",
        metavar="|".join(PRESETS),
        panel=RUN,
        help="standard is the paper's; draft is for a CPU or a first look; fine trains at a larger size. "
        f"Default: {DEFAULT_PRESET}.",
    ),
]
