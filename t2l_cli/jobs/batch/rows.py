"""The rows of a batch: what a manifest (.jsonl, .csv, .toml) says of each job, checked, with line numbers."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from t2l_cli.errors import RequestError
from t2l_cli.jobs.photo import PhotoRequest
from t2l_cli.jobs.video_request import VideoRequest
from t2l_cli.media.paths import STDIO, reason, shown
from t2l_cli.media.records import built
from t2l_cli.settings import FIT, FIT_SETTINGS, PHOTO, VIDEO, Table, check_names

PHOTO_COMMAND, VIDEO_COMMAND = "edit-image", "edit-video"
Request = PhotoRequest | VideoRequest


def _columns(*tables: Table[Any], **more: Any) -> Any:
    settings: dict[str, Any] = {}
    for table in tables:
        for setting in table.settings:
            one: Any = table.kind(setting)
            settings[setting.name] = one | list[one] if setting.several else one
    own: dict[str, Any] = {
        "command": str,
        "source": str,
        "prompt": str | list[str],
        "output": str,
        "mask": str,
        "preset": str,
    }
    own |= {"clip_weights": str, "offline": bool, "config": str, "run_dir": str}
    return [(name, kind | None, None) for name, kind in (own | more | settings).items()]


PhotoRow = msgspec.defstruct("PhotoRow", _columns(PHOTO), module=__name__, forbid_unknown_fields=True)
"""A manifest's row of edit-image: its columns, of which each may be left out."""

_VIDEO_TEXTS = ("layer", "foreground", "background", "atlas", "frames", "fit_preset", "codec")
VideoRow = msgspec.defstruct(
    "VideoRow",
    _columns(VIDEO, FIT.only(*FIT_SETTINGS), **dict.fromkeys(_VIDEO_TEXTS, str), resolution=int),
    module=__name__,
    forbid_unknown_fields=True,
)
"""A manifest's row of edit-video."""

_KINDS: dict[str, tuple[Any, Any, tuple[Table[Any], ...]]] = {
    PHOTO_COMMAND: (PhotoRow, PhotoRequest, (PHOTO,)),
    VIDEO_COMMAND: (VideoRow, VideoRequest, (VIDEO, FIT.only(*FIT_SETTINGS))),
}
_PATHS = ("source", "mask", "clip_weights", "config", "run_dir", "atlas")  # columns that name files


@dataclass(frozen=True)
class Row:
    """One job as it was asked for. Paths in ``values`` are as this process opens them."""

    where: str  # for messages: "line 3" of a manifest, or the photo's path as it is shown
    source: str
    label: str  # the source as the manifest or the command line has it, so that it is the same on every machine
    prompts: tuple[str, ...] = ()
    command: str = PHOTO_COMMAND
    output: str | None = None  # in the batch's folder, where the user names it
    folder: str = ""  # in the batch's folder: where the output goes
    values: Mapping[str, Any] = field(default_factory=dict)  # all other columns that are given

    def request(self, output: Path) -> Request:
        """The request with this ``output``; RequestError for what cannot be."""
        _, request, tables = _KINDS[self.command]
        names = {setting.name for table in tables for setting in table.settings}
        settings = {name: value for name, value in self.values.items() if name in names}
        more = {name: value for name, value in self.values.items() if name not in names}
        made: Request = request.of(self.source, self.prompts, settings, output=str(output), **more)
        return made


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a row."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def read_manifest(path: Path, defaults: Mapping[str, Any], prompts: tuple[str, ...]) -> Iterator[Row | Wrong]:
    """The rows of a manifest in their order, or what is wrong with them.

    defaults, prompts: for what a row leaves open. A path in the manifest is relative to the manifest's folder.
    RequestError where there is no manifest to read.
    """
    for where, data, text in _raw_rows(path):
        if isinstance(data, Wrong):
            yield data
            continue
        try:
            yield _row(where, data, text, path.parent, defaults, prompts)
        except (RequestError, TypeError) as error:  # TypeError: a column that does not exist
            yield Wrong(where, str(error).removeprefix(f"{where}: "))


def _row(where: str, data: Any, text: bool, folder: Path, defaults: Mapping[str, Any], prompts: tuple[str, ...]) -> Row:
    if not isinstance(data, dict):
        raise RequestError("a row must be a table of columns.")
    data = {str(name).strip().lstrip("-").replace("-", "_"): value for name, value in data.items()}
    command = data.get("command") or PHOTO_COMMAND
    if command not in _KINDS:
        raise RequestError(f'"command" must be {" or ".join(_KINDS)}, not {shown(str(command))}.')
    kind, _, _ = _KINDS[command]
    check_names(data, kind.__struct_fields__)
    given = {name: value for name, value in msgspec.to_builtins(built(kind, data, where, text=text)).items()}
    given = {name: value for name, value in given.items() if value is not None}
    label = given.get("source") or ""
    if not label or label == STDIO:
        raise RequestError('"source" must name a photo or a video.')
    for name in _PATHS:
        if name in given:
            given[name] = str(folder / given[name])
    own = given.pop("prompt", ())
    named = any(name in given for name in ("foreground", "background"))
    texts = (own,) if isinstance(own, str) else tuple(own) or (() if named else prompts)
    values = {name: value for name, value in defaults.items() if name in kind.__struct_fields__} | given
    for name in ("source", "command", "output"):
        values.pop(name, None)
    return Row(where, given["source"], label, texts, command, given.get("output"), "", values)


def _raw_rows(path: Path) -> Iterator[tuple[str, Any, bool]]:
    """(where, columns or Wrong, whether all values are text) of each row."""
    readers = {".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv_rows, ".toml": _toml_jobs}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise RequestError(f"--jobs {shown(path)} must be a file .jsonl, .csv or .toml.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else reason(error)
        raise RequestError(f"cannot read --jobs {shown(path)}: {why}.") from error
    yield from reader(text, path)


def _json_lines(text: str, path: Path) -> Iterator[tuple[str, Any, bool]]:
    for number, line in enumerate(text.split("\n"), 1):
        where = f"line {number}"
        if not line.strip():
            continue
        try:
            yield where, json.loads(line), False
        except (ValueError, RecursionError) as error:
            yield where, Wrong(where, f"not JSON: {error}"), False


def _csv_rows(text: str, path: Path) -> Iterator[tuple[str, Any, bool]]:
    lines = csv.reader(text.splitlines(keepends=True), strict=True)
    header: list[str] | None = None
    try:
        for cells in lines:
            where = f"line {lines.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = cells
            elif len(cells) > len(header):
                yield where, Wrong(where, f"{len(cells)} cells under {len(header)} columns."), True
            else:
                filled = zip(header, cells, strict=False)
                yield where, {name: cell for name, cell in filled if cell.strip()}, True
    except csv.Error as error:
        yield "", Wrong(f"line {lines.line_num}", f"not CSV: {error}."), True


_JOB = re.compile(r"^\s*\[\[\s*job\s*\]\]", re.MULTILINE)


def _toml_jobs(text: str, path: Path) -> Iterator[tuple[str, Any, bool]]:
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"--jobs {shown(path)} is not TOML: {shown(str(error))}.") from error
    jobs = data.get("job")
    if set(data) != {"job"} or not isinstance(jobs, list):
        raise RequestError(f"--jobs {shown(path)} must hold [[job]] tables and nothing else.")
    lines = [text.count("\n", 0, found.end()) + 1 for found in _JOB.finditer(text)]
    for i, job in enumerate(jobs):
        # tomllib knows no lines, and text of several lines may hold what looks like a table.
        yield f"line {lines[i]}" if len(lines) == len(jobs) else f"job {i + 1}", job, False
