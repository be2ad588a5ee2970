"""The report on an atlas: good for the truth, poor where an atlas cheats."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from t2l_cli.engine.atlas.model import AtlasLayer
from t2l_cli.engine.atlas.quality import checkerboard, measure
from t2l_cli.engine.motion.flow import Flow, estimate
from tests.truth import TruthVideo, make_truth
from tests.unit.engine.motion.test_flow import finish


@pytest.fixture(scope="module")
def truth() -> TruthVideo:
    return make_truth((128, 72), 8)


@pytest.fixture(scope="module")
def flow(truth: TruthVideo) -> Flow:
    return finish(estimate(truth.tensor(), (72, 128)))


def test_the_truth_is_found_good(truth: TruthVideo, flow: Flow) -> None:
    quality = measure(truth.atlas(), truth.tensor(), flow)
    assert quality.psnr > 45
    assert quality.sharpness is not None
    assert quality.sharpness > 0.85
    assert 0 < quality.residual < 0.2
    assert quality.foreground_area == pytest.approx(truth.alpha.mean(), abs=1e-4)
    assert quality.advice == ()


def test_a_layer_that_slides_is_found_out_whatever_its_psnr(truth: TruthVideo, flow: Flow) -> None:
    """An atlas that does not move along with the camera: every frame its own place on a grey texture."""
    atlas = truth.atlas()
    uv = atlas.background.uv + 3 * torch.arange(8)[:, None, None, None]
    sliding = dataclasses.replace(atlas, background=dataclasses.replace(atlas.background, uv=uv))
    quality = measure(sliding, truth.tensor(), flow)
    assert quality.background_residual == pytest.approx(3 * 2**0.5, abs=0.3)
    assert quality.background_warp is not None
    assert quality.foreground_residual is not None
    assert quality.foreground_residual < 0.2
    assert any("background slides" in line for line in quality.advice)


def test_undecided_opacity_is_said(truth: TruthVideo, flow: Flow) -> None:
    atlas = truth.atlas()
    quality = measure(dataclasses.replace(atlas, alpha=0.5 * atlas.alpha), truth.tensor(), flow)
    assert any("--mask" in line for line in quality.advice)


def test_flow_of_another_size_gives_px_of_the_video(truth: TruthVideo, flow: Flow) -> None:
    atlas = truth.atlas()
    uv = atlas.background.uv + 3 * torch.arange(8)[:, None, None, None]
    sliding = dataclasses.replace(atlas, background=dataclasses.replace(atlas.background, uv=uv))
    quality = measure(sliding, truth.tensor(), flow.resized((36, 64)))
    assert quality.background_residual == pytest.approx(3 * 2**0.5, abs=0.3)


def test_no_foreground_is_no_fault() -> None:
    truth = make_truth((96, 54), 3, foreground=False)
    quality = measure(truth.atlas(), truth.tensor(), finish(estimate(truth.tensor(), (54, 96))))
    assert quality.sharpness is None
    assert quality.foreground_residual is None


def test_squares_of_the_checkerboard_have_the_asked_size() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    uv = 2 * torch.stack([x, y], -1)[None]  # two texels a px
    layer = AtlasLayer(torch.zeros(3, 40, 60), uv, torch.ones(40, 60, dtype=torch.bool))
    board = checkerboard(layer, side=5).rgb[0, 0]
    assert board.shape == (40, 60)
    assert (board[0, :10] == 0).all()
    assert (board[0, 10:20] == 1).all()
    assert (board[10, :10] == 1).all()
