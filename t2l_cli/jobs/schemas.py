"""JSON Schemas of what t2l writes and reads: made from the very classes that it works with."""

from __future__ import annotations

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
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema called ``name``; RequestError where there is none."""
    if name not in NAMES:
        raise RequestError(f"there is no schema {name!r}{did_you_mean(name, NAMES) or '; t2l schema lists them.'}")
    kinds, definitions = msgspec.json.schema_components(_kinds(name))
    body = dict(kinds[0]) if len(kinds) == 1 else {"anyOf": list(kinds)}
    return {"$schema": _DIALECT, "title": NAMES[name], **body, "$defs": definitions}


def _kinds(name: str) -> tuple[Any, ...]:
    """The classes of the data called ``name``. Some of them need torch, so that they are not at the top."""
    match name:
        case "run":
            from t2l_cli.jobs.run_record import FitRecord, PhotoRecord, VideoRecord

            return PhotoRecord, VideoRecord, FitRecord
        case "event":
            from t2l_cli.events import AnyEvent

            return (AnyEvent,)
        case "atlas":
            from t2l_cli.atlases.store import AtlasRecord

            return (AtlasRecord,)
        case "edit-image":
            from t2l_cli.jobs.photo import PhotoRequest

            return (PhotoRequest,)
        case "edit-video":
            from t2l_cli.jobs.video_request import VideoRequest

            return (VideoRequest,)
        case "fit-atlas":
            from t2l_cli.jobs.fit import FitRequest

            return (FitRequest,)
        case "render-atlas":
            from t2l_cli.jobs.atlas import RenderRequest

            return (RenderRequest,)
    from t2l_cli.jobs.composite import CompositeRequest

    return (CompositeRequest,)
