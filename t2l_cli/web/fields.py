"""The settings as fields of the page: made from the one table, and read back as keywords of the Python functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import gradio as gr

from t2l_cli.config import DEFAULT_PRESET, EditConfig, value_of
from t2l_cli.errors import RequestError
from t2l_cli.settings import PHOTO, VIDEO, Setting, Table
from t2l_cli.weights.names import clips

APART = ("clip", "seed", "roi")  # have a place of their own on the page
UNSET = "default"  # in the fields with a choice
FREE = ("device",)  # of those with a choice, the ones that take other words, too: cuda:1
_BOOLEANS = {"yes": True, "no": False}


def panels() -> dict[str, list[Setting]]:
    """The settings for the page's folded part, by their headings."""
    found: dict[str, list[Setting]] = {}
    for setting in VIDEO.settings:
        if setting.name not in APART:
            found.setdefault(setting.panel, []).append(setting)
    return found


def field(setting: Setting) -> Any:
    """The field of a setting; empty, or at UNSET, it leaves the setting to the preset."""
    told: dict[str, Any] = {"label": setting.key, "info": setting.help}
    if choices := _choices(setting):
        return gr.Dropdown([UNSET, *choices], value=UNSET, allow_custom_value=setting.name in FREE, **told)
    varies = VIDEO.varies(setting) or PHOTO.varies(setting)
    return gr.Textbox("", placeholder="the preset's" if varies else VIDEO.default(setting), **told)


def _choices(setting: Setting) -> list[str]:
    """The words that a setting may be; none where it may be anything."""
    if VIDEO.kind(setting) is bool:
        return list(_BOOLEANS)
    words = [word for word in (setting.metavar or "").split("|") if word.replace("-", "").isalnum()]
    return words if len(words) > 1 else []


def clip_field(chosen: Sequence[str]) -> Any:
    """The field of the CLIP models."""
    return gr.Dropdown(
        clips(),
        value=list(chosen),
        multiselect=True,
        allow_custom_value=True,
        label="CLIP",
        info="Who judges. mini is inside the package and knows colours; ViT-B-32 is downloaded once, 600 MB.",
    )


def keywords(settings: Iterable[Setting], values: Iterable[Any]) -> dict[str, Any]:
    """What the fields of ``settings`` hold, without the empty ones; RequestError where it should be a number."""
    return {
        setting.name: _value(setting, value.strip())
        for setting, value in zip(settings, values, strict=True)
        if value is not None and value.strip() not in ("", UNSET)
    }


def _value(setting: Setting, text: str) -> Any:
    kind = VIDEO.kind(setting)
    try:
        return _BOOLEANS[text] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise RequestError(f"{setting.option} is a number, not {text!r}.") from error


def filled(settings: Iterable[Setting], config: EditConfig, table: Table[EditConfig]) -> tuple[str, list[str]]:
    """The preset and what the fields of ``settings`` hold, to repeat a run with this ``config`` of the ``table``.

    A preset sets more than the fields can: it is the first one from which the fields lead to the whole ``config``.
    """
    for preset in sorted(table.presets, key=lambda name: name != DEFAULT_PRESET):
        start = table.configure({}, preset)
        values = {one.name: (value_of(start, one.field), value_of(config, one.field)) for one in table.settings}
        given = {name: value for name, (usual, value) in values.items() if value != usual}
        whole = dataclasses.replace(table.configure(given, preset), prompts=config.prompts)
        if whole == config:
            return preset, [_text(setting, given.get(setting.name)) for setting in settings]
    return DEFAULT_PRESET, [_text(setting, value_of(config, setting.field)) for setting in settings]


def _text(setting: Setting, value: Any) -> str:
    """What the field of ``setting`` holds for a ``value``; None: nobody chose one."""
    if value is None:
        return UNSET if _choices(setting) else ""
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
