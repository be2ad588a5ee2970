"""Batches without CLIP: folders of small photos, and workers that only write a file."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from t2l_cli.jobs.batch.batch import Batch, BatchRequest
from t2l_cli.jobs.batch.results import Entry, fingerprint, read_entries, stamp
from t2l_cli.jobs.batch.rows import PHOTO_COMMAND
from t2l_cli.jobs.batch.work import Outcome, Task
from t2l_cli.jobs.job import Failure, from_json
from t2l_cli.jobs.photo import PhotoRequest
from t2l_cli.progress import Reporter, Show, Silent


class Heard(Silent):
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Writers:
    """Workers whose result is the request's settings as text; a job whose source is called "bad" fails."""

    def __init__(self, stop_after: int | None = None, stop_before_its_line: bool = False) -> None:
        self.stop_after, self.stop_before_its_line = stop_after, stop_before_its_line
        self.names: list[str] = []

    def __call__(self) -> Writers:
        return self

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def run(self, tasks: Iterable[Task | None], reporter: Reporter, show: Show) -> Generator[Outcome, None, None]:
        for task in tasks:
            if task is None:
                continue
            if len(self.names) == self.stop_after:
                raise KeyboardInterrupt
            self.names.append(task.name)
            outcome = written(task)
            if self.stop_before_its_line and len(self.names) - 1 == self.stop_after:
                raise KeyboardInterrupt
            yield outcome


def written(task: Task) -> Outcome:
    assert task.command == PHOTO_COMMAND
    request = from_json(PhotoRequest, task.request)
    if Path(task.inputs["source"]).stem == "bad":
        return Outcome(task.name, error=Failure("request", f"{task.inputs['source']} is bad."))
    output = Path(request.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    assert task.replace or not output.exists()
    output.write_text(f"{request.config}")
    inputs = {what: stamp(path) for what, path in task.inputs.items()}
    return Outcome(task.name, fingerprint(request, inputs), inputs, {str(output): stamp(output)})


def photos(folder: Path, *names: str) -> Path:
    """Small photos, each of its own colour."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), 10 * i + 5, np.uint8)).save(folder / name)
    return folder


def manifest(path: Path, *rows: dict[str, Any] | str) -> Path:
    """A manifest of lines of JSON; text is written as it is."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def batch(tmp_path: Path, workers: Writers | None = None, reporter: Reporter | None = None, **more: Any) -> Batch:
    """A batch of the photos in ``tmp_path``/in, into ``tmp_path``/out."""
    if "manifest" not in more:
        more = {"sources": (str(tmp_path / "in"),), "prompts": ("red ball",)} | more
    return Batch(BatchRequest(output=str(tmp_path / "out"), **more), reporter, workers or Writers())


def recorded(folder: Path) -> dict[str, Entry]:
    return read_entries(folder / "results.jsonl")


def contents(folder: Path) -> dict[str, bytes]:
    """The files that a user sees, without the record."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in found
        if not path.name.startswith(".") and path.suffix != ".jsonl"
    }
