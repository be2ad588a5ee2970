"""AtlasFit from frames to atlas: a small fit against known truth, and bad input."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from t2l_cli.config import FitConfig
from t2l_cli.engine.atlas.model import VideoIdentity
from t2l_cli.engine.fit.fit import AtlasFit, working_size
from t2l_cli.engine.motion.masks import FrameMask
from t2l_cli.engine.optimize import Step
from t2l_cli.engine.runtime import resolve
from t2l_cli.errors import RequestError
from t2l_cli.settings import FIT
from tests.truth import TruthVideo, make_truth

SMALL = dataclasses.replace(FIT.configure({}, "draft"), visits=1)  # the least steps


def identity(frames: Tensor) -> VideoIdentity:
    return VideoIdentity(len(frames), frames.shape[-1], frames.shape[-2])


def prepare(frames: Tensor, config: FitConfig = SMALL, masks: Tensor | FrameMask | None = None) -> AtlasFit:
    return AtlasFit(frames, config, identity(frames), masks, runtime=resolve("cpu"))


@pytest.fixture(scope="module")
def truth() -> TruthVideo:
    return make_truth((128, 72), 12)


@pytest.fixture(scope="module")
def fitted(truth: TruthVideo) -> tuple[AtlasFit, list[Step]]:
    fit = prepare(truth.tensor(), FIT.configure({}, "draft"))
    return fit, list(fit)


@pytest.mark.slow
def test_stages_are_told_in_words(fitted: tuple[AtlasFit, list[Step]]) -> None:
    _, steps = fitted
    assert list(dict.fromkeys(step.stage for step in steps))[:2] == ["optical flow", "mask"]
    assert steps[-1].stage.startswith("fit ")
    assert (steps[-1].i, steps[0].n) == (steps[-1].n - 1, 11)
    assert steps[-1].total < steps[-100].total * 1.5


@pytest.mark.slow
def test_takes_a_video_apart(truth: TruthVideo, fitted: tuple[AtlasFit, list[Step]]) -> None:
    fit, _ = fitted
    atlas, quality = fit.result(), fit.quality()
    own = torch.from_numpy(truth.alpha)
    assert fit.found_foreground
    assert quality.psnr > 36
    both, either = ((atlas.alpha > 0.5) & (own > 0.5)).sum(), ((atlas.alpha > 0.5) | (own > 0.5)).sum()
    assert both / either > 0.88
    assert (atlas.alpha - own).abs().mean() < 0.02
    assert quality.residual < 0.2
    assert atlas.background.uv.shape == (12, 72, 128, 2)
    assert atlas.origin["made_by"] == "fit-atlas"


def test_what_the_terminal_shows(truth: TruthVideo, fitted: tuple[AtlasFit, list[Step]]) -> None:
    fit, _ = fitted
    assert fit.masks.shape == truth.alpha.shape
    assert set(fit.masks.unique().tolist()) == {0, 255}
    assert fit.flow.size == fit.size == (72, 128)


def test_the_same_seed_gives_the_same_steps(truth: TruthVideo) -> None:
    totals = []
    for _ in range(2):
        steps = (step for step in prepare(truth.tensor()[:4]) if step.stage.startswith("fit"))
        totals.append([next(steps).total for _ in range(4)])
    assert totals[0] == totals[1]


def test_result_is_there_when_the_fit_begins_and_has_the_videos_size(truth: TruthVideo) -> None:
    frames = truth.tensor()[:3]
    fit = prepare(frames, dataclasses.replace(SMALL, size=36))
    assert not fit.ready
    with pytest.raises(RequestError, match="no atlas yet"):
        fit.result()
    for step in fit:
        if step.stage.startswith("fit"):
            break
    assert fit.ready
    assert fit.size == (36, 64)
    atlas = fit.result()
    assert atlas.alpha.shape == (3, 72, 128)
    assert atlas.background.size[0] > 72  # textures are as fine as the video, not as the fit
    assert fit.quality().psnr > 25


def test_one_mask_for_one_frame(truth: TruthVideo) -> None:
    frames = truth.tensor()[:4]
    fit = prepare(frames, SMALL, FrameMask(1, torch.from_numpy(truth.alpha[1])))
    next(step for step in fit if step.stage.startswith("fit"))
    own = torch.from_numpy(truth.alpha[:4] > 0.5)
    assert ((fit.masks > 0) & own).sum() / ((fit.masks > 0) | own).sum() > 0.85


@pytest.mark.parametrize("value", [0, 77])
def test_equal_frames_are_a_background_alone(value: int) -> None:
    frames = torch.full((3, 3, 40, 60), value, dtype=torch.uint8)
    fit = prepare(frames)
    for step in fit:
        if step.stage.startswith("fit"):
            break
    assert not fit.found_foreground
    atlas = fit.result()
    assert not atlas.alpha.any()
    assert fit.quality().psnr > 40


def test_two_frames_are_enough(truth: TruthVideo) -> None:
    fit = prepare(truth.tensor()[::3][:2])
    next(step for step in fit if step.stage.startswith("fit"))
    assert fit.result().video.frames == 2


def test_one_frame_is_not(truth: TruthVideo) -> None:
    with pytest.raises(RequestError, match="one frame"):
        prepare(truth.tensor()[:1])


def test_a_tiny_video_is_refused() -> None:
    with pytest.raises(RequestError, match="20 x 10 px"):
        prepare(torch.zeros(3, 3, 10, 20, dtype=torch.uint8))


def test_a_cut_is_refused(truth: TruthVideo) -> None:
    other = 255 - make_truth((128, 72), 3, foreground=False, seed=9).tensor()
    with pytest.raises(RequestError, match="between frames 2 and 3"):
        list(prepare(torch.cat([truth.tensor()[:3], other])))


@pytest.mark.parametrize(
    ("size", "short", "working"),
    [((720, 1296), 144, (144, 259)), ((90, 160), 144, (90, 160)), ((400, 100), 50, (200, 50))],
)
def test_working_size(size: tuple[int, int], short: int, working: tuple[int, int]) -> None:
    assert working_size(size, short) == working


def test_too_many_steps_are_refused_before_the_flow(truth: TruthVideo) -> None:
    config = dataclasses.replace(SMALL, visits=100_000, pairs=1)
    prepare(truth.tensor()[:10], config)
    with pytest.raises(RequestError, match=r"100,000 visits of 30 frames take 1,500,000 steps, 1,000,000 are the most"):
        prepare(torch.cat([truth.tensor()] * 3)[:30], config)
