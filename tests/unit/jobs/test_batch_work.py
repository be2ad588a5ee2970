"""A worker's desk: what is shipped to it, and what it ships back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from batching import Heard, photos

from t2l_cli.errors import OutputError
from t2l_cli.jobs.batch.batch import Batch, BatchRequest
from t2l_cli.jobs.batch.work import Desk, Task
from t2l_cli.jobs.job import Failure, Result
from t2l_cli.jobs.judge import Judges
from t2l_cli.jobs.photo import PhotoJob
from t2l_cli.media.paths import shown


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A photo that is shipped, with a name that no message may hold as it is."""
    monkeypatch.setattr(Judges, "of", lambda *_: SimpleNamespace(weights_sha256=()))
    (folder := tmp_path / "a\nfolder").mkdir()
    source = photos(folder, "a.png") / "a.png"
    request = BatchRequest(str(tmp_path / "out"), (str(source),), ("red",), values={"clip": ("mini",)})
    (job,) = Batch(request).jobs
    return Task.of(job, replace=False, ship=True)


def test_what_a_failed_job_left_is_its_own_and_what_was_there_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the painted layers of a video that could not be written: the next run does the job again."""
    monkeypatch.setattr(Judges, "of", lambda *_: SimpleNamespace(weights_sha256=()))
    photos(tmp_path, "a.png", "b.png")
    (out := tmp_path / "out").mkdir()
    (out / "b-red.png").write_bytes(b"the user's")
    batch = Batch(BatchRequest(str(out), (str(tmp_path),), ("red",), values={"clip": ("mini",)}))

    def fail(job: PhotoJob) -> Result:
        if not job.output.exists():
            job.output.write_bytes(b"painted")
        raise OutputError("the disk is full.")

    monkeypatch.setattr(PhotoJob, "write", fail)
    left = {job.name: set(Desk().do(Task.of(job, replace=False, ship=False), Heard()).files) for job in batch.jobs}
    assert left == {"a-red.png": {str(out / "a-red.png")}, "b-red.png": set()}


def test_a_job_that_fails_ships_what_it_kept_and_names_it_as_the_batch_does(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Path] = []

    def fail(job: PhotoJob) -> Result:
        layer = job.output.with_name("layer.png")
        layer.write_bytes(b"painted")
        places.append(layer)
        job.reporter.warn(f"what was painted is kept: {shown(layer)}")
        raise OutputError(f"could not write {shown(job.output)} of {shown(str(job.request.source))}.")

    monkeypatch.setattr(PhotoJob, "write", fail)
    reporter = Heard()
    outcome = Desk().do(task, reporter)
    kept = tmp_path / "out" / "layer.png"
    assert outcome.shipped == {str(kept): b"painted"}
    assert reporter.warnings == [f"what was painted is kept: {kept}"]
    said = f"could not write {tmp_path / 'out' / 'a-red.png'} of {shown(task.inputs['source'])}."
    assert outcome.error == Failure("output", said)
    assert not places[0].exists()
