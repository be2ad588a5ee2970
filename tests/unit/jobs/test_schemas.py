"""The published schemas: whole, and what is really written is as they say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import t2l_cli as t2l
from t2l_cli.atlases.store import save_atlas
from t2l_cli.errors import RequestError
from t2l_cli.jobs.job import to_json
from t2l_cli.jobs.schemas import NAMES, schema
from tests.fits_schema import fits
from tests.truth import make_truth


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one(name: str) -> None:
    made = schema(name)
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["title"] == NAMES[name]
    with pytest.raises(jsonschema.ValidationError):
        fits({"what": "ever"}, name)


def test_there_is_no_other_schema() -> None:
    with pytest.raises(RequestError, match="did you mean event"):
        schema("evnt")


REQUESTS: dict[str, Any] = {
    "edit-image": lambda: t2l.edit_image("a.png", ["red", "blue"], preset="draft", mask="m.png", tries=3),
    "edit-video": lambda: t2l.edit_video("a.mp4", foreground="red", background="blue", flow="raft"),
    "fit-atlas": lambda: t2l.fit_atlas("a.mp4", output="atlas", frames="0:3"),
    "render-atlas": lambda: t2l.render_atlas("atlas", output="new"),
    "composite": lambda: t2l.composite("a.png", "layer.png", output="out.png"),
    "report": lambda: t2l.report(["run", "batch"], output="report.html"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_as_its_schema_says(name: str) -> None:
    request = REQUESTS[name]().request
    data = json.loads(to_json(request))
    fits(data, name)
    for field in dataclasses.fields(request):
        with pytest.raises(jsonschema.ValidationError):
            fits(data | {field.name: {"no": "such"}}, name)


def test_an_atlas_is_as_its_schema_says(tmp_path: Path) -> None:
    save_atlas(make_truth((40, 24), 3).atlas(), tmp_path / "atlas")
    record = json.loads((tmp_path / "atlas" / "atlas.json").read_text())
    fits(record, "atlas")
    with pytest.raises(jsonschema.ValidationError):
        fits(record | {"version": "2"}, "atlas")
