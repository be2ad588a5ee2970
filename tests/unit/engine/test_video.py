"""The training of a clip's layer: what a step sees, where the paint lands, what is promised of sizes and seeds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from t2l_cli.config import LossWeights, OptimConfig, SegmentConfig, ViewConfig, video_config
from t2l_cli.engine import augment
from t2l_cli.engine import edit as edits
from t2l_cli.engine.atlas.mapping import Mapper, sample
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.objective import Example
from t2l_cli.engine.runtime import Runtime
from t2l_cli.engine.video import VideoEdit, texel_span, three_frames
from t2l_cli.errors import RequestError
from tests.truth import TruthVideo, make_truth

CONFIG = dataclasses.replace(
    video_config(("red object",)),
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
def truth() -> TruthVideo:
    return make_truth((120, 80), 7)


def edit(truth: TruthVideo, clip: Clip, name: str = "foreground", **changes: object) -> VideoEdit:
    config = dataclasses.replace(CONFIG, **changes)
    return VideoEdit(truth.tensor(), truth.atlas(), name, clip, config)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["foreground", "background"])
def test_the_result_has_the_size_of_the_atlas(truth: TruthVideo, tiny_clip: Clip, name: str) -> None:
    work = edit(truth, tiny_clip, name)
    steps = list(work)
    assert [step.i for step in steps] == [0, 1, 2]
    assert steps[-1].terms.keys() >= {"cosine", "direction", "screen", "structure", "sparsity", "bootstrap"}
    layer = work.result()
    assert layer.size == truth.atlas().layer(name).size  # type: ignore[arg-type]
    assert layer.alpha.min() >= 0
    assert layer.alpha.max() <= 1
    assert -1 <= work.score() <= 1


def test_a_segment_is_the_clip_seen_through_the_atlas(truth: TruthVideo, tiny_clip: Clip) -> None:
    """The texture, sampled at a segment's coordinates, is what its frames show where the layer owns them."""
    work = edit(truth, tiny_clip)
    for seed in range(4):
        seen = work.draw(torch.Generator().manual_seed(seed))
        (left, top), crop = work.window(seen)
        rebuilt = sample(crop, seen.uv - seen.uv.new_tensor([left, top]))
        sure = (seen.share > 0.98).expand_as(rebuilt)
        assert sure.any()
        assert (rebuilt - seen.frames)[sure].abs().mean() < 0.03


def test_a_mirrored_segment_keeps_its_atlas_coordinates(truth: TruthVideo, tiny_clip: Clip) -> None:
    work = edit(truth, tiny_clip)
    seen = work.seen([3], work.region([3]))
    mirrored = seen.flipped()
    assert torch.equal(mirrored.frames.flip(-1), seen.frames)
    assert torch.equal(mirrored.uv[:, :, 0], seen.uv[:, :, -1])


def test_the_edit_stays_in_its_layer(truth: TruthVideo, tiny_clip: Clip) -> None:
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


def test_same_seed_same_layer_and_another_seed_another(truth: TruthVideo, tiny_clip: Clip) -> None:
    a, b, c = (edit(truth, tiny_clip, seed=seed) for seed in (1, 1, 2))
    for work in (a, b, c):
        list(work)
    assert torch.equal(a.result().rgb, b.result().rgb)
    assert not torch.equal(a.result().rgb, c.result().rgb)


def test_a_layer_that_is_never_seen_is_refused(tiny_clip: Clip) -> None:
    empty = make_truth((120, 80), 4, foreground=False)
    with pytest.raises(RequestError, match="no foreground"):
        edit(empty, tiny_clip)


def test_a_clip_of_another_length_is_refused(truth: TruthVideo, tiny_clip: Clip) -> None:
    with pytest.raises(RequestError, match="frames"):
        VideoEdit(truth.tensor()[:-1], truth.atlas(), "foreground", tiny_clip, CONFIG)


def test_short_clips_have_shorter_segments(tiny_clip: Clip) -> None:
    short = make_truth((120, 80), 2)
    work = edit(short, tiny_clip, "background", segment=SegmentConfig(stride=2))
    assert len(list(work)) == 3


@pytest.mark.parametrize(
    ("t", "n", "expected"),
    [
        (5, 10, [3, 5, 7]),
        (0, 10, [0, 2, 4]),
        (1, 10, [1, 3, 5]),
        (8, 10, [4, 6, 8]),
        (9, 10, [5, 7, 9]),
        (1, 5, [0, 2, 4]),
        (2, 3, [0, 1, 2]),
        (1, 2, [0, 1]),
        (0, 1, [0]),
    ],
)
def test_the_three_frames_point_inward_at_the_ends(t: int, n: int, expected: list[int]) -> None:
    assert three_frames(t, 2, n) == expected


def test_the_atlas_is_trained_at_so_many_texels_per_pixel_of_the_frames(tiny_clip: Clip) -> None:
    """The truth's textures have twice as many texels as its frames have pixels, along a side."""
    fine = make_truth((300, 240), 3, density=2.0)
    for texels, size in ((2.0, 240), (1.0, 240), (2.0, 200), (4.0, 240)):
        work = edit(fine, tiny_clip, "background", size=size, segment=SegmentConfig(texels=texels))
        stored = fine.atlas().background.size
        assert work.size[0] / stored[0] == pytest.approx(min(1.0, texels / 2.0 * size / 240), rel=0.02)
        seen = work.seen([1], (0, 0, 240, 300))
        steps = seen.uv.diff(dim=2).norm(dim=-1)
        assert steps.median() == pytest.approx(min(texels, 2.0 * 240 / size), rel=0.03)


def test_little_memory_makes_the_trained_atlas_smaller_and_not_the_result(
    tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = make_truth((300, 240), 3, density=2.0)
    full = edit(fine, tiny_clip, "background", size=240)
    monkeypatch.setattr(Runtime, "memory", 8_000_000_000)
    less = edit(fine, tiny_clip, "background", size=240)
    assert less.size == full.size, "a crop of this size takes some 3 GB at its largest"
    monkeypatch.setattr(Runtime, "memory", 2_000_000_000)
    less = edit(fine, tiny_clip, "background", size=240)
    assert less.size < full.size
    assert min(less.size) >= 129
    assert less.result().size == full.result().size


def test_a_scaled_atlas_crop_lands_on_the_frames_where_the_crop_does(truth: TruthVideo, tiny_clip: Clip) -> None:
    work = edit(truth, tiny_clip, "background")
    seen = work.seen([3], work.region([3]))
    origin, crop = work.window(seen)
    size = (crop.shape[-2], crop.shape[-1])
    alpha = torch.ones_like(crop[:, :1])
    plain = work.on_frames(EditLayer(crop, alpha), origin, size, seen)
    for by in (1.1, 1.2):
        scaled = augment.scaled(crop, (by, by), torch.Generator())
        assert scaled.shape[-1] == round(size[1] * by)
        other = work.on_frames(EditLayer(scaled, torch.ones_like(scaled[:, :1])), origin, size, seen)
        assert (other.rgb - plain.rgb).abs().mean() < 0.01
        torch.testing.assert_close(other.alpha, plain.alpha)


def test_the_bootstrap_of_a_clip_is_not_annealed(
    truth: TruthVideo, tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    work = edit(truth, tiny_clip)
    plain = work.objective

    def objective(examples: Sequence[Example], bootstrap_factor: float) -> Losses:
        asked.append(bootstrap_factor)
        return plain(examples, bootstrap_factor)

    monkeypatch.setattr(work, "objective", objective)
    list(work)
    assert asked == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("part", "whole"), [(0.6, True), (0.2, False)])
def test_a_cutout_of_most_of_the_foreground_means_all_of_it(
    part: float, whole: bool, truth: TruthVideo, tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cutout(picture: Tensor, relevancy: Tensor) -> Tensor:
        owned = (relevancy > 0).float()
        return owned * (owned.flatten(1).cumsum(1).view_as(owned) < part * owned.sum())

    monkeypatch.setattr(edits, "cutout", cutout)
    assert (target(edit(truth, tiny_clip, bootstrap_to="cutout")) > 0.9) is whole
    assert target(edit(truth, tiny_clip, "background", bootstrap_to="cutout")) < 0.9


def target(work: VideoEdit) -> float:
    """The part of the layer's texels in use that its opacity is drawn to."""
    example = work.plain_example(lambda x: EditLayer(x, torch.ones_like(x[:, :1])), torch.Generator())
    assert example.relevancy is not None
    inside = torch.nn.functional.interpolate(example.layer.alpha, size=example.relevancy.shape[-2:]) > 0.99
    eroded = -torch.nn.functional.max_pool2d(-inside.float(), 9, 1, 4) > 0
    return float((example.relevancy[eroded] > 0.5).float().mean())


def test_the_whole_background_is_shown_at_a_third_of_what_is_stored(tiny_clip: Clip) -> None:
    large = make_truth((480, 400), 3, density=2.0)
    work = edit(large, tiny_clip, "background", size=400, segment=SegmentConfig(texels=2.0))
    stored = work.layer.size
    shown = work.plain_example(lambda x: EditLayer(x, x[:, :1]), torch.Generator()).source.shape
    assert shown[-2] == pytest.approx(stored[0] / 3, abs=1)


def test_the_whole_background_is_never_shown_smaller_than_clip_sees(
    make_tiny_clip: Callable[..., Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_tiny_clip()
    monkeypatch.setattr(clip, "input_size", 224)
    small = make_truth((280, 230), 3)
    work = edit(small, clip, "background", size=230, segment=SegmentConfig(texels=2.0))
    assert min(work.layer.size) / 3 < 129
    shown = work.plain_example(lambda x: EditLayer(x, x[:, :1]), torch.Generator()).source.shape
    assert min(shown[-2:]) == min(224, *work.size)


def test_a_step_has_the_supplements_sizes(truth: TruthVideo, tiny_clip: Clip) -> None:
    """Section 2.1 and 3.1: frames cropped to 0.95 to 1 of the box with 30 px around it, the atlas crop scaled by 0.8 to
    1.2. Trained at two texels per pixel."""
    segment = video_config(("red object",)).segment
    assert (segment.crop, segment.margin, segment.scale, segment.texels) == ((0.95, 1.0), 30, (0.8, 1.2), 2.0)
    work = edit(truth, tiny_clip, segment=dataclasses.replace(segment, margin=4))
    sizes: list[tuple[int, ...]] = []

    def paint(picture: Tensor) -> EditLayer:
        sizes.append(tuple(picture.shape[-2:]))
        return EditLayer(picture, picture[:, :1])

    crops = []
    for seed in range(12):
        rng = torch.Generator().manual_seed(seed)
        crops.append(work.window(work.draw(rng))[1].shape[-2:])
        work.examples(paint, torch.Generator().manual_seed(seed))
    factors = [painted[0] / crop[0] for painted, crop in zip(sizes[::2], crops, strict=True)]
    assert max(factors) > 1.1
    assert all(0.79 < factor < 1.21 or painted[0] == 129 for factor, painted in zip(factors, sizes[::2], strict=True))
    for painted, crop in zip(sizes[::2], crops, strict=True):
        assert painted[0] / crop[0] == pytest.approx(painted[1] / crop[1], rel=0.02)
    atlas = truth.atlas()
    opaque = dataclasses.replace(atlas, alpha=torch.where(atlas.alpha > 0.95, atlas.alpha, 0.94 * (atlas.alpha > 0)))
    assert VideoEdit(truth.tensor(), opaque, "foreground", tiny_clip, CONFIG).region([3]) == edit(
        truth, tiny_clip
    ).region([3])


def test_what_is_opaque_nowhere_is_found_where_it_is_half_there(truth: TruthVideo, tiny_clip: Clip) -> None:
    atlas = truth.atlas()
    sure = VideoEdit(truth.tensor(), atlas, "foreground", tiny_clip, CONFIG)
    veil = dataclasses.replace(atlas, alpha=0.7 * atlas.alpha)
    soft = VideoEdit(truth.tensor(), veil, "foreground", tiny_clip, CONFIG)
    region = soft.region([3])
    assert region[2] >= sure.region([3])[2]
    list(soft)
    assert soft.result().alpha.max() > 0


def test_a_span_of_texels_is_wide_enough_and_inside() -> None:
    for low, high, limit in ((-5.0, 4.0, 200), (190.0, 260.0, 200), (50.0, 60.0, 129), (0.0, 199.0, 200)):
        span = texel_span(low, high, limit)
        assert 0 <= span.start < span.stop <= limit
        assert span.stop - span.start >= 129
