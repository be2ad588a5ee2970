"""One edit of one picture with a tiny CLIP and a narrow generator: sizes, seeds, tries, masks, stops."""

from __future__ import annotations

import dataclasses
import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from t2l_cli.config import STILL, AugmentConfig, EditConfig, OptimConfig, ViewConfig
from t2l_cli.engine import edit as edits
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.edit import training_size
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.objective import Example, Objective
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.runtime import resolve
from t2l_cli.engine.texts import PLAIN
from t2l_cli.errors import DivergedError

CONFIG = EditConfig(
    prompts=("red ball",),
    roi="ball",
    size=129,
    optim=OptimConfig(steps=3),
    views=ViewConfig(n_views=2),
)


@pytest.fixture(autouse=True)
def narrow_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits, "Generator", functools.partial(Generator, channels=8))


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return torch.rand(3, 150, 210, generator=torch.Generator().manual_seed(0))


def test_where_sizes_are_rounded_the_whole_picture_still_needs_no_augmented_copy(
    picture: Tensor, tiny_clip: Clip
) -> None:
    """As on CUDA: the picture itself has a rounded size, so that a draft's steps see it as it is."""
    rounding = dataclasses.replace(resolve("cpu"), compiler="eager")
    edit = PhotoEdit(picture, tiny_clip, dataclasses.replace(CONFIG, augment=STILL), rounding)
    assert edit.size[0] % rounding.multiple == edit.size[1] % rounding.multiple == 0
    (example,) = edit.examples(edit.painter(edit.generator), edit.rng)
    assert example.source is edit.canvas
    assert example.source_structure is not None


def trained(picture: Tensor, clip: Clip, config: EditConfig = CONFIG, **kwargs: Tensor) -> EditLayer:
    edit = PhotoEdit(picture, clip, config, **kwargs)
    for _ in edit:
        pass
    return edit.result()


def test_same_seed_same_bytes(picture: Tensor, tiny_clip: Clip) -> None:
    torch.manual_seed(1)
    first = trained(picture, tiny_clip)
    torch.manual_seed(2)
    second = trained(picture, tiny_clip)
    other = trained(picture, tiny_clip, dataclasses.replace(CONFIG, seed=1))
    assert torch.equal(first.rgb, second.rgb)
    assert torch.equal(first.alpha, second.alpha)
    assert not torch.equal(first.rgb, other.rgb)


@pytest.mark.parametrize(("augment", "of_sources"), [(STILL, 1), (AugmentConfig(), 4)])
def test_the_structure_of_a_source_that_stays_as_it_is_is_computed_once(
    augment: AugmentConfig, of_sources: int, picture: Tensor, tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = tiny_clip.tokens, []

    def counted(pictures: Tensor) -> Tensor:
        asked.append(pictures)
        return plain(pictures)

    monkeypatch.setattr(tiny_clip, "tokens", counted)
    trained(picture, tiny_clip, dataclasses.replace(CONFIG, augment=augment))
    of_composites = 3 + 1  # a step, and the un-augmented pair of step 0
    assert len(asked) == of_sources + of_composites


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_picture_of_one_colour_is_edited_like_any_other(level: float, tiny_clip: Clip) -> None:
    work = PhotoEdit(torch.full((3, 140, 150), level), tiny_clip, CONFIG)
    assert all(math.isfinite(step.total) for step in work)
    assert work.result().rgb.isfinite().all()


def test_result_is_valid_at_any_time_and_has_the_pictures_size(picture: Tensor, tiny_clip: Clip) -> None:
    edit = PhotoEdit(picture, tiny_clip, CONFIG)
    seen = [edit.result()]
    for i, step in enumerate(edit):
        assert (step.i, step.n, step.stage) == (i, 3, "")
        seen.append(edit.result())
    assert edit.size == (129, 181)
    assert edit.preview().size == edit.size
    for layer in seen:
        assert layer.size == (150, 210)
        assert layer.rgb.isfinite().all()
        assert 0 <= layer.alpha.min() <= layer.alpha.max() <= 1
    assert not torch.equal(seen[0].alpha, seen[-1].alpha)


def test_iterating_again_goes_on(picture: Tensor, tiny_clip: Clip) -> None:
    edit = PhotoEdit(picture, tiny_clip, CONFIG)
    assert next(iter(edit)).i == 0
    assert [step.i for step in edit] == [1, 2]


def test_the_mask_bounds_the_edit(picture: Tensor, tiny_clip: Clip) -> None:
    mask = torch.zeros(1, 150, 210)
    mask[:, :, 100:] = 1
    layer = trained(picture, tiny_clip, mask=mask)
    assert not layer.alpha[..., :100].any()
    assert layer.alpha[..., 100:].any()
    assert torch.equal(layer.over(picture[None])[..., :100], picture[None, ..., :100])


def test_a_picture_in_bytes_is_the_same_picture(tiny_clip: Clip) -> None:
    random = torch.Generator().manual_seed(0)
    picture, mask = torch.randint(256, (4, 150, 210), dtype=torch.uint8, generator=random).split([3, 1])
    of_bytes = trained(picture, tiny_clip, mask=mask)
    of_floats = trained(picture.float() / 255, tiny_clip, mask=mask.float() / 255)
    assert torch.equal(of_bytes.rgb, of_floats.rgb)
    assert torch.equal(of_bytes.alpha, of_floats.alpha)


def test_tries_continue_the_best(picture: Tensor, tiny_clip: Clip) -> None:
    config = dataclasses.replace(CONFIG, tries=3, try_steps=1, seed=4)
    edit = PhotoEdit(picture, tiny_clip, config)
    steps = list(edit)
    assert [step.i for step in steps] == list(range(edit.n_steps)) == list(range(3 + 2))
    assert [step.stage for step in steps] == ["try 1 of 3", "try 2 of 3", "try 3 of 3", "", ""]
    assert [t.seed for t in edit.tries] == [4, 5, 6]
    best = max(edit.tries, key=lambda t: t.score)
    assert edit.seed == best.seed
    alone = trained(picture, tiny_clip, dataclasses.replace(CONFIG, seed=best.seed))
    assert torch.equal(edit.result().rgb, alone.rgb)  # a try is the beginning of the same run
    assert -1 <= edit.score() <= 1


def test_a_try_that_diverges_is_passed_over(picture: Tensor, tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {0: 0.5, 1: 0.1}
    plain = PhotoEdit.examples
    monkeypatch.setattr(PhotoEdit, "score", lambda self, run: scores[run.seed])

    def examples(self, paint, rng):  # type: ignore[no-untyped-def]
        if rng.initial_seed() == 0:
            raise DivergedError("no")
        return plain(self, paint, rng)

    monkeypatch.setattr(PhotoEdit, "examples", examples)
    edit = PhotoEdit(picture, tiny_clip, dataclasses.replace(CONFIG, tries=2, try_steps=1))
    list(edit)
    assert [t.score for t in edit.tries] == [float("-inf"), 0.1]
    assert edit.seed == 1


def test_the_unaugmented_pair_joins_in_its_period(
    picture: Tensor, tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[Example], float]] = []
    plain = Objective.__call__

    def spy(self: Objective, examples: list[Example], bootstrap: float = 0.0):  # type: ignore[no-untyped-def]
        seen.append((examples, bootstrap))
        return plain(self, examples, bootstrap)

    monkeypatch.setattr(Objective, "__call__", spy)
    config = dataclasses.replace(CONFIG, optim=OptimConfig(steps=4, source_every=2))
    edit = PhotoEdit(picture, tiny_clip, config)
    list(edit)
    assert [len(examples) for examples, _ in seen] == [2, 1, 2, 1]
    assert [bootstrap for _, bootstrap in seen] == [1, 0.75, 0.5, 0.25]
    assert torch.equal(seen[2][0][1].source, edit.canvas)
    assert torch.equal(seen[2][0][1].texts[0].target, edit.texts.picked(PLAIN).target)
    assert all(e.relevancy is not None and e.relevancy.shape[-2:] == e.layer.size for e in seen[0][0])


@pytest.mark.parametrize(
    ("found", "layer_text", "cut_out", "weights"),
    [(True, None, True, [1, 1]), (False, None, False, [1, 0.5]), (True, "fog", False, [1, 0.5])],
)
def test_a_thing_that_is_cut_out_is_the_target_to_the_end(
    found: bool,
    layer_text: str | None,
    cut_out: bool,
    weights: list[float],
    picture: Tensor,
    tiny_clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing stands out, and for a layer with a text of its own, the map is, and its weight falls to 0."""
    thing = (torch.arange(181) < 60).float().expand(1, 1, 129, 181)
    monkeypatch.setattr(edits, "cutout", lambda picture, relevancy: thing if found else None)
    config = dataclasses.replace(
        CONFIG, bootstrap_to="cutout", layer_text=layer_text, augment=STILL, optim=OptimConfig(steps=2, source_every=9)
    )
    edit = PhotoEdit(picture, tiny_clip, config)
    assert edit.size == (129, 181)
    seen = []
    plain = edit.objective.__call__

    def spy(examples: list[Example], bootstrap: float = 0.0):  # type: ignore[no-untyped-def]
        assert examples[0].relevancy is not None
        seen.append((torch.equal(examples[0].relevancy, thing), bootstrap))
        return plain(examples, bootstrap)

    monkeypatch.setattr(edit, "objective", spy)
    list(edit)
    assert seen == [(cut_out, weight) for weight in weights]


def test_without_a_word_for_what_is_there_the_bootstrap_is_off(
    picture: Tensor, tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits, "choose_roi", lambda *args: None)
    edit = PhotoEdit(picture, tiny_clip, dataclasses.replace(CONFIG, roi=None))
    assert (edit.roi, edit.roi_chosen) == (None, True)
    assert "bootstrap" not in next(iter(edit)).terms


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [
        ((3000, 4000), 512, (512, 683)),
        ((300, 400), 512, (300, 400)),  # never above the source
        ((64, 96), 512, (129, 194)),  # but never below what the generator needs
        ((1, 1), 512, (129, 129)),
        ((500, 5000), 512, (324, 3238)),  # long strips by area
        ((100, 6000), 512, (129, 7740)),
        ((40_000, 100), 512, (8128, 129)),  # strips that are too long for that are squeezed
        ((100, 40_000), 129, (129, 516)),
    ],
)
def test_training_size(size: tuple[int, int], short: int, expected: tuple[int, int]) -> None:
    assert training_size(size, short) == expected


@given(st.tuples(st.integers(1, 3_000_000), st.integers(1, 3_000_000)), st.integers(129, 4096))
def test_no_shape_trains_on_more_than_four_squares(size: tuple[int, int], short: int) -> None:
    height, width = training_size(size, short)
    assert min(height, width) >= 129
    assert height * width <= 4 * short**2 + (height + width) / 2  # sides are rounded


def test_a_picture_smaller_than_the_generator_needs(tiny_clip: Clip) -> None:
    small = torch.rand(3, 40, 70, generator=torch.Generator().manual_seed(0))
    config = dataclasses.replace(CONFIG, optim=OptimConfig(steps=1))
    assert trained(small, tiny_clip, config).size == (40, 70)


def test_a_strip_longer_than_any_training_size_is_squeezed_and_comes_back(tiny_clip: Clip) -> None:
    strip = torch.randint(256, (3, 30, 4000), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    edit = PhotoEdit(strip, tiny_clip, dataclasses.replace(CONFIG, optim=OptimConfig(steps=1)))
    list(edit)
    assert edit.size == (129, 516)
    assert edit.result().size == (30, 4000)
