"""The walk of a video's edit with engines made of cardboard: what is kept when a layer ends early, and where."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cardboard import Cardboard, Listener, put_in
from PIL import Image

from t2l_cli.config import BlendMode, FitConfig, LayerName, video_config
from t2l_cli.engine import video
from t2l_cli.engine.optimize import Step
from t2l_cli.errors import DeviceMemoryError, DivergedError, OutputError, RequestError, StoppedError
from t2l_cli.jobs import video as module
from t2l_cli.jobs.fit import FitRequest
from t2l_cli.jobs.job import from_json, to_json
from t2l_cli.jobs.record import RunDir
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


@pytest.mark.parametrize("name", ["mask", "clip_weights", "earlier", "atlas"])
def test_no_input_is_saved_over(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.mp4"
    mine.write_bytes(b"mine")
    job = job_of(edits(None, None), tmp_path, monkeypatch, Listener())
    fit = dataclasses.replace(job.request.fit, mask=str(mine))
    job.request = dataclasses.replace(job.request, **({"fit": fit} if name == "mask" else {name: str(mine)}))
    job.run()
    with pytest.raises(RequestError, match="is the input itself"):
        job.save(mine, overwrite=True)
    assert mine.read_bytes() == b"mine"


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


def test_the_result_is_there_before_the_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last layer's extras wait for the video; those of the layer before are all that holds it meanwhile."""
    job = job_of(edits(None, None), tmp_path, monkeypatch, Listener())
    keep, seen = RunDir.keep_layer, []

    def noted(run_dir: RunDir, *more: Any) -> Any:
        seen.append((run_dir.path.name, (tmp_path / "out.mp4").exists()))
        return keep(run_dir, *more)

    monkeypatch.setattr(RunDir, "keep_layer", noted)
    job.write()
    assert seen == [("foreground", False), ("background", True)]


def test_a_layer_outlives_a_failure_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Cardboard):
        def __iter__(self) -> Iterator[Step]:
            raise DeviceMemoryError("too large.")

    engines = [edits(None, None)[0], Failing(size=ATLAS.background.size)]
    with pytest.raises(DeviceMemoryError):
        job_of(engines, tmp_path, monkeypatch, Listener()).write()
    assert Image.open(tmp_path / "run" / "foreground" / "layer.png").mode == "RGBA"


@pytest.mark.parametrize("failure", [OutputError("the disk is full."), KeyboardInterrupt()])
def test_layers_that_cannot_be_written_are_in_the_run_directory(
    failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise failure

    reporter = Listener()
    job = job_of(edits(None, None), tmp_path, monkeypatch, reporter)
    monkeypatch.setattr(module, "save_layer", fail)
    with pytest.raises(type(failure)):
        job.write()
    kept = [tmp_path / "run" / name / "layer.png" for name in NAMES]
    assert [Image.open(path).mode for path in kept] == ["RGBA", "RGBA"]
    (warning,) = reporter.warnings
    assert warning.startswith(f"what was painted is kept: {kept[0]}, {kept[1]}; t2l composite")


@pytest.mark.parametrize(
    ("failure", "kept"),
    [
        (OutputError("the disk is full."), ["out-background.png", "out-foreground.png"]),
        (MemoryError(), ["out-background.png", "out-foreground.png"]),
        (RuntimeError("unforeseen"), ["out-background.png", "out-foreground.png"]),
        (KeyboardInterrupt(), []),
    ],
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
    (warning,) = reporter.warnings
    assert warning.startswith("what was painted is kept: ")
    assert all((tmp_path / "run" / name / "layer.png").exists() for name in NAMES)


@pytest.mark.parametrize(
    ("blend", "words"), [("normal", "t2l composite lays"), ("shade", "composite --blend shade lays")]
)
def test_the_way_to_go_on_with_what_was_painted_gives_the_same_video(
    blend: BlendMode, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OutputError("the disk is full.")

    reporter = Listener()
    job = job_of(edits(None, None), tmp_path, monkeypatch, reporter)
    configs = {name: replace(config, blend=blend) for name, config in BOTH.items()}
    job.request = replace(job.request, configs=configs)
    monkeypatch.setattr(module, "map_back", fail)
    with pytest.raises(OutputError):
        job.write()
    (said,) = reporter.warnings
    assert words in said


def test_a_clip_that_is_not_there_is_told_before_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted(*_: object) -> None:
        raise AssertionError("the atlas was fitted first")

    monkeypatch.setattr(module, "fitted_atlas", fitted)
    source = str(make_video(tmp_path / "video.mp4", range(FRAMES), size=SIZE))
    config = replace(video_config(("red",)), clip="ViT-B-33")
    request = VideoRequest(source, {"foreground": config}, str(tmp_path / "out.mp4"), FitRequest(source, FitConfig()))
    with pytest.raises(RequestError, match="there is no CLIP model 'ViT-B-33'"):
        VideoJob(request).write()
