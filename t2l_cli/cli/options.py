"""Options: those that several commands share, and how the table of settings becomes options."""

from __future__ import annotations

import contextlib
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from t2l_cli.cli.command import Defaults, commands, words_of
from t2l_cli.cli.pictures import WAYS
from t2l_cli.cli.precedence import chosen, origin
from t2l_cli.cli.terminal import Terminal
from t2l_cli.config import DEFAULT_PRESET, PRESETS
from t2l_cli.errors import T2LError
from t2l_cli.settings import CLIP, EDIT, RUN, Table

OUTPUT = "Output"
_Command = TypeVar("_Command", bound=Callable[..., None])


def option(*names: str, help: str, panel: str | None = None, metavar: str | None = None, **more: Any) -> Any:
    """A typer option that can also come from T2L_<NAME>, after its first name; shells complete what it may be."""
    variable = "T2L_" + names[0].partition("/")[0].lstrip("-").replace("-", "_").upper()
    if metavar and "|" in metavar:  # auto|cpu|cuda[:N]|mps: the words in small letters are meant literally
        more.setdefault("autocompletion", one_of([word for word in metavar.split("|") if word.islower()]))
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
        command.tables = tables  # type: ignore[attr-defined]
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
        **({"autocompletion": clip_names} if setting.name == "clip" else {}),
    )
    one = table.kind(setting)
    kind = list[one] | None if setting.several else one | None  # type: ignore[valid-type]  # known at run time
    annotation = Annotated[kind, spelled]  # type: ignore[valid-type]
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


_HOW_TO_SPEAK = (
    "as_json",
    "quiet",
    "verbose",
    "events",
    "preview",
    "open_page",
)  # options of the terminal itself; all others are the request's

# By a preview's file.
_NOT_REPLACED = ("source", "mask", "config", "clip_weights", "atlas", "output", "run_dir", "events")


def asked(ctx: typer.Context) -> dict[str, Any]:
    """The options of a command, as keywords for the Python function of the same name."""
    return {name: one.value for name, one in chosen(ctx).items() if name not in _HOW_TO_SPEAK}


@contextlib.contextmanager
def terminal(ctx: typer.Context) -> Iterator[Terminal]:
    """The terminal of a command, as the command's options want it."""
    wanted = ctx.params
    quiet, verbose, as_json = (wanted.get(name, False) for name in ("quiet", "verbose", "as_json"))
    with Terminal(quiet, verbose, as_json, lambda option: origin(ctx, option)) as made:
        output, events = wanted.get("output"), wanted.get("events")
        made.check_stdout(None if output is None else str(output), events)
        if events is not None:
            made.tell_events(events, words_of(ctx), wanted.get("overwrite", False))
        if (preview := wanted.get("preview")) is not None:
            others = tuple(wanted.get(name) for name in _NOT_REPLACED)
            made.show_previews(preview, wanted.get("overwrite", False), others)
        yield made


def one_of(names: Iterable[str]) -> Callable[[str], list[str]]:
    """What shells ask to complete a word that is one of ``names``."""

    def completed(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return completed


def clip_names(incomplete: str) -> list[str]:
    """The CLIPs that --clip takes, for shells that complete words."""
    from t2l_cli.weights.names import clips

    return one_of(clips())(incomplete)


def preset_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The presets, the user's own among them, for shells that complete words."""
    own: Iterable[str] = ()
    with contextlib.suppress(T2LError):
        own = Defaults(words_of(ctx), commands(ctx)).file.presets
    return [name for name in (*PRESETS, *own) if name.startswith(incomplete)]


Output = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        metavar="PATH",
        panel=OUTPUT,
        help="Where to write; the suffix says the format (.ora and .psd have layers), - is a PNG to stdout. "
        "Default: in the working directory, named after picture and prompt, such as photo-crochet-swan.png.",
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
Metadata = Annotated[
    bool,
    option(
        "--metadata/--no-metadata",
        panel=OUTPUT,
        help="The result holds a record of the edit (t2l info shows it) and the source's EXIF, XMP or tags; without, "
        "it holds nothing but its colour profile.",
    ),
]
Json = Annotated[bool, option("--json", panel=OUTPUT, help="Print one JSON object instead of the paths written.")]
Events = Annotated[
    str | None,
    option(
        "--events",
        metavar="[FILE]",
        panel=OUTPUT,
        help="Tell what happens as lines of JSON, to FILE or, without FILE, to stdout instead of the paths written.",
    ),
]
Preview = Annotated[
    str | None,
    option(
        "--preview",
        metavar="[FILE.png|WAY]",
        panel=OUTPUT,
        help="Look at the edit while it trains: in the terminal or, with FILE.png, in that file, which is rewritten. "
        "It takes at most 2 % of the time. The terminal is asked for the best way to draw; "
        f"WAY ({', '.join(WAYS)}) decides it.",
        autocompletion=one_of(WAYS),
    ),
]
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
        metavar="RUN",
        panel=EDIT,
        help="Repeat a run, from its run.json or from its result; whatever else is given wins over it.",
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
        autocompletion=preset_names,
    ),
]
