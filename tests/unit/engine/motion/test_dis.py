"""DIS and the matched points that it starts from where things move far."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from t2l_cli.engine.motion import flow as flows
from t2l_cli.engine.motion.dis import dis, matched
from tests.truth import make_truth
from tests.unit.engine.motion.test_flow import finish


def frames_that_jump(x: int, y: int) -> tuple[Tensor, Tensor]:
    """Two views, 140 x 70, of one ground; the second shows it moved by (x, y) px."""
    ground = make_truth((320, 160), 1, foreground=False).tensor()[0]
    return ground[:, 50:120, 90:230].contiguous(), ground[:, 50 - y : 120 - y, 90 - x : 230 - x].contiguous()


def test_matches_are_guesses_both_ways() -> None:
    found = matched(*frames_that_jump(40, -12))
    assert found is not None
    for guess, sign in zip(found, (1, -1), strict=True):
        assert guess.shape == (2, 70, 140)
        torch.testing.assert_close(
            guess.flatten(1).median(1).values, sign * torch.tensor([40.0, -12.0]), atol=0.3, rtol=0
        )


def test_frames_without_points_have_no_matches() -> None:
    plain = torch.full((3, 40, 60), 90, dtype=torch.uint8)
    assert matched(plain, plain) is None
    assert matched(plain, frames_that_jump(0, 0)[0][:, :40, :60]) is None


def test_a_start_is_in_px_of_the_frames() -> None:
    a, b = frames_that_jump(40, -12)
    start = torch.tensor([40.0, -12.0]).view(2, 1, 1).expand(2, 70, 140)
    found = dis(a, b, start)
    torch.testing.assert_close(found[:, 25:45, 20:80], start[:, 25:45, 20:80], atol=0.3, rtol=0)


@pytest.mark.parametrize(("x", "y"), [(3, 1), (40, -12)])
def test_large_motion_is_found_where_it_is_trusted(x: int, y: int) -> None:
    a, b = frames_that_jump(x, y)
    flow = finish(flows.estimate(torch.stack([a, b]), (70, 140)))
    seen = flow.forward_ok[0]
    expected = 1 - (abs(x) * 70 + abs(y) * 140 - abs(x * y)) / (140 * 70)
    assert seen.float().mean() > 0.9 * expected
    error = flow.forward[0] - torch.tensor([float(x), float(y)]).view(2, 1, 1)
    assert error.norm(dim=0)[seen].quantile(0.9) < 0.5


def test_matched_points_are_asked_only_where_dis_alone_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(flows, "matched", lambda a, b: asked.append(1))
    for x, calls in ((0, 0), (40, 1)):
        finish(flows.estimate(torch.stack(frames_that_jump(x, 0)), (70, 140)))
        assert len(asked) == calls
