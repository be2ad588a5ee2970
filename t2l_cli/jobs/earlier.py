"""What an earlier run says about repeating it: in its run.json, or inside the picture or video that it made."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from t2l_cli.config import LAYERS, EditConfig, FitConfig
from t2l_cli.errors import RequestError
from t2l_cli.jobs.record import file_name, parsed_mark
from t2l_cli.media.opening import sha256_if_file
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.records import built, read_json

Input = Literal["source", "mask", "clip_weights", "atlas"]
_INPUTS: dict[Input, str] = {
    "source": "name it",
    "mask": "give it by --mask",
    "clip_weights": "give them by --clip-weights",
    "atlas": "give it by --atlas",
}


@dataclass(frozen=True)
class Earlier:
    """What an earlier run says about repeating it; without a ``config`` there is no such run."""

    config: EditConfig | None = None
    source: str | None = None
    source_sha256: str | None = None
    mask: str | None = None
    mask_sha256: str | None = None
    clip_weights: str | None = None
    atlas: str | None = None  # of a video
    layers: dict[str, tuple[str, ...]] | None = None  # of a video: layer -> prompts
    excerpt: str | None = None  # of a video: "a:b"
    fit: FitConfig | None = None  # of a video without an atlas
    inside: str | None = None  # the picture or video that holds the record; None: it is a run.json

    def file(self, name: Input) -> str | None:
        """The path of an input of the run; None if it had none.

        A record inside a picture comes from whoever sent the picture, and names files without their folders. Photo,
        video and mask are taken from beside the picture, where their checksum is the recorded one; RequestError where
        it is not, and for everything else, which the user gives.
        """
        value: str | None = getattr(self, name)
        if value is None or self.inside is None:
            return value
        digest = {"source": self.source_sha256, "mask": self.mask_sha256}.get(name)
        beside = Path(self.inside).parent / value
        what = f"{shown(self.inside)} was made with the {name.replace('_', ' ')} {shown(value)}"
        if digest is None or value != file_name(value) or not value.strip("."):
            raise RequestError(f"{what}: {_INPUTS[name]}.")
        if not beside.is_file():
            raise RequestError(f"{what}, which is not beside it: {_INPUTS[name]}.")
        if sha256_if_file(beside) != digest:
            raise RequestError(f"{what}, and {shown(beside)} is not that file: {_INPUTS[name]}.")
        return str(beside)


def read_run(path: str | Path | None) -> Earlier:
    """Read a run.json, or the record in a picture or video; None: there is none.

    RequestError where it is not one that this version can repeat.
    """
    if path is None:
        return Earlier()
    name = f"--config {shown(path)}"
    inside = False
    try:
        record = read_json(Path(path))
    except OSError as error:
        raise RequestError(f"cannot read {name}: {reason(error)}.") from error
    except ValueError as error:  # not JSON, not UTF-8, or no name for a file
        record, inside = _record_inside(path), True
        if record is None:
            raise RequestError(f"{name} is not a run.json: {error}.") from error
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        what = "holds no edit that can be repeated" if inside else 'is not a run.json of t2l: it has no "config"'
        raise RequestError(f"{name} {what}.")
    config = built(EditConfig, record["config"], f"{name}, config")
    earlier = built(Earlier, record | {"config": None}, name, extra=True)  # of the rest, a little is needed
    if not set(earlier.layers or {}) <= set(LAYERS):
        raise RequestError(f'{name}: "layers" must name foreground or background.')
    for field in _INPUTS:
        try:
            with contextlib.suppress(OSError):  # whether it is there is asked later
                os.lstat(getattr(earlier, field) or "")
        except ValueError as error:
            raise RequestError(f'{name}: "{field}" cannot be: {reason(error)}.') from error
    return dataclasses.replace(earlier, config=config, inside=str(path) if inside else None)


def _record_inside(path: str | Path) -> dict[str, Any] | None:
    """The record in a picture or video; None where the file is neither. RequestError where it has none."""
    from t2l_cli.media.marks import look_at

    if not os.path.isfile(path):
        return None
    try:
        facts = look_at(path)
    except RequestError:
        return None
    record = None if facts.record is None else parsed_mark(facts.record)
    if record is None:
        raise RequestError(f"--config {shown(path)} holds no record of t2l: was it written with --no-metadata?")
    return record
