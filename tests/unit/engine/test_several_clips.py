"""Several CLIPs at once: the mean of what they say, from the same draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from t2l_cli.config import EditConfig, LossWeights, OptimConfig, ViewConfig
from t2l_cli.engine import edit as edits
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.objective import Objective
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.relevancy import relevancy
from tests.unit.engine.test_objective import example

__all__ = ["example"]  # the fixture
CONFIG = EditConfig(
    ("red ball",), roi="ball", size=129, optim=OptimConfig(steps=3, source_every=2), views=ViewConfig(n_views=2)
)


@pytest.fixture
def two(tiny_clip: Clip, make_tiny_timm_clip: Callable[[str], Clip]) -> tuple[Clip, Clip]:
    """Two CLIPs of different kinds, input grids and widths."""
    return tiny_clip, make_tiny_timm_clip("siglip")


def picture() -> torch.Tensor:
    return torch.rand(3, 150, 180, generator=torch.Generator().manual_seed(2))


def test_every_term_is_the_mean_of_both(tiny_clip: Clip, make_tiny_clip: Callable[..., Clip], example) -> None:  # type: ignore[no-untyped-def]
    other = make_tiny_clip(pool_type="avg")
    both = dataclasses.replace(example, texts=example.texts * 2)
    one, two, mean = (
        Objective(clips, LossWeights())([both], bootstrap_factor=0.5).terms
        for clips in (tiny_clip, other, (tiny_clip, other))
    )
    assert mean.keys() == one.keys()
    assert one["cosine"] != two["cosine"]
    for name, term in mean.items():
        torch.testing.assert_close(term, (one[name] + two[name]) / 2, msg=name)


@pytest.mark.slow
def test_the_same_clip_twice_is_that_clip_once(tiny_clip: Clip) -> None:
    one, twice = PhotoEdit(picture(), tiny_clip, CONFIG), PhotoEdit(picture(), [tiny_clip, tiny_clip], CONFIG)
    gradients = []
    for edit in (one, twice):
        loss = edit.losses(edit.painter(edit.generator), torch.Generator().manual_seed(1), 0).total
        gradients.append(torch.autograd.grad(loss, list(edit.generator.parameters())))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert [step.total for step in twice] == pytest.approx([step.total for step in one], rel=1e-3)


@pytest.mark.slow
def test_two_kinds_train_together(two: tuple[Clip, Clip]) -> None:
    edit = PhotoEdit(picture(), two, dataclasses.replace(CONFIG, tries=2, try_steps=1))
    assert [step.total for step in edit] == pytest.approx(
        [step.total for step in PhotoEdit(picture(), two, edit.config)]
    )
    assert [texts.target.shape[-1] for texts in edit.all_texts] == [16, 32]
    assert len(edit.tries) == 2


def test_the_first_chooses_the_text_and_sees_where_it_is(
    two: tuple[Clip, Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Clip] = []
    monkeypatch.setattr(edits, "choose_roi", lambda clip, *_: asked.append(clip) or "ball")
    monkeypatch.setattr(edits, "relevancy", lambda clip, *rest: asked.append(clip) or relevancy(clip, *rest))
    PhotoEdit(picture(), two, dataclasses.replace(CONFIG, roi=None))
    assert asked == [two[0], two[0]]


def test_out_of_memory_all_keep_fewer_views(two: tuple[Clip, Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = next(iter(PhotoEdit(picture(), two, CONFIG)))
    plain, failures = Objective.__call__, [torch.OutOfMemoryError("made up")]

    def failing(self: Objective, *args: object, **kwargs: object) -> object:
        if failures:
            raise failures.pop()
        return plain(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Objective, "__call__", failing)
    for clip in two:
        monkeypatch.setattr(clip, "at_once", None)
    step = next(iter(PhotoEdit(picture(), two, CONFIG)))
    assert [clip.at_once for clip in two] == [1, 1]
    assert step.total == pytest.approx(expected.total, rel=1e-4)
