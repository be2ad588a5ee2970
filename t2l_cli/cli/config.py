"""`t2l config`: the user's file, and what it makes of the options' defaults."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer

from t2l_cli.cli import options as o
from t2l_cli.cli.command import Command, Defaults, commands
from t2l_cli.cli.precedence import Chosen, settled
from t2l_cli.cli.terminal import Terminal
from t2l_cli.cli.user_file import UserFile, file_path, line_of, options_of
from t2l_cli.errors import RequestError
from t2l_cli.media.paths import shown
from t2l_cli.settings import did_you_mean

config = typer.Typer(help="The file of your own defaults: show, path.", no_args_is_help=True)

Name = Annotated[
    str | None,
    typer.Argument(metavar="COMMAND", help='One command, such as edit-image or "models pull".', show_default=False),
]
Json = Annotated[bool, o.option("--json", help="Print JSON.")]


@config.command()
def show(ctx: typer.Context, command: Name = None, as_json: Json = False) -> None:
    """Print the value of each option without a command line, and where it comes from.

    That is the environment, the file, a preset of the file, or the program itself.
    """
    with Terminal(as_json=as_json) as terminal:
        known = commands(ctx)
        if command is not None and command not in known:
            raise RequestError(f"there is no command {command!r}{did_you_mean(command, known) or '.'}")
        names = list(known) if command is None else [command]
        file = Defaults("", known).file
        found = {words: _values(ctx, words, known[words], Defaults(words, known)) for words in names}
        if as_json:
            terminal.write(json.dumps({"file": str(file.path), "commands": _plain(file, found)}))
        else:
            terminal.write("\n".join(_lines(file, found)))


@config.command()
def path(as_json: Json = False) -> None:
    """Print the path of the file, which need not exist. T2L_CONFIG_FILE names another one."""
    with Terminal(as_json=as_json) as terminal:
        terminal.paths([str(file_path())], {})


def _values(ctx: Any, words: str, command: Command, defaults: Defaults) -> dict[str, Chosen]:
    """The options of a command that is given no word, by their keys."""
    bare: Any = command.make_context(words, [], parent=ctx.find_root(), resilient_parsing=True, default_map=defaults)
    for parameter in command.params:
        source, variable = bare.get_parameter_source(parameter.name), str(parameter.envvar)
        if source is not None and source.name == "ENVIRONMENT" and bare.params[parameter.name] is None:
            raise RequestError(f"{variable} is nothing that {parameter.opts[0]} takes: {shown(os.environ[variable])}.")
    values = settled(bare)
    return {key: values[option.name] for key, option in options_of(command.callback).items()}


def _plain(file: UserFile, found: dict[str, dict[str, Chosen]]) -> dict[str, Any]:
    def entry(one: Chosen) -> dict[str, Any]:
        value = one.value if isinstance(one.value, str | bool | int | float | list | None) else str(one.value)
        place: dict[str, Any] = {"line": line_of(file.text, one.keys)} if one.keys else {}
        return {"value": value, "origin": one.origin, **place, **({"place": one.place} if one.place else {})}

    return {words: {key: entry(one) for key, one in values.items()} for words, values in found.items()}


def _lines(file: UserFile, found: dict[str, dict[str, Chosen]]) -> list[str]:
    """The values as a file could have them, each with its origin; what has no value is left out."""
    lines = [f"# {shown(file.path)}"]
    for words, values in found.items():
        lines += ["", f"[{words.replace(' ', '.')}]"]
        for key, one in values.items():
            if one.value is not None:
                value = one.value if isinstance(one.value, bool | int | float | list) else str(one.value)
                lines.append(f"{f'{key} = {json.dumps(value)}':<32}# {_origin(file, one)}")
    return lines


def _origin(file: UserFile, one: Chosen) -> str:
    if one.origin == "file":
        return f"line {line_of(file.text, one.keys)}"
    return f"preset {shown(one.place)}" if one.origin == "preset" else one.place or one.origin
