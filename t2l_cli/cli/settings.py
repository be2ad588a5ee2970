"""From flags, a preset and an earlier run.json to one checked EditConfig.

What is given on the command line or in the environment wins over --preset, that over --config, that over the defaults.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from t2l_cli.config import PRESETS, EditConfig, Preset, with_preset
from t2l_cli.errors import RequestError

DEFAULT_PRESET = "standard"
FIELDS: dict[str, str] = {  # parameter of the command -> field of EditConfig, "part.field" in one of its parts
    "roi": "roi",
    "layer_text": "layer_text",
    "clip": "clip",
    "size": "size",
    "seed": "seed",
    "tries": "tries",
    "device": "device",
    "precision": "precision",
    "steps": "optim.steps",
    "views": "views.n_views",
    "screen_weight": "weights.screen",
    "structure_weight": "weights.structure",
    "sparsity_weight": "weights.sparsity",
    "l1_weight": "weights.l1",
    "bootstrap_weight": "weights.bootstrap",
    "distance": "weights.distance",
    "lr": "optim.lr",
    "lr_decay": "optim.lr_decay",
    "lr_min": "optim.lr_min",
    "weight_decay": "optim.weight_decay",
    "momentum": "optim.momentum",
    "source_every": "optim.source_every",
    "try_steps": "try_steps",
    "shared_draws": "views.shared_draws",
    "texels": "segment.texels",
}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
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


def edit_config(
    prompts: tuple[str, ...],
    preset: str | None,
    earlier: EditConfig | None,
    given: Mapping[str, Any],
    base: Callable[[tuple[str, ...]], EditConfig] = EditConfig,
    presets: Mapping[str, Preset] = PRESETS,
) -> EditConfig:
    """The settings of one edit. ``given`` holds the command's parameters by name, None where the user said nothing.

    ``base`` and ``presets`` are a picture's, or those of a clip's layer.

    Raises RequestError for whatever is out of range, here and in :mod:`t2l_cli.config`.
    """
    config = earlier or base(prompts)
    if prompts:
        config = dataclasses.replace(config, prompts=prompts)
    if preset is not None or earlier is None:
        config = with_preset(config, preset or DEFAULT_PRESET, presets)
    for name, field in FIELDS.items():
        if given.get(name) is not None:  # photos have fewer settings than clips
            config = _with(config, field, given[name])
    if not _DEVICE.fullmatch(config.device):
        raise RequestError(f"--device must be auto, cpu, cuda, cuda:N or mps, not {config.device!r}.")
    return config


def default_of(name: str) -> Any:
    """The default of a command's parameter, from where it lives: :mod:`t2l_cli.config`."""
    value: Any = EditConfig(prompts=("-",))
    for part in FIELDS[name].split("."):
        value = getattr(value, part)
    return value


def read_run(path: Path) -> Earlier:
    """Read a run.json. RequestError where it is not one, down to unknown settings and wrong types."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"cannot read --config {path}: {error.strerror or error}.") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise RequestError(f"--config {path} is not a run.json: {error}.") from error
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise RequestError(f'--config {path} is not a run.json of t2l: it has no "config".')
    config = _build(EditConfig, record["config"], "config")
    inputs = {name: record.get(name) for name in ("source", "mask", "clip_weights")}
    for name, value in inputs.items():
        if not isinstance(value, str) and (value is not None or name == "source"):
            raise RequestError(f'--config {path}: "{name}" must be a path.')
    atlas, layers = record.get("atlas"), record.get("layers")
    if layers is not None:
        if not isinstance(layers, dict) or not set(layers) <= {"foreground", "background"}:
            raise RequestError(f'--config {path}: "layers" must name foreground or background.')
        layers = {name: _value(tuple[str, ...], prompts, f"layers.{name}") for name, prompts in layers.items()}
    return Earlier(
        config, **typing.cast("dict[str, Any]", inputs), atlas=atlas if isinstance(atlas, str) else None, layers=layers
    )


def _with(config: _Config, field: str, value: object) -> _Config:
    """A copy of the dataclass ``config`` with ``field``, maybe "part.field", set."""
    name, _, rest = field.partition(".")
    new = _with(getattr(config, name), rest, value) if rest else value
    return dataclasses.replace(config, **{name: new})  # type: ignore[type-var]  # a dataclass, which TypeVar cannot say


def _build(kind: type[_Config], data: object, where: str) -> _Config:
    """The dataclass ``kind`` from a JSON object; absent fields take their defaults."""
    if not isinstance(data, dict):
        raise RequestError(f'run.json: "{where}" must be an object.')
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise RequestError(f'run.json: "{where}.{unknown[0]}" is not a setting that this version of t2l knows.')
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
        if not isinstance(value, list):
            raise RequestError(f'run.json: "{where}" must be a list.')
        return tuple(_value(arguments[0], item, where) for item in value)
    kind = str if origin is typing.Literal else hint
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
        raise RequestError(f'run.json: "{where}" must be of type {kind.__name__}, not {value!r}.')
    return value
