"""The atlas that edit-video fits by itself: kept for the next prompt, without which everything still works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from cardboard import Listener, diverge

from t2l_cli.config import FitConfig
from t2l_cli.engine.atlas.model import LAYERS, Atlas
from t2l_cli.engine.atlas.quality import Quality
from t2l_cli.errors import DivergedError, StoppedError
from t2l_cli.jobs.excerpt import Excerpt
from t2l_cli.jobs.fit import FitJob, FitRequest
from t2l_cli.jobs.fitted_atlas import fitted_atlas
from t2l_cli.media.videos import VideoInfo
from t2l_cli.progress import Tick
from tests.truth import make_truth

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
