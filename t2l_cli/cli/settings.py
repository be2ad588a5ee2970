"""What an earlier run's run.json says about repeating it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import reprlib
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from t2l_cli.config import EditConfig
from t2l_cli.errors import RequestError
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.records import read_json

_Config = TypeVar("_Config")


@dataclass(frozen=True)
class Earlier:
    """What an earlier run's run.json says about repeating it; empty where there is none."""

    config: EditConfig | None = None
    source: str | None = None
    mask: str | None = None
    clip_weights: str | None = None
    atlas: str | None = None  # of a clip
    layers: dict[str, tuple[str, ...]] | None = None  # of a clip: layer -> prompts


def read_run(path: Path) -> Earlier:
    """Read a run.json. RequestError where it is not one, down to unknown settings and wrong types."""
    try:
        record = read_json(path)
    except OSError as error:
        raise RequestError(f"cannot read --config {shown(path)}: {reason(error)}.") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise RequestError(f"--config {shown(path)} is not a run.json: {error}.") from error
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise RequestError(f'--config {shown(path)} is not a run.json of t2l: it has no "config".')
    config = _build(EditConfig, record["config"], "config")
    inputs = {name: record.get(name) for name in ("source", "mask", "clip_weights", "atlas")}
    for name, value in inputs.items():
        if not isinstance(value, str) and (value is not None or name == "source"):
            raise RequestError(f'--config {shown(path)}: "{name}" must be a path.')
        try:
            with contextlib.suppress(OSError):  # whether it is there is asked later
                os.lstat(value or "")
        except ValueError as error:
            raise RequestError(f'--config {shown(path)}: "{name}" cannot be: {reason(error)}.') from error
    layers = record.get("layers")
    if layers is not None:
        if not isinstance(layers, dict) or not set(layers) <= {"foreground", "background"}:
            raise RequestError(f'--config {shown(path)}: "layers" must name foreground or background.')
        layers = {name: _value(tuple[str, ...], prompts, f"layers.{name}") for name, prompts in layers.items()}
    return Earlier(config, **typing.cast("dict[str, Any]", inputs), layers=layers)


def _build(kind: type[_Config], data: object, where: str) -> _Config:
    """The dataclass ``kind`` from a JSON object; absent fields take their defaults."""
    if not isinstance(data, dict):
        raise RequestError(f'run.json: "{where}" must be an object.')
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise RequestError(f'run.json: "{where}.{shown(unknown[0])}" is not a setting that this version of t2l knows.')
    if "prompts" in hints and "prompts" not in data:
        raise RequestError(f'run.json: "{where}.prompts" is missing.')
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """``value`` from JSON as the type ``hint``: a part, a tuple, a number, a text, or None where that is allowed."""
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return None if value is None else _value(arguments[0], value, where)
    if origin is tuple:
        if not isinstance(value, list) or (arguments[-1] is not ... and len(value) != len(arguments)):
            length = "" if arguments[-1] is ... else f" of {len(arguments)}"
            raise RequestError(f'run.json: "{where}" must be a list{length}.')
        return tuple(_value(arguments[0], item, where) for item in value)
    kind = str if origin is typing.Literal else hint
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
        raise RequestError(f'run.json: "{where}" must be of type {kind.__name__}, not {reprlib.repr(value)}.')
    if isinstance(value, int | float) and not abs(value) < math.inf:
        raise RequestError(f'run.json: "{where}" must be a finite number, not {value}.')
    return value
