"""What wins over what: the command line, the environment, --preset, the user's file, and last what is built in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import typer

from t2l_cli.cli.command import Defaults
from t2l_cli.cli.user_file import PRESET, Keys, UserFile, tables_of
from t2l_cli.config import DEFAULT_PRESET, PRESETS, value_of
from t2l_cli.errors import RequestError
from t2l_cli.media.paths import shown
from t2l_cli.settings import FIT_SETTINGS

Origin = Literal["command line", "environment", "preset", "file", "built in"]
_OF_A_FIT = (*FIT_SETTINGS, "fit_preset", "mask")  # what does nothing where an atlas is given
# What an earlier run's run.json says, beside the settings.
_OF_A_RUN = (PRESET, "mask", "clip_weights", "atlas", "fit_preset")


@dataclass(frozen=True)
class Chosen:
    """The value of an option and where it comes from."""

    value: Any
    origin: Origin = "built in"
    place: str = ""  # the variable or the preset
    keys: Keys = ()  # in the file


def chosen(ctx: typer.Context) -> dict[str, Chosen]:
    """The value of each of a command's parameters.

    A preset that was asked for wins over the file's values of what presets set; one that the file names does not. A
    preset of the user's becomes the built-in one below it, and its settings. With --config the earlier run says
    whatever the file could say of the edit itself. The file and its presets say nothing of a fit where there is an
    atlas already, nor of an atlas where there is none.
    """
    values = _laid(ctx)
    if "atlas" not in values:
        return values
    idle = _OF_A_FIT if _is_given(values, "atlas") else ("resolution",)
    return _without_file(values, set(idle), ("file", "preset"))


def _laid(ctx: typer.Context) -> dict[str, Chosen]:
    """The same, whether or not the values do anything beside each other."""
    values = {name: _given(ctx, name) for name in ctx.params}
    if not isinstance(ctx.default_map, Defaults):
        return values
    settings = {setting.name for table in tables_of(ctx.command.callback) for setting in table.settings}
    if _is_given(values, "config"):
        values = _without_file(values, {*settings, *_OF_A_RUN})
    preset = values.get(PRESET, Chosen(None))
    own = ctx.default_map.file.presets.get(preset.value)
    if preset.value is not None and own is None:
        _check_name(preset.value, ctx.default_map.file)
    if preset.origin in ("command line", "environment"):
        varying = {s.name for table in tables_of(ctx.command.callback) for s in table.settings if table.varies(s)}
        values = _without_file(values, varying | set(own.settings if own else ()))
    if own is None:
        return values
    laid = {name: Chosen(value, "preset", preset.value) for name, value in own.settings.items()}
    values |= {name: one for name, one in laid.items() if name in values and values[name].origin == "built in"}
    return values | {PRESET: dataclasses.replace(preset, value=own.base)}


def settled(ctx: typer.Context) -> dict[str, Chosen]:
    """The same, where the settings that nobody chose have the value that the preset, or the program, gives them."""
    values, found = chosen(ctx), {}
    if _is_given(values, "config"):  # it depends on that run.json
        return values
    preset = values.get(PRESET, Chosen(None))
    name = DEFAULT_PRESET if preset.value is None else ctx.params[PRESET]
    for table in tables_of(ctx.command.callback):
        settings = {setting.name: setting for setting in table.settings if setting.name in values}
        config = table.configure({one: values[one].value for one in settings}, preset.value)
        for one, setting in settings.items():
            if values[one].value is None:
                value = value_of(config, setting.field)
                by_preset = preset.origin != "built in" and table.varies(setting)
                found[one] = Chosen(value, "preset", name) if by_preset else Chosen(value)
    if PRESET in values:
        found[PRESET] = dataclasses.replace(preset, value=name)
    return values | found


def _is_given(values: dict[str, Chosen], name: str) -> bool:
    return name in values and values[name].value is not None


def _check_name(name: str, file: UserFile) -> None:
    """RequestError where neither t2l nor the user has a preset of this name."""
    known = [*PRESETS, *file.presets]
    if name not in known:
        raise RequestError(f"there is no preset {name!r}; choose one of {', '.join(map(shown, known))}.")


def _without_file(
    values: dict[str, Chosen], names: set[str], origins: tuple[Origin, ...] = ("file",)
) -> dict[str, Chosen]:
    """``values``, where the file has no say on ``names``; all of them are options that are None by default."""
    return {name: Chosen(None) if name in names and one.origin in origins else one for name, one in values.items()}


def _given(ctx: typer.Context, name: str) -> Chosen:
    source, value = ctx.get_parameter_source(name), ctx.params[name]
    if isinstance(value, list | tuple):
        value = value or None  # of several values that were not given, typer makes an empty list
    match source.name if source else "":
        case "COMMANDLINE":
            return Chosen(value, "command line")
        case "ENVIRONMENT":
            return Chosen(value, "environment", next(str(p.envvar) for p in ctx.command.params if p.name == name))
        case "DEFAULT_MAP" if isinstance(ctx.default_map, Defaults):
            return Chosen(value, "file", keys=ctx.default_map.entries[name].keys)
    return Chosen(value)


def origin(ctx: typer.Context, option: str) -> str:
    """Where the value of ``option``, such as --steps, comes from: "" where it is the command line or built in."""
    name = next((str(parameter.name) for parameter in ctx.command.params if option in parameter.opts), None)
    try:
        return "" if name is None else place_of(ctx, chosen(ctx)[name])
    except RequestError:  # of the preset's name
        return ""


def place_of(ctx: typer.Context, one: Chosen) -> str:
    """Where a value comes from, for a person: a variable, a preset, or file and line; "" where none of these."""
    if one.origin == "file" and isinstance(ctx.default_map, Defaults):
        return ctx.default_map.file.where(one.keys)
    return f"the preset {shown(one.place)}" if one.origin == "preset" else one.place
