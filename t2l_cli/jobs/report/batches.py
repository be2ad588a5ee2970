"""What the folder of a batch says of its jobs: results.jsonl, and the results-I.jsonl of its shards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from t2l_cli.errors import RequestError
from t2l_cli.jobs.job import Failure
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.records import built, parsed

_OWN = re.compile(r"results(-\d+)?\.jsonl")


@dataclass(frozen=True)
class Entry:
    """What a report takes from a line of results.jsonl: a job that ended."""

    output: str  # the job's name: its output's path in the batch's folder
    status: str
    command: str
    source: str
    prompts: tuple[str, ...]
    inputs: dict[str, dict[str, object]] = field(default_factory=dict)
    seconds: float = 0.0
    ended: str = ""
    error: Failure | None = None

    @property
    def source_sha256(self) -> str | None:
        """Of the source when the job began."""
        digest = self.inputs.get("source", {}).get("sha256")
        return digest if isinstance(digest, str) else None


def result_files(folder: Path) -> list[Path]:
    """The files of results in ``folder``; none where it is not that of a batch."""
    return sorted(path for path in folder.iterdir() if _OWN.fullmatch(path.name))


def entries_in(files: list[Path]) -> list[Entry]:
    """The last word on each job in the files of results, by the jobs' names. RequestError for other files."""
    last: dict[str, Entry] = {}
    for path in files:
        for entry in _read(path):
            if entry.output not in last or last[entry.output].ended <= entry.ended:
                last[entry.output] = entry
    return [last[name] for name in sorted(last)]


def _read(path: Path) -> list[Entry]:
    found = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):  # the last line of a batch that was killed may be cut
                    name = f"{shown(path)}, line {number}"
                    found.append(_entry(parsed(line.decode()), name))
    except OSError as error:
        raise RequestError(f"cannot read {shown(path)}: {reason(error)}.") from error
    except ValueError as error:
        raise RequestError(f"{shown(path)} is not a batch's file of results: {error}.") from error
    return found


def _entry(data: object, name: str) -> Entry:
    if not isinstance(data, dict):
        raise RequestError(f"{name}: this is no line of a batch.")
    return built(Entry, data, name, extra=True)
