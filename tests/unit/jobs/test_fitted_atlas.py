"""The atlas that edit-video fits by itself: kept for the next prompt, without which everything still works."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from cardboard import Listener, diverge

from t2l_cli.config import LAYERS, FitConfig
from t2l_cli.engine.atlas.model import Atlas
from t2l_cli.engine.atlas.quality import Quality
from t2l_cli.errors import DivergedError, RequestError, StoppedError
from t2l_cli.jobs.excerpt import Excerpt, open_video
from t2l_cli.jobs.fit import FitJob, FitRequest
from t2l_cli.jobs.fit_state import FitState
from t2l_cli.jobs.fitted_atlas import fitted_atlas
from t2l_cli.media.videos import VideoInfo
from t2l_cli.progress import Tick
from t2l_cli.settings import FIT
from tests.tiny_videos import make_video
from tests.truth import make_truth

if TYPE_CHECKING:
    from t2l_cli.engine.fit.fit import AtlasFit

QUALITY = Quality(40.0, 0.1, None, None, None, None, 0.0)
VIDEO = Excerpt(VideoInfo(Path("video.mp4"), 40, 24, 3, Fraction(25), Fraction(1, 25), audio=False), (0, 3))


class Fits:
    """In the place of the fit's engine: counts the fits. ``result`` may press Ctrl-C."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.result: Callable[[], Atlas] = make_truth((40, 24), 3).atlas
        monkeypatch.setattr(FitJob, "work", property(self.fit))
        monkeypatch.setattr(FitJob, "has_result", True)
        monkeypatch.setattr(FitRequest, "key", lambda request, excerpt: "0123abcd")

    def fit(self, job: FitJob) -> Any:
        def steps(fit: object) -> Iterator[Tick]:
            self.count += 1
            yield Tick(0, 1)

        methods = {"__iter__": steps, "result": lambda fit: self.result(), "quality": lambda fit: QUALITY}
        return type("Fit", (), methods | {"ready": True, "found_foreground": True, "state": dict})()


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    return Fits(monkeypatch)


def _atlas(reporter: Listener | None = None) -> Atlas:
    return fitted_atlas(VIDEO, FitRequest("video.mp4", FitConfig()), reporter or Listener())


def _same(a: Atlas, b: Atlas) -> bool:
    parts = [(a.alpha, b.alpha)]
    for name in LAYERS:
        parts += [(getattr(a.layer(name), part), getattr(b.layer(name), part)) for part in ("texture", "uv", "used")]
    return all(torch.equal(ours, theirs) for ours, theirs in parts)


def test_the_atlas_of_the_cache_is_the_one_that_was_fitted_to_the_bit(fits: Fits, user_folders: Path) -> None:
    first = _atlas()
    assert _same(_atlas(), first)
    assert fits.count == 1
    assert os.listdir(user_folders / "atlases") == ["0123abcd"]


@pytest.mark.parametrize("name", ["atlas.json", "atlas.safetensors"])
def test_what_is_broken_in_the_cache_is_fitted_again(fits: Fits, user_folders: Path, name: str) -> None:
    first = _atlas()
    (user_folders / "atlases" / "0123abcd" / name).write_bytes(b"{")
    assert _same(_atlas(), first)
    assert _same(_atlas(), first)
    assert fits.count == 2


def test_an_atlas_without_its_record_is_fitted_again_and_kept(fits: Fits, user_folders: Path) -> None:
    _atlas()
    (user_folders / "atlases" / "0123abcd" / "atlas.json").unlink()
    reporter = Listener()
    for _ in range(2):
        _atlas(reporter)
    assert (fits.count, reporter.warnings) == (2, [])


def test_what_may_be_whole_stays_in_the_cache(fits: Fits, user_folders: Path) -> None:
    _atlas()
    folder = user_folders / "atlases" / "0123abcd"
    record = json.loads((folder / "atlas.json").read_text())
    newer = json.dumps(record | {"version": record["version"] + 1, "unheard": "of"})
    (folder / "atlas.json").write_text(newer)
    reporter = Listener()
    _atlas(reporter)
    assert fits.count == 2
    assert (folder / "atlas.json").read_text() == newer
    assert any("made by a newer t2l" in said for said in reporter.warnings)

    (folder / "atlas.json").unlink()
    (folder / "atlas.json").mkdir()  # so that it cannot be read, whoever asks
    _atlas(reporter)
    assert (folder / "atlas.safetensors").is_file()
    (folder / "atlas.json").rmdir()
    (folder / "atlas.json").write_text(json.dumps(record))
    _atlas()
    assert fits.count == 3


class Slow(Fits):
    """Begins a fit, says so, and goes on when it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.begun, self.may_end = threading.Event(), threading.Event()
        made = self.result

        def later() -> Atlas:
            self.begun.set()
            assert self.may_end.wait(60)
            return made()

        self.result = later


def test_of_two_runs_with_the_same_video_one_fits_and_the_other_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    fits, first, second = Slow(monkeypatch), Listener(), Listener()
    runs = [threading.Thread(target=_atlas, args=(reporter,)) for reporter in (first, second)]
    runs[0].start()
    assert fits.begun.wait(60)
    runs[1].start()
    while not second.notes:
        time.sleep(0.01)
    assert "waiting" in second.notes[0]
    fits.may_end.set()
    for run in runs:
        run.join()
    assert fits.count == 1
    assert "using the atlas that was fitted before" in second.notes[-1]


def test_a_run_that_waits_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    fits, reporter = Slow(monkeypatch), Listener()
    run = threading.Thread(target=_atlas)
    run.start()
    assert fits.begun.wait(60)
    reporter.stop = True
    with pytest.raises(StoppedError):
        _atlas(reporter)
    fits.may_end.set()
    run.join()
    assert fits.count == 1


@pytest.mark.parametrize("place", ["/dev/null", "/proc", "/proc/none"])
def test_a_cache_that_cannot_be_written_does_not_take_the_fit_along(
    fits: Fits, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    kept = _atlas()
    monkeypatch.setenv("T2L_CACHE_DIR", place)
    reporter = Listener()
    assert _same(_atlas(reporter), kept)
    (said,) = reporter.warnings
    assert said.startswith("the next run will have to fit this atlas again: ")


def test_a_wish_to_stop_while_the_atlas_is_kept_waits_for_that(fits: Fits) -> None:
    reporter = Listener()
    made = fits.result

    def pressed() -> Atlas:
        reporter.stop = True
        return made()

    fits.result = pressed
    with pytest.raises(StoppedError):
        _atlas(reporter)
    _atlas()
    assert fits.count == 1


@pytest.mark.parametrize(("ready", "kept"), [(False, "There is no result yet."), (True, "The atlas is not kept.")])
def test_a_divergence_is_told(ready: bool, kept: str, fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(job: FitJob) -> Iterator[Tick]:
        diverge(2)
        yield

    monkeypatch.setattr(FitJob, "steps", diverged)
    monkeypatch.setattr(FitJob, "has_result", ready)
    with pytest.raises(DivergedError) as error:
        _atlas()
    advice = "Fit the atlas by t2l fit-atlas with another --seed, and give it by --atlas."
    assert str(error.value) == f"the loss became NaN or infinite at step 3. {kept} {advice}"


def test_a_state_of_another_versions_model_costs_its_time_and_nothing_else(tmp_path: Path, user_folders: Path) -> None:
    """With the true engine: the state has the right key, and nothing that the engine could go on with."""
    video = make_video(tmp_path / "video.mp4", range(3), size=(40, 24))
    reporter = Listener()
    excerpt = open_video(video, None, reporter)
    request = FitRequest(str(video), FIT.configure({"visits": 1, "device": "cpu"}, "draft"))
    key = request.key(excerpt)
    (user_folders / "atlases").mkdir(parents=True)
    state = FitState(user_folders / "atlases" / f"{key}.resume", key)
    state.keep(cast("AtlasFit", SimpleNamespace(state=lambda: {"scene": {}, "training": {}})))
    reporter.stop = True  # at its first step
    with pytest.raises(StoppedError):
        fitted_atlas(excerpt, request, reporter)
    assert len(reporter.warnings) == 1
    assert state.found() is None
    own = FitJob(dataclasses.replace(request, output=str(tmp_path / "atlas"), resume=True), reporter, excerpt)
    own.state.keep(cast("AtlasFit", SimpleNamespace(state=lambda: {"scene": {}, "training": {}})))
    with pytest.raises(RequestError, match="the state of the fit to go on with is broken"):
        own.write()
    assert own.state.path.exists()
