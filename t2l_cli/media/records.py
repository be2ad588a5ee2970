"""JSON records, such as run.json and atlas.json: read, and converted to a dataclass that checks them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from t2l_cli.errors import RequestError
from t2l_cli.media.paths import shown

_Record = TypeVar("_Record")
MAX_BYTES = 16_000_000  # records have kilobytes; anything larger is another kind of file, or endless like /dev/zero


def read_json(path: Path) -> Any:
    """The JSON value in the file. OSError if it cannot be read, ValueError if it is not JSON or too large."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 1_000_000} MB")
    return parsed(data.decode("utf-8"))


def parsed(text: str) -> Any:
    """The JSON value that ``text`` is; ValueError if it is none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


def plain(record: object) -> Any:
    """A dataclass as JSON values: dictionaries, lists, numbers and text; None for what is no finite number."""
    # msgspec leaves tuples as they are, and JSON has no NaN.
    return json.loads(json.dumps(msgspec.to_builtins(record)), parse_constant=lambda name: None)


def built(kind: type[_Record], data: Any, name: str, extra: bool = False, text: bool = False) -> _Record:
    """Convert JSON values to the dataclass ``kind``; absent fields take their defaults.

    extra: allow unknown keys at the top level. text: numbers and yes or no may be written as text. Raises RequestError,
    which calls the data ``name``, if a value has the wrong type or is missing, or if a key is unknown.
    """
    try:
        record = msgspec.convert(data, kind, strict=not text)
    except (msgspec.ValidationError, OverflowError) as error:
        raise RequestError(f"{name}: {explained(str(error))}.") from error
    known = plain(record)
    unknown = _unknown({key: value for key, value in data.items() if key in known} if extra else data, known)
    if unknown is not None:
        raise RequestError(f'{name}: "{shown(unknown)}" is not a setting that this version of t2l knows.')
    return record


def _unknown(data: Any, known: Any) -> str | None:
    """The first key of ``data`` that ``known`` does not have, as a dotted path; None if there is none."""
    if not isinstance(data, dict) or not isinstance(known, dict):
        return None
    for key, value in data.items():
        if key not in known:
            return str(key)
        if (inner := _unknown(value, known[key])) is not None:
            return f"{key}.{inner}"
    return None


def explained(error: str, name: str = "it") -> str:
    """msgspec's message, such as "Expected `int`, got `str` - at `$.optim.steps`", in this program's words.

    name: what the whole of the data is called.
    """
    what, _, place = error.partition(" - at `$")
    where = f'"{shown(place.strip(".`"))}" ' if place else ""
    expected = re.fullmatch(r"Expected (.*), got (.*)", what)
    if expected:
        return f"{where or f'{name} '}must be {shown(expected[1])}, not {shown(expected[2])}"
    return where + shown(what[:1].lower() + what[1:])
