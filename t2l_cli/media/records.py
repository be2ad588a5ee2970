"""JSON files that the program reads: run.json, atlas.json, config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 16_000_000  # records have kilobytes; what is larger is another file, or has no end, as /dev/zero


def read_json(path: Path) -> Any:
    """What the file holds. OSError where it cannot be read, ValueError where it is no record in JSON."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 1_000_000} MB")
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
