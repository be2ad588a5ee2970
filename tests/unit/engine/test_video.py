"""The training of a clip's layer: what a step sees, where the paint lands, what is promised of sizes and seeds."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch

from t2l_cli.config import LossWeights, OptimConfig, SegmentConfig, ViewConfig, layer_config
from t2l_cli.engine import edit as edits
from t2l_cli.engine.atlas.mapping import Mapper, sample
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.video import LayerEdit, _span, _spread
from t2l_cli.errors import RequestError
from tests.truth import TruthClip, make_truth

CONFIG = dataclasses.replace(
    layer_config(("red object",)),
    roi="object",
    clip="tiny",
    size=129,
    weights=LossWeights(structure=3.0, sparsity=5e-4),  # with the bootstrap, which is off otherwise
    optim=OptimConfig(steps=3, source_every=2),
    views=ViewConfig(n_views=1, fill=0.0),
)


@pytest.fixture(autouse=True)
def narrow_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits, "Generator", functools.partial(Generator, channels=8))


@pytest.fixture(scope="module")
def truth() -> TruthClip:
    return make_truth((120, 80), 7)


def edit(truth: TruthClip, clip: Clip, name: str = "foreground", **changes: object) -> LayerEdit:
    config = dataclasses.replace(CONFIG, **changes)
    return LayerEdit(truth.tensor(), truth.atlas(), name, clip, config)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["foreground", "background"])
def test_the_result_has_the_size_of_the_atlas(truth: TruthClip, tiny_clip: Clip, name: str) -> None:
    work = edit(truth, tiny_clip, name)
    steps = list(work)
    assert [step.i for step in steps] == [0, 1, 2]
    assert steps[-1].terms.keys() >= {"cosine", "direction", "screen", "structure", "sparsity", "bootstrap"}
    layer = work.result()
    assert layer.size == truth.atlas().layer(name).size  # type: ignore[arg-type]
    assert layer.alpha.min() >= 0
    assert layer.alpha.max() <= 1
    assert -1 <= work.score() <= 1


def test_a_segment_is_the_clip_seen_through_the_atlas(truth: TruthClip, tiny_clip: Clip) -> None:
    """The texture, sampled at a segment's coordinates, is what its frames show where the layer owns them."""
    work = edit(truth, tiny_clip)
    for seed in range(4):
        seen = work._draw(torch.Generator().manual_seed(seed))
        (left, top), crop = work._window(seen)
        rebuilt = sample(crop, seen.uv - seen.uv.new_tensor([left, top]))
        sure = (seen.share > 0.98).expand_as(rebuilt)
        assert sure.any()
        assert (rebuilt - seen.frames)[sure].abs().mean() < 0.03


def test_a_mirrored_segment_keeps_its_atlas_coordinates(truth: TruthClip, tiny_clip: Clip) -> None:
    work = edit(truth, tiny_clip)
    seen = work._seen([3], work._region([3]))
    mirrored = seen.flipped()
    assert torch.equal(mirrored.frames.flip(-1), seen.frames)
    assert torch.equal(mirrored.uv[:, :, 0], seen.uv[:, :, -1])


def test_the_edit_stays_in_its_layer(truth: TruthClip, tiny_clip: Clip) -> None:
    atlas = truth.atlas()
    for name in ("foreground", "background"):
        work = edit(truth, tiny_clip, name)
        list(work)
        mapper = Mapper(atlas, **{name: work.result()})
        frame = truth.tensor()[2].float() / 255
        moved = (mapper.over(frame, 2) - frame).abs().amax(0)
        foreign = atlas.share(name, 2) == 0  # type: ignore[arg-type]
        assert foreign.any()
        assert moved[foreign].max() == 0
        assert moved.max() > 0


def test_same_seed_same_layer_and_another_seed_another(truth: TruthClip, tiny_clip: Clip) -> None:
    a, b, c = (edit(truth, tiny_clip, seed=seed) for seed in (1, 1, 2))
    for work in (a, b, c):
        list(work)
    assert torch.equal(a.result().rgb, b.result().rgb)
    assert not torch.equal(a.result().rgb, c.result().rgb)


def test_a_layer_that_is_never_seen_is_refused(tiny_clip: Clip) -> None:
    empty = make_truth((120, 80), 4, foreground=False)
    with pytest.raises(RequestError, match="no foreground"):
        edit(empty, tiny_clip)


def test_a_clip_of_another_length_is_refused(truth: TruthClip, tiny_clip: Clip) -> None:
    with pytest.raises(RequestError, match="frames"):
        LayerEdit(truth.tensor()[:-1], truth.atlas(), "foreground", tiny_clip, CONFIG)


def test_short_clips_have_shorter_segments(tiny_clip: Clip) -> None:
    short = make_truth((120, 80), 2)
    work = LayerEdit(short.tensor(), short.atlas(), "background", tiny_clip, CONFIG, segment=SegmentConfig(stride=2))
    assert len(list(work)) == 3


def test_spread_and_span() -> None:
    assert _spread([1, 2, 3, 4, 5], 3) == [1, 3, 5]
    assert _spread([7], 3) == [7]
    assert _spread([1, 2], 1) == [2]
    for low, high, limit in ((-5.0, 4.0, 200), (190.0, 260.0, 200), (50.0, 60.0, 129), (0.0, 199.0, 200)):
        span = _span(low, high, limit)
        assert 0 <= span.start < span.stop <= limit
        assert span.stop - span.start >= 129
