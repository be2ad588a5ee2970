"""Whether data is as its published JSON Schema says, without a key that the schema does not name."""

from __future__ import annotations

import functools
from typing import Any

import jsonschema

from t2l_cli.jobs.schemas import schema


def fits(data: Any, name: str) -> None:
    """Raise ValidationError where ``data`` is not what `t2l schema NAME` says."""
    _validator(name).validate(data)


@functools.cache
def _validator(name: str) -> Any:
    published = schema(name)
    kind = jsonschema.Draft202012Validator
    kind.check_schema(published)
    return kind(_closed(published))


def _closed(part: Any) -> Any:
    """A schema that allows no other properties than those it names."""
    if isinstance(part, list):
        return [_closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(value) for key, value in part.items()}
    return closed | {"additionalProperties": False} if isinstance(part.get("properties"), dict) else closed
