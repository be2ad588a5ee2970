"""JSON Schemas of what t2l writes and reads: made from the very classes that it works with."""

from __future__ import annotations

import importlib
from typing import Any

import msgspec

from t2l_cli.errors import RequestError
from t2l_cli.settings import did_you_mean

NAMES = {
    "run": "run.json of a run directory",
    "event": "a line of --events",
    "atlas": "atlas.json of an atlas folder",
    "edit-image": "the request of t2l edit-image",
    "edit-video": "the request of t2l edit-video",
    "fit-atlas": "the request of t2l fit-atlas",
    "render-atlas": "the request of t2l render-atlas",
    "composite": "the request of t2l composite",
    "report": "the request of t2l report",
    "row": "a row of t2l batch --jobs",
    "line": "a line of results.jsonl, which t2l batch writes",
}
_CLASSES = {  # by module; some need torch, so that they are imported when they are asked for
    "run": ("jobs.run_record", "PhotoRecord", "VideoRecord", "FitRecord"),
    "event": ("events", "AnyEvent"),
    "atlas": ("atlases.store", "AtlasRecord"),
    "edit-image": ("jobs.photo", "PhotoRequest"),
    "edit-video": ("jobs.video_request", "VideoRequest"),
    "fit-atlas": ("jobs.fit", "FitRequest"),
    "render-atlas": ("jobs.atlas", "RenderRequest"),
    "composite": ("jobs.composite", "CompositeRequest"),
    "report": ("jobs.report.report", "ReportRequest"),
    "row": ("jobs.batch.rows", "PhotoRow", "VideoRow"),
    "line": ("jobs.batch.results", "Entry"),
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema called ``name``; RequestError where there is none."""
    if name not in NAMES:
        raise RequestError(f"there is no schema {name!r}{did_you_mean(name, NAMES) or '; t2l schema lists them.'}")
    home, *classes = _CLASSES[name]
    module = importlib.import_module(f"t2l_cli.{home}")
    kinds, definitions = msgspec.json.schema_components([getattr(module, one) for one in classes])
    body = dict(kinds[0]) if len(kinds) == 1 else {"anyOf": list(kinds)}
    return {"$schema": _DIALECT, "title": NAMES[name], **body, "$defs": definitions}
