"""What an earlier run's run.json says about repeating it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from t2l_cli.config import EditConfig
from t2l_cli.errors import RequestError
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.records import built, read_json

_INPUTS = ("source", "mask", "clip_weights", "atlas")


@dataclass(frozen=True)
class Earlier:
    """What an earlier run's run.json says about repeating it; without a ``config`` there is no such run."""

    config: EditConfig | None = None
    source: str | None = None
    mask: str | None = None
    clip_weights: str | None = None
    atlas: str | None = None  # of a video
    layers: dict[str, tuple[str, ...]] | None = None  # of a video: layer -> prompts


def read_run(path: str | Path | None) -> Earlier:
    """Read a run.json; None: there is none. RequestError where it is not one that this version can repeat."""
    if path is None:
        return Earlier()
    try:
        record = read_json(Path(path))
    except OSError as error:
        raise RequestError(f"cannot read --config {shown(path)}: {reason(error)}.") from error
    except ValueError as error:  # not JSON, not UTF-8, or no name for a file
        raise RequestError(f"--config {shown(path)} is not a run.json: {error}.") from error
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise RequestError(f'--config {shown(path)} is not a run.json of t2l: it has no "config".')
    name = f"--config {shown(path)}"
    config = built(EditConfig, record["config"], f"{name}, config")
    earlier = built(Earlier, record | {"config": None}, name, extra=True)  # of the rest, a little is needed
    if not set(earlier.layers or {}) <= {"foreground", "background"}:
        raise RequestError(f'{name}: "layers" must name foreground or background.')
    for field in _INPUTS:
        try:
            with contextlib.suppress(OSError):  # whether it is there is asked later
                os.lstat(getattr(earlier, field) or "")
        except ValueError as error:
            raise RequestError(f'{name}: "{field}" cannot be: {reason(error)}.') from error
    return dataclasses.replace(earlier, config=config)
