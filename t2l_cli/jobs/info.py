"""What is known about a file: a picture or video and the record of the edit in it, a run's run.json, an atlas."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from t2l_cli.errors import RequestError
from t2l_cli.jobs.record import parsed_mark
from t2l_cli.media.paths import STDIO, reason, shown
from t2l_cli.media.records import plain, read_json
from t2l_cli.settings import PHOTO, VIDEO

Kind = Literal["picture", "video", "run", "atlas"]


@dataclass(frozen=True)
class Info:
    """What is known about a file or folder."""

    path: str
    kind: Kind
    facts: dict[str, Any]  # of the file itself, by name
    record: dict[str, Any] | None  # of the run that made it; None: it says nothing of t2l
    digital_source_type: str | None = None  # IPTC's word for the kind of picture

    def as_json(self) -> dict[str, Any]:
        """Everything, for a program."""
        made: dict[str, Any] = plain(self)
        return made

    def rows(self) -> list[tuple[str, str]]:
        """Names and values for a person, in the order to read them; "" as name for a line of text."""
        rows = [("file", shown(self.path)), ("kind", self.kind), *flat(self.facts)]
        if self.digital_source_type:
            rows.append(("digital source type", self.digital_source_type))
        if self.record is None:
            return [*rows, ("", "no record of t2l in it")]
        first = {key: self.record[key] for key in _FIRST if key in self.record}
        rest = {key: value for key, value in self.record.items() if key not in (*_FIRST, *_UNREAD)}
        config = unlike_default(self.record.get("config"), self.record.get("command"))
        return [*rows, ("", ""), *flat(first | rest), *flat({"config": config})]


_FIRST = ("command", "source", "layer", "layers", "texts", "ended", "steps_done", "seed")
_UNREAD = ("format", "version", "details", "config")


def unlike_default(config: Any, command: Any) -> dict[str, Any]:
    """What of a run's configuration is not the default of its command."""
    default = plain((VIDEO if command == "edit-video" else PHOTO).base) | {"prompts": None}
    given = dict(_leaves(config if isinstance(config, dict) else {}))
    usual = dict(_leaves(default))
    return {name: value for name, value in given.items() if usual.get(name) != value}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by their names, with dots."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def look(path: str | os.PathLike[str]) -> Info:
    """What is known about a picture, a video, a run.json or its folder, or an atlas folder.

    RequestError, in one line with the path, for anything else.
    """
    name = os.fspath(path)
    if name == STDIO:
        raise RequestError("t2l info looks at a file; name one.")
    try:
        if os.path.isdir(name):
            return _folder(Path(name))
        if name.endswith(".json"):
            return _run(Path(name))
    except ValueError as error:
        raise RequestError(f"{shown(name)} is not a file name.") from error
    from t2l_cli.media.marks import look_at

    facts = look_at(name)
    record = None if facts.record is None else parsed_mark(facts.record)
    return Info(name, facts.kind, facts.values, record, facts.source_type)


def _folder(folder: Path) -> Info:
    if (folder / "run.json").is_file():
        return _run(folder / "run.json")
    from t2l_cli.atlases.store import is_atlas_folder, read_record

    if not is_atlas_folder(folder):
        raise RequestError(f"the folder {shown(folder)} is neither of a run nor an atlas; name a file in it.")
    record = read_record(folder)
    return Info(str(folder), "atlas", {"video": plain(record.video), "sizes": plain(record.sizes)}, record.origin)


def _run(path: Path) -> Info:
    try:
        record = read_json(path)
    except FileNotFoundError as error:
        raise RequestError(f"there is no file {shown(path)}.") from error
    except OSError as error:
        raise RequestError(f"cannot read {shown(path)}: {reason(error)}.") from error
    except ValueError as error:
        raise RequestError(f"{shown(path)} is not a run.json: {error}.") from error
    if not isinstance(record, dict) or "command" not in record:
        raise RequestError(f"{shown(path)} is not a run.json of t2l.")
    return Info(str(path), "run", {}, record)


def flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of nested mappings, as rows; what is empty is left out."""
    for name, value in _leaves(values):
        if value not in (None, "", [], ()):
            yield name.replace(".", " / ").replace("_", " "), _in_words(value)


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_in_words(each) for each in value)
    return shown(str(value))
