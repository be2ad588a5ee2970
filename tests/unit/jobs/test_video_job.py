"""The walk of a video's edit with engines made of cardboard: what is kept when a layer ends early, and where."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cardboard import Cardboard, Listener, put_in
from PIL import Image

from t2l_cli.config import FitConfig, video_config
from t2l_cli.engine import video
from t2l_cli.engine.atlas.model import LayerName
from t2l_cli.engine.optimize import Step
from t2l_cli.errors import DivergedError, OutputError, StoppedError
from t2l_cli.jobs import video as module
from t2l_cli.jobs.fit import FitRequest
from t2l_cli.jobs.job import from_json, to_json
from t2l_cli.jobs.video import VideoJob
from t2l_cli.jobs.video_request import VideoRequest
from t2l_cli.media.videos import probe
from tests.tiny_videos import make_video
from tests.truth import make_truth

SIZE, FRAMES = (40, 24), 3
ATLAS = make_truth(SIZE, FRAMES).atlas()
NAMES: tuple[LayerName, ...] = ("foreground", "background")
BOTH = {"foreground": video_config(("red",)), "background": video_config(("blue",))}


def edits(*until: int | None) -> list[Cardboard]:
    """An engine for each layer, which diverges at its step ``until``."""
    return [Cardboard(until=at, size=ATLAS.layer(name).size) for name, at in zip(NAMES, until, strict=True)]


class Pressed(Cardboard):
    """Somebody wants to stop at step 2."""

    def __init__(self, reporter: Listener) -> None:
        super().__init__(size=ATLAS.foreground.size)
        self.reporter = reporter

    def __iter__(self) -> Iterator[Step]:
        for step in super().__iter__():
            self.reporter.stop = step.i == 2
            yield step


def job_of(
    engines: list[Cardboard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reporter: Listener, stop_before: int = -1
) -> VideoJob:
    """A job that paints both layers with ``engines``; while number ``stop_before`` is prepared, somebody stops it."""
    made = iter(range(len(engines)))

    def prepared(*_: object) -> Cardboard:
        number = next(made)
        reporter.stop = reporter.stop or number == stop_before
        return engines[number]

    monkeypatch.setattr(video, "VideoEdit", prepared)
    source = str(make_video(tmp_path / "video.mp4", range(FRAMES), size=SIZE))
    request = VideoRequest(
        source,
        BOTH,
        str(tmp_path / "out.mp4"),
        FitRequest(source, FitConfig()),
        run_dir=str(tmp_path / "run"),
        overwrite=True,
    )
    assert from_json(VideoRequest, to_json(request)) == request
    job = VideoJob(request, reporter)
    put_in(job, engines[0])
    job.atlas = ATLAS
    return job


def test_both_layers_are_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = Listener()
    result = job_of(edits(None, None), tmp_path, monkeypatch, reporter).write()
    assert result.status == "done"
    assert result.files == tuple(str(tmp_path / f"out{end}") for end in (".mp4", "-foreground.png", "-background.png"))
    assert (probe(result.files[0]).frames, Image.open(result.files[1]).mode) == (FRAMES, "RGBA")
    assert result.record["layers"] == {"foreground": ["red"], "background": ["blue"]}
    assert {path.parent.name for path in tmp_path.rglob("layer.png")} == set(NAMES)
    assert {path.parent.name for path in tmp_path.rglob("run.json")} == {"run"}
    assert reporter.patient_when_asked == {True}


def test_a_job_can_be_looked_at_after_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(edits(None, None), tmp_path, monkeypatch, Listener())
    steps = iter(job)
    for _ in range(3):
        next(steps)
    assert (job.layers.keys(), job.record["details"]["foreground"]["steps_done"]) == ({"foreground"}, 3)
    assert (job.image.size, job.image.mode, job.layer.mode, job.alpha.mode) == (SIZE, "RGB", "RGBA", "L")
    assert len(list(steps)) == 17
    assert job.layers.keys() == set(NAMES)
    assert job.record["ended"] == "done"
    job.save(tmp_path / "saved.mp4")
    assert probe(tmp_path / "saved.mp4").frames == FRAMES


def test_a_wish_to_stop_in_the_first_layer_leaves_the_second_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Listener()
    result = job_of([Pressed(reporter), *edits(None, None)[1:]], tmp_path, monkeypatch, reporter).write()
    assert (result.status, result.record["ended"]) == ("interrupted", "interrupted")
    assert [record["steps_done"] for record in result.record["details"].values()] == [3]


def test_a_wish_to_stop_before_the_second_layers_first_step_keeps_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = job_of(edits(None, None), tmp_path, monkeypatch, Listener(), stop_before=1).write()
    assert result.status == "interrupted"
    assert result.record["details"].keys() == {"foreground"}


def test_a_wish_to_stop_before_the_first_step_has_nothing_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoppedError):
        job_of(edits(None, None), tmp_path, monkeypatch, Listener(), stop_before=0).write()
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("until", [0, 4])
def test_a_divergence_of_the_second_layer_keeps_the_first(
    until: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = job_of(edits(None, until), tmp_path, monkeypatch, Listener()).write()
    assert (result.status, result.record["ended"]) == ("failed", "diverged")
    assert result.error is not None
    assert result.error.code == "diverged"
    said = f"the loss became NaN or infinite at step {until + 1}. The result so far is kept. "
    assert result.error.message == said + "Try another --seed or a lower --lr."
    assert all(Path(file).exists() for file in result.files)
    assert list(result.record["details"]) == list(NAMES[: 2 if until else 1])


def test_a_divergence_of_the_first_layer_at_once_has_nothing_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DivergedError, match=r"at step 1\. There is no result yet\. "):
        job_of(edits(0, None), tmp_path, monkeypatch, Listener()).write()


@pytest.mark.parametrize(
    ("failure", "kept"),
    [(OutputError("the disk is full."), ["out-background.png", "out-foreground.png"]), (KeyboardInterrupt(), [])],
)
def test_what_was_painted_outlives_a_video_that_cannot_be_written(
    failure: BaseException, kept: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise failure

    reporter = Listener()
    job = job_of(edits(None, None), tmp_path, monkeypatch, reporter)
    monkeypatch.setattr(module, "map_back", fail)
    with pytest.raises(type(failure)):
        job.write()
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("out")) == kept
    assert bool(reporter.warnings) == bool(kept)
    assert all(warning.startswith("what was painted is kept: ") for warning in reporter.warnings)
