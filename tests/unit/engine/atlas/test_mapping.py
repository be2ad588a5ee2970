"""Between atlas and frames, against float64 written out independently, and on videos whose decomposition is known."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from t2l_cli.config import LAYERS, BlendMode, LayerName
from t2l_cli.engine.atlas.mapping import (
    Mapper,
    from_frame,
    premultiplied,
    reconstruct,
    sample,
    splat,
    straight,
)
from t2l_cli.engine.atlas.model import Atlas
from t2l_cli.engine.blend import AMBIENT
from t2l_cli.engine.layers import EditLayer
from t2l_cli.errors import RequestError
from tests.truth import Array, TruthVideo, bilinear, make_truth


@pytest.fixture(scope="module")
def truth() -> TruthVideo:
    return make_truth((80, 48), 9)


@pytest.fixture(scope="module")
def atlas(truth: TruthVideo) -> Atlas:
    return truth.atlas()


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def painted(atlas: Atlas, name: LayerName, seed: int = 0) -> EditLayer:
    """Coarse random paint all over a layer, with wholly transparent parts that hold random colours."""
    coarse = rand(1, 4, 7, 6, seed=seed)
    fine = torch.nn.functional.interpolate(coarse, size=atlas.layer(name).size, mode="bilinear")
    return EditLayer(fine[:, :3], (fine[:, 3:] * 2 - 0.7).clamp(0, 1))


def float64(layer: EditLayer) -> tuple[Array, Array]:
    """Premultiplied colour (H, W, 3) and alpha (H, W, 1)."""
    rgb, alpha = (part[0].permute(1, 2, 0).double().numpy() for part in (layer.rgb, layer.alpha))
    return rgb * alpha, alpha


# --- sampling


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10_000))
def test_sampling_is_bilinear_and_reads_the_nearest_texel_outside(height: int, width: int, seed: int) -> None:
    texture = rand(1, 3, height, width, seed=seed).double()
    uv = rand(2, 4, 5, 2, seed=seed + 1).double() * (max(height, width) + 6) - 3
    expected = np.stack([bilinear(texture[0].permute(1, 2, 0).numpy(), at.numpy()) for at in uv])
    np.testing.assert_allclose(sample(texture, uv).permute(0, 2, 3, 1).numpy(), expected, atol=1e-12)


def test_a_texels_centre_reads_that_texel() -> None:
    texture = rand(1, 2, 5, 7)
    uv = torch.stack(torch.meshgrid(torch.arange(7.0), torch.arange(5.0), indexing="xy"), -1)[None]
    torch.testing.assert_close(sample(texture, uv), texture, atol=2e-6, rtol=0)


def test_sampling_is_precise_on_large_textures() -> None:
    """Float32 coordinates on 2000 texels and more: a hundredth of a texel at the very most."""
    ramp = torch.arange(3000.0).expand(1, 1, 4, 3000)
    x = rand(1, 1, 500, 1, seed=3).double() * 2999
    uv = torch.cat([x, torch.full_like(x, 1.5)], -1)
    assert (sample(ramp, uv.float())[0, 0, 0].double() - x[0, 0, :, 0]).abs().max() < 1e-2


def test_sampling_is_differentiable_in_both() -> None:
    texture = rand(1, 2, 4, 5).double().requires_grad_()
    uv = (rand(1, 3, 3, 2, seed=1).double() * 2.8 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(sample, (texture, uv))


def test_transparent_texels_do_not_bleed() -> None:
    """Half a green layer, the rest transparent red: nowhere between them is anything but green."""
    rgb = torch.zeros(1, 3, 6, 6)
    rgb[:, 1, :, :3], rgb[:, 0, :, 3:] = 1, 1
    alpha = torch.zeros(1, 1, 6, 6)
    alpha[..., :3] = 1
    uv = torch.stack(torch.meshgrid(torch.linspace(0, 5, 41), torch.tensor([2.0]), indexing="xy"), -1)[None]
    seen = straight(sample(premultiplied(EditLayer(rgb, alpha)), uv))
    visible = seen.alpha[0, 0, 0] > 1e-4
    assert 15 < visible.sum() < 41
    torch.testing.assert_close(seen.rgb[0, 1, 0][visible], torch.ones(int(visible.sum())))
    assert not seen.rgb[:, [0, 2]].any()


def test_premultiplied_and_back() -> None:
    layer = EditLayer(rand(2, 3, 4, 4), rand(2, 1, 4, 4, seed=1))
    again = straight(premultiplied(layer))
    torch.testing.assert_close(again.rgb, layer.rgb, atol=1e-4, rtol=0)
    assert torch.equal(again.alpha, layer.alpha)
    assert not straight(torch.zeros(1, 4, 2, 2)).rgb.any()


# --- reconstruction and mapping back


def test_the_truth_reconstructs_the_video(truth: TruthVideo, atlas: Atlas) -> None:
    for t in range(len(truth.frames)):
        np.testing.assert_allclose(reconstruct(atlas, t).permute(1, 2, 0).numpy(), truth.exact(t), atol=5e-5)


@pytest.mark.parametrize("names", [("foreground",), ("background",), LAYERS])
def test_mapping_back_is_equations_15_and_16(truth: TruthVideo, atlas: Atlas, names: tuple[LayerName, ...]) -> None:
    layers = {name: painted(atlas, name, seed) for seed, name in enumerate(names)}
    mapper = Mapper(atlas, layers.get("foreground"), layers.get("background"))
    for t in (0, 4, 8):
        frame = rand(3, 48, 80, seed=t)
        image = frame.permute(1, 2, 0).double().numpy()
        over = {}
        for name in LAYERS:
            colour, opacity = float64(layers[name]) if name in layers else (np.zeros((2, 2, 3)), np.zeros((2, 2, 1)))
            c, a = (bilinear(part, truth.uv[name][t]) for part in (colour, opacity))
            # straight colour at the pixel, as Eq. 15 has it; irrelevant where there is none
            over[name] = a * (c / np.maximum(a, 1e-12)) + (1 - a) * image
        alpha = truth.alpha[t, ..., None]
        expected = alpha * over["foreground"] + (1 - alpha) * over["background"]
        np.testing.assert_allclose(mapper.over(frame, t).permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_the_layer_over_the_frame_is_the_edited_frame(atlas: Atlas) -> None:
    mapper = Mapper(atlas, painted(atlas, "foreground"), painted(atlas, "background", 1))
    frame = rand(3, 48, 80)
    for t in (0, 8):
        layer = mapper.layer(t)
        assert layer.size == (48, 80)
        torch.testing.assert_close(layer.over(frame[None])[0], mapper.over(frame, t), atol=2e-5, rtol=0)


def test_without_paint_the_video_comes_back_bit_for_bit(truth: TruthVideo, atlas: Atlas) -> None:
    empty = {
        name: EditLayer(rand(1, 3, *atlas.layer(name).size), torch.zeros(1, 1, *atlas.layer(name).size))
        for name in LAYERS
    }
    frames = truth.tensor().float() / 255
    for mapper in (Mapper(atlas), Mapper(atlas, empty["foreground"], empty["background"])):
        for t, frame in enumerate(frames):
            assert torch.equal(mapper.over(frame, t), frame)
            assert not mapper.layer(t).alpha.any()


def test_a_pixel_without_paint_is_not_touched(truth: TruthVideo, atlas: Atlas) -> None:
    mapper = Mapper(atlas, painted(atlas, "foreground"), painted(atlas, "background", 1))
    frame = truth.tensor()[3].float() / 255
    bare = mapper.layer(3).alpha[0, 0] == 0
    assert 50 < bare.sum() < bare.numel() - 50
    assert torch.equal(mapper.over(frame, 3)[:, bare], frame[:, bare])


def test_foreground_paint_leaves_the_background_alone(atlas: Atlas) -> None:
    size = atlas.foreground.size
    mapper = Mapper(atlas, EditLayer(torch.ones(1, 3, *size), torch.ones(1, 1, *size)))
    frame = rand(3, 48, 80)
    outside = atlas.alpha[2] == 0
    assert torch.equal(mapper.over(frame, 2)[:, outside], frame[:, outside])
    inside = atlas.alpha[2] == 1
    torch.testing.assert_close(mapper.over(frame, 2)[:, inside], torch.ones(3, int(inside.sum())))


def test_a_layer_of_another_size_is_refused(atlas: Atlas) -> None:
    height, width = atlas.background.size
    layer = EditLayer(torch.zeros(1, 3, height, width + 1), torch.zeros(1, 1, height, width + 1))
    with pytest.raises(RequestError, match=f"background layer is {width + 1} x {height} px"):
        Mapper(atlas, background=layer)


# --- from a frame to the atlas


def dot(at: npt.ArrayLike, size: tuple[int, int], sigma: float = 1.5) -> Tensor:
    """(H, W): a soft dot at ``at`` (x, y)."""
    x0, y0 = np.asarray(at, float)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    return torch.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2)).float()


def centroid(picture: Tensor) -> Array:
    """(x, y) of the mass of a (H, W) picture."""
    height, width = picture.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mass = picture.double()
    return np.array([(mass * k).sum().item() for k in (x, y)]) / mass.sum().item()


@pytest.mark.parametrize("density", [0.6, 1.0, 2.7])
@pytest.mark.parametrize("name", LAYERS)
def test_a_dot_painted_on_a_frame_is_at_its_place_in_all(name: LayerName, density: float) -> None:
    """From frame 2 to the atlas and from there to every frame, within a tenth of a texel and a px."""
    truth = make_truth((80, 48), 5, density=density, foreground=name == "foreground")
    atlas = truth.atlas()
    at = np.array([43.3, 24.6])
    paint = EditLayer(torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 48, 80), dot(at, (48, 80))[None, None])
    carried = from_frame(atlas, 2, paint, name)
    spot = bilinear(truth.uv[name][2], at[None])[0]
    assert np.abs(centroid(carried.alpha[0, 0]) - spot).max() < 0.1 * max(1, density)
    assert carried.alpha.max() > 0.75
    assert carried.rgb[0, 0][carried.alpha[0, 0] > 0.01].min() > 0.999
    mapper = Mapper(atlas, **{name: carried})
    for t in range(5):
        place = truth.seen(name, t, spot)
        assert np.abs(centroid(mapper.layer(t).alpha[0, 0]) - place).max() < 0.1


def test_paint_survives_the_way_to_the_atlas_and_back(truth: TruthVideo, atlas: Atlas) -> None:
    """A smooth edit of the whole frame, carried to both layers, comes back to its frame as it was."""
    coarse = torch.nn.functional.interpolate(rand(1, 4, 4, 5), size=(48, 80), mode="bicubic").clamp(0.05, 1)
    paint = EditLayer(coarse[:, :3], coarse[:, 3:])
    for t in (0, 5):
        mapper = Mapper(atlas, from_frame(atlas, t, paint, "foreground"), from_frame(atlas, t, paint, "background"))
        error = (premultiplied(mapper.layer(t)) - premultiplied(paint)).abs()
        assert error.mean() < 0.004
        assert error.quantile(0.99) < 0.03


def test_what_the_layer_does_not_own_does_not_count(atlas: Atlas) -> None:
    """Paint on the ground alone does not reach the foreground, but for a trace along its outline."""
    off = (atlas.alpha[4] == 0).float()[None, None]
    paint = EditLayer(torch.ones(1, 3, 48, 80), off)
    carried = Mapper(atlas, from_frame(atlas, 4, paint, "foreground")).layer(4)
    assert carried.alpha.max() < 0.2
    assert carried.alpha[0, 0][atlas.alpha[4] > 0.9].max() == 0
    assert not from_frame(atlas, 4, EditLayer(paint.rgb, off * 0), "background").alpha.any()


def test_splatted_texels_are_weighted_means() -> None:
    """Two pixels on one texel, by hand."""
    uv = torch.tensor([[[1.0, 1.0], [1.0, 1.0], [2.5, 1.0]]])
    values = torch.tensor([[[1.0, 5.0, 7.0]]])
    mean, weights = splat(values, torch.tensor([[3.0, 1.0, 0.0]]), uv, (3, 4))
    assert mean[0, 1, 1].item() == pytest.approx((3 * 1 + 1 * 5) / 4, rel=1e-6)
    assert weights[1, 1].item() == pytest.approx(4)
    assert weights.sum().item() == pytest.approx(4)
    assert not mean[0][weights == 0].any()


def test_splatting_leaves_no_holes_where_pixels_lie_texels_apart() -> None:
    x, y = torch.meshgrid(torch.arange(12.0), torch.arange(9.0), indexing="xy")
    uv = torch.stack([4.3 * x + 1, 3.1 * y + 2], -1)
    values = (x + 2 * y)[None]
    mean, weights = splat(values, torch.ones(9, 12), uv, (30, 52))
    v, u = torch.meshgrid(torch.arange(3, 26), torch.arange(3, 47), indexing="ij")
    assert weights[3:26, 3:47].min() > 0
    expected = (u - 1) / 4.3 + 2 * (v - 2) / 3.1
    assert (mean[0, 3:26, 3:47] - expected).abs().max() < 0.2


def test_coordinates_far_outside_do_no_harm(atlas: Atlas) -> None:
    far = dataclasses.replace(atlas.background, uv=atlas.background.uv + 1e6)
    moved = dataclasses.replace(atlas, background=far)
    paint = EditLayer(torch.ones(1, 3, 48, 80), torch.ones(1, 1, 48, 80))
    assert not from_frame(moved, 0, paint, "background").alpha.any()
    assert reconstruct(moved, 0).isfinite().all()


@pytest.mark.parametrize("mode", get_args(BlendMode))
def test_a_blend_mode_meets_each_frame(mode: BlendMode) -> None:
    """Where only one layer is painted, the result is its colours blended with the frame, whichever way it is asked."""
    truth = make_truth((64, 40), 3)
    atlas = truth.atlas()
    layer = painted(atlas, "background")
    mapper = Mapper(atlas, background=layer, blend=mode)
    frames = {t: torch.from_numpy(truth.frames[t]).permute(2, 0, 1) / 255 for t in range(3)}
    mapper.measure(frames)
    for t, frame in frames.items():
        seen = straight(sample(premultiplied(layer), atlas.background.uv[t : t + 1]))
        share = atlas.share("background", t)
        expected = seen.blended(frame[None], mode)
        one = mapper.layer(t, frame)
        torch.testing.assert_close(mapper.over(frame, t), one.over(frame[None])[0], atol=2e-6, rtol=0)
        if mode != "shade":
            torch.testing.assert_close(one.alpha, expected.alpha * share, atol=1e-6, rtol=0)
            shown = expected.within(share[None, None]).over(frame[None])[0]
            torch.testing.assert_close(mapper.over(frame, t), shown, atol=1e-5, rtol=0)


def test_shade_has_one_reference_for_the_whole_video() -> None:
    """A darker frame is shaded darker: light that moves stays."""
    atlas = make_truth((64, 40), 3).atlas()
    size = atlas.background.size
    layer = EditLayer(torch.full((1, 3, *size), 0.4), torch.ones(1, 1, *size))
    mapper = Mapper(atlas, background=layer, blend="shade")
    bright, dark = torch.full((3, 40, 64), 0.6), torch.full((3, 40, 64), 0.3)
    mapper.measure({0: bright, 1: bright, 2: bright})
    alone = atlas.share("background", 1) > 0.999
    assert torch.allclose(mapper.over(bright, 1)[:, alone], torch.tensor(0.4), atol=1e-5)
    darker = torch.tensor(0.4 * (0.3 + AMBIENT) / (0.6 + AMBIENT))
    assert torch.allclose(mapper.over(dark, 1)[:, alone], darker, atol=1e-5)


def test_the_frames_that_tell_the_light_show_the_layer() -> None:
    """A thing that is out of sight at the first, the last and the middle frame keeps the colour of its paint."""
    truth = make_truth((64, 40), 9)
    atlas = truth.atlas()
    seen = torch.zeros(9)
    seen[[2, 3, 6]] = 1.0
    atlas = dataclasses.replace(atlas, alpha=atlas.alpha * seen[:, None, None])
    size = atlas.foreground.size
    layer = EditLayer(torch.full((1, 3, *size), 0.4), torch.ones(1, 1, *size))
    mapper = Mapper(atlas, layer, blend="shade")
    assert mapper.telling(5) == {2, 3, 6}
    frame = torch.full((3, 40, 64), 0.6)
    mapper.measure(dict.fromkeys(mapper.telling(2), frame))
    inside = atlas.alpha[3] > 0.999
    assert torch.allclose(mapper.over(frame, 3)[:, inside], torch.tensor(0.4), atol=1e-5)
    assert len(mapper.telling(1)) == 1
    both = Mapper(
        atlas, layer, EditLayer(torch.ones(1, 3, *atlas.background.size), torch.ones(1, 1, *atlas.background.size))
    )
    assert {0, 3, 8} <= both.telling(3)
