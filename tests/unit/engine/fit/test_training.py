"""The fit's steps: levels, pace, order, and a fit that goes on from a kept state as if nothing had been."""

from __future__ import annotations

import dataclasses
import io
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from t2l_cli.config import FitConfig
from t2l_cli.engine.fit import training as module
from t2l_cli.engine.fit.fit import AtlasFit
from t2l_cli.engine.fit.training import Training
from t2l_cli.engine.runtime import resolve
from t2l_cli.errors import RequestError
from t2l_cli.settings import FIT
from tests.truth import make_truth

STEPS = 18
CONFIG = dataclasses.replace(FIT.configure({}, "draft"), visits=1, levels=2)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_STEPS", STEPS)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return make_truth((128, 84), 5).tensor()


def begin(frames: Tensor, config: FitConfig = CONFIG) -> AtlasFit:
    truth = make_truth((frames.shape[-1], frames.shape[-2]), len(frames))
    return AtlasFit(frames, config, truth.identity, runtime=resolve("cpu"))


def kept(fit: AtlasFit) -> dict[str, Any]:
    """The state after a way through a file, loaded as data only."""
    file = io.BytesIO()
    torch.save(fit.state(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def run(fit: AtlasFit, until: int | None = None) -> AtlasFit:
    for step in fit:
        if step.stage.startswith("fit") and step.i + 1 == until:
            break
    return fit


@pytest.fixture(scope="module")
def whole(frames: Tensor) -> AtlasFit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST_STEPS", STEPS)
        return run(begin(frames))


@pytest.mark.slow
@pytest.mark.parametrize("until", [1, 7, 8, 13, STEPS])
def test_a_resumed_fit_is_the_same_to_the_bit(frames: Tensor, whole: AtlasFit, until: int) -> None:
    state = kept(run(begin(frames), until))
    again = begin(frames)
    again.resume(state)
    steps = list(again)
    assert [step.i for step in steps] == list(range(until, STEPS))
    assert {step.n for step in steps} <= {STEPS}
    ours, theirs = again.result(), whole.result()
    assert torch.equal(ours.alpha, theirs.alpha)
    for name in ("foreground", "background"):
        assert torch.equal(ours.layer(name).uv, theirs.layer(name).uv)  # type: ignore[arg-type]
        assert torch.equal(ours.layer(name).texture, theirs.layer(name).texture)  # type: ignore[arg-type]
    assert torch.equal(again.masks, whole.masks)
    assert again.quality() == whole.quality()
    assert ours.origin == theirs.origin


def test_a_resumed_fit_looks_for_no_flow(frames: Tensor) -> None:
    state = kept(run(begin(frames), 3))

    def never(a: Tensor, b: Tensor) -> Tensor:
        raise AssertionError("the flow is known")

    again = AtlasFit(frames, CONFIG, make_truth((128, 84), 5).identity, flow=never, runtime=resolve("cpu"))
    again.resume(state)
    assert next(iter(again)).i == 3


def test_a_state_of_something_else_is_refused(frames: Tensor) -> None:
    state = kept(run(begin(frames), 2))
    others = [
        begin(frames[:4]),
        begin(frames[..., :-4].contiguous()),
        begin(frames, dataclasses.replace(CONFIG, spacing=30)),
    ]
    for fit in others:
        fit.resume(state)
        with pytest.raises(RequestError, match="broken, or of another video"):
            next(iter(fit))
    broken: list[dict[str, Any]] = [{}, {"scene": {}}, {**state, "training": {}}, {**state, "scene": 3}]
    broken += [{**state, "training": {**state["training"], "done": 10**6}}]
    for one in broken:
        fit = begin(frames)
        fit.resume(one)
        with pytest.raises(RequestError, match="broken"):
            next(iter(fit))


def test_there_is_no_state_before_the_fit(frames: Tensor) -> None:
    with pytest.raises(RequestError, match="no atlas yet"):
        begin(frames).state()


def test_from_coarse_to_fine(frames: Tensor) -> None:
    seen = [step.stage for step in begin(frames) if step.stage.startswith("fit")]
    assert seen == ["fit 1 of 2"] * 7 + ["fit 2 of 2"] * 11  # the finest level gets one and a half times the steps


def trained(frames: Tensor, **changes: Any) -> Training:
    fit = run(begin(frames, dataclasses.replace(CONFIG, **changes)), 1)
    assert fit.training is not None
    return fit.training


def test_the_rates_rise_hold_and_fall(frames: Tensor) -> None:
    training = trained(frames)
    training.n_steps = 1000
    rates = [training.rate(i) for i in range(1000)]
    assert rates[0] == pytest.approx(1 / module.WARM_UP)
    assert set(rates[module.WARM_UP : 600]) == {1.0}
    assert all(a >= b for a, b in itertools.pairwise(rates[600:]))
    assert rates[-1] == pytest.approx(module.LOWEST, abs=1e-3)


def test_every_pair_has_its_turn() -> None:
    order = module.shuffled(5, torch.Generator().manual_seed(0))
    for _ in range(3):
        assert sorted(next(order) for _ in range(5)) == [0, 1, 2, 3, 4]


def test_a_step_looks_at_no_more_than_memory_holds(frames: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained(frames, pairs=3).pairs == 3
    assert trained(frames, pairs=64).pairs == 4  # there are no more
    monkeypatch.setattr(module, "BATCH_PIXELS", 128 * 84 * 4)
    assert trained(frames, pairs=3).pairs == 2


def test_the_colour_cannot_move_the_opacity_early(frames: Tensor) -> None:
    training = trained(frames)
    assert training.model.opacity is not None
    for done, moves in ((0.1, False), (0.5, True)):
        training.model.zero_grad()
        terms = training.terms(torch.tensor([0, 1]), done).terms
        (terms["colour"] + terms["gradient"]).backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in training.model.opacity.parameters()]
        assert any(g is not None and bool(g.any()) for g in grads) == moves


def test_the_bootstrap_ends(frames: Tensor) -> None:
    training = trained(frames)
    terms = [training.terms(torch.tensor([0]), done).terms["bootstrap"].item() for done in (0.0, 0.25, 0.5, 1.0)]
    assert terms[0] > 1.9 * terms[1] > 0
    assert terms[2:] == [0, 0]


@pytest.mark.parametrize(("side", "most", "levels"), [(84, 3, 2), (84, 1, 1), (40, 3, 1), (432, 3, 3), (30, 3, 1)])
def test_levels_are_never_too_small(side: int, most: int, levels: int) -> None:
    assert module.levels_for((side, 2 * side), most) == levels
