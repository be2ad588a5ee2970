"""The settings as fields of the studio's page, and back."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("gradio")

from t2l_cli.errors import RequestError
from t2l_cli.settings import PHOTO, VIDEO
from t2l_cli.web import fields

SETTINGS = [setting for panel in fields.panels().values() for setting in panel]
GIVEN: dict[str, Any] = {
    "steps": 7,
    "lr": 0.01,
    "blend": "color",
    "shared_draws": True,
    "layer_text": "fog",
}


def test_every_setting_has_a_field() -> None:
    assert {setting.name for setting in SETTINGS} | set(fields.APART) == {setting.name for setting in VIDEO.settings}
    untouched = [fields.field(setting).value for setting in SETTINGS]
    assert fields.keywords(SETTINGS, untouched) == {}


def test_what_is_written_into_the_fields_is_what_is_asked_for() -> None:
    texts = {"steps": " 7", "lr": "0.01", "blend": "color", "shared_draws": "yes", "layer_text": "fog"}
    values = [texts.get(setting.name, fields.field(setting).value) for setting in SETTINGS]
    assert fields.keywords(SETTINGS, values) == GIVEN


@pytest.mark.parametrize(("name", "text"), [("steps", "many"), ("steps", "1.5"), ("lr", "x"), ("shared_draws", "x")])
def test_a_word_for_a_number_is_said(name: str, text: str) -> None:
    values = [text if setting.name == name else None for setting in SETTINGS]
    with pytest.raises(RequestError, match=f"not '{text}'"):
        fields.keywords(SETTINGS, values)


@pytest.mark.parametrize("preset", ["draft", "standard", "fine"])
def test_a_runs_configuration_fills_the_fields_so_that_they_repeat_it(preset: str) -> None:
    config = PHOTO.configure(GIVEN, preset)
    found, filled = fields.filled(SETTINGS, config, PHOTO)
    assert PHOTO.configure(fields.keywords(SETTINGS, filled), found) == config
