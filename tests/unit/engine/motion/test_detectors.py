"""RAFT and Mask R-CNN in the fit's terms: untrained networks and stand-ins that know the answer."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_small

from t2l_cli.engine.fit.fit import AtlasFit
from t2l_cli.engine.motion.detectors import class_mask, detect, raft_flow
from t2l_cli.engine.motion.flow import estimate
from t2l_cli.engine.runtime import resolve
from t2l_cli.errors import RequestError
from t2l_cli.settings import FIT
from tests.truth import TruthVideo, make_truth
from tests.unit.engine.motion.test_flow import finish

CPU = torch.device("cpu")


class Shift(nn.Module):
    """Stands in for RAFT: every point moves by a tenth of the picture's width, whatever its size."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, a: Tensor, b: Tensor) -> list[Tensor]:
        assert a.shape == b.shape
        assert min(a.min().item(), b.min().item()) >= -1
        assert max(a.max().item(), b.max().item()) <= 1
        self.seen.append(tuple(a.shape))
        flow = torch.zeros(1, 2, *a.shape[-2:])
        flow[:, 0] = 39.0
        return [torch.full_like(flow, torch.nan), flow]


class Detector(nn.Module):
    """Stands in for Mask R-CNN: the left quarter is a certain 7, the right one an unsure 7, the middle an 8."""

    def forward(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        (picture,) = pictures
        assert 0 <= picture.min() <= picture.max() <= 1
        h, w = picture.shape[-2:]
        masks = torch.zeros(4, 1, h, w)
        masks[0, :, :, : w // 4] = 0.9
        masks[1, :, :, 3 * w // 4 :] = 0.9
        masks[2, :, :, w // 4 : w // 2] = 0.9
        masks[3, :, : h // 4] = 0.9
        scores = torch.tensor([0.95, 0.3, 0.9, 0.8])
        return [{"labels": torch.tensor([7, 7, 8, 7]), "scores": scores, "masks": masks}]


@pytest.fixture(scope="module")
def truth() -> TruthVideo:
    return make_truth((128, 72), 6)


@pytest.mark.parametrize(
    ("size", "seen"),
    [((72, 128), (216, 384)), ((50, 390), (128, 1000)), ((217, 500), (224, 504)), ((30, 40), (288, 384))],
)
def test_raft_sees_enlarged_and_padded_frames(size: tuple[int, int], seen: tuple[int, int]) -> None:
    network = Shift()
    frame = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    found = raft_flow(network, CPU)(frame, frame)
    assert network.seen == [(1, 3, *seen)]
    assert found.shape == (2, *size)
    up = max(1.0, 128 / min(size), 384 / size[1])
    torch.testing.assert_close(found[0], torch.full(size, 39.0 * size[1] / round(size[1] * up)))
    assert not found[1].any()


def test_an_untrained_raft_runs_on_a_small_frame() -> None:
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 40, 56), dtype=torch.uint8)
    found = raft_flow(raft_small(weights=None), CPU)(*frames)
    assert found.shape == (2, 40, 56)
    assert found.isfinite().all()


def test_raft_goes_through_the_same_check_of_both_ways(truth: TruthVideo) -> None:
    flow = finish(estimate(truth.tensor()[:3], (72, 128), raft_flow(Shift(), CPU)))
    torch.testing.assert_close(flow.forward[:, 0], torch.full((2, 72, 128), 13.0))
    assert not flow.forward_ok.any()  # both ways to the right: no point comes back


def test_the_mask_is_the_union_of_the_classs_sure_instances() -> None:
    mask = class_mask(Detector(), 7, CPU)(torch.randint(0, 256, (3, 40, 80), dtype=torch.uint8))
    expected = torch.zeros(40, 80, dtype=torch.bool)
    expected[:, :20] = True
    expected[:10] = True
    assert torch.equal(mask, expected)
    assert not class_mask(Detector(), 3, CPU)(torch.zeros(3, 8, 8, dtype=torch.uint8)).any()


def test_frames_that_the_detector_misses_are_filled_along_the_flow(truth: TruthVideo) -> None:
    own = torch.from_numpy(truth.alpha > 0.5)
    flow = finish(estimate(truth.tensor(), (72, 128)))
    asked: list[int] = []

    def seen(_: Tensor) -> Tensor:
        asked.append(len(asked))
        return own[asked[-1]] if asked[-1] not in (0, 3) else torch.zeros_like(own[0])

    found = finish(detect(truth.tensor(), seen, flow))
    for t in range(6):
        assert (found[t] & own[t]).sum() / (found[t] | own[t]).sum() > 0.85, t
    assert list(detect(truth.tensor()[:2], lambda frame: own[0], flow_of_two(truth))) == [(1, 2), (2, 2)]


def flow_of_two(truth: TruthVideo) -> object:
    return finish(estimate(truth.tensor()[:2], (72, 128)))


def test_the_fit_begins_with_the_detectors_masks_which_are_not_sure(truth: TruthVideo) -> None:
    own = truth.alpha > 0.5
    order = iter(range(6))
    config = dataclasses.replace(FIT.configure({}, "draft"), visits=1, mask_class="blob")

    def fitted(function: object) -> AtlasFit:
        return AtlasFit(truth.tensor(), config, truth.identity, function, runtime=resolve("cpu"))  # type: ignore[arg-type]

    fit = fitted(lambda frame: torch.from_numpy(own[next(order)]))
    stages = []
    for step in fit:
        stages.append(step.stage)
        if step.stage.startswith("fit"):
            break
    assert list(dict.fromkeys(stages)) == ["optical flow", "mask", "camera", "object", "fit 1 of 1"]
    both, either = ((fit.masks.numpy() > 0) & own).sum(), ((fit.masks.numpy() > 0) | own).sum()
    assert both / either > 0.9
    assert not fit.state()["scene"]["sure"]
    with pytest.raises(RequestError, match="no blob is seen in the video"):
        list(fitted(lambda frame: torch.zeros(72, 128, dtype=torch.bool)))
