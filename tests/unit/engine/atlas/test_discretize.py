"""A checkpoint's networks as an Atlas: accuracy against the networks in float64, what is kept, and what is refused."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from t2l_cli.config import LAYERS, LayerName
from t2l_cli.engine.atlas import discretize
from t2l_cli.engine.atlas.discretize import Discretization
from t2l_cli.engine.atlas.mapping import Mapper, reconstruct
from t2l_cli.engine.atlas.model import Atlas, VideoIdentity
from t2l_cli.engine.atlas.networks import NeuralAtlas, normalised
from t2l_cli.engine.atlas.quality import psnr
from t2l_cli.engine.layers import EditLayer
from t2l_cli.errors import RequestError
from tests.lna import fitted, plane
from tests.truth import Array, TruthVideo

RESOLUTION = 480
OFFSETS = {"foreground": 0.0, "background": -1.0}


@pytest.fixture(scope="module")
def truth() -> TruthVideo:
    return fitted()[0]


@pytest.fixture(scope="module")
def networks() -> NeuralAtlas:
    return fitted()[1]


@pytest.fixture(scope="module")
def work(truth: TruthVideo, networks: NeuralAtlas) -> Discretization:
    work = Discretization(networks, truth.identity, RESOLUTION)
    for _ in work:
        pass
    return work


@pytest.fixture(scope="module")
def atlas(work: Discretization) -> Atlas:
    return work.result()


def exactly(networks: NeuralAtlas, truth: TruthVideo, t: int) -> tuple[dict[LayerName, Tensor], Tensor]:
    """Both layers' places on LNA's plane (H, W, 2) and the opacity (H, W) of frame ``t``, all in float64."""
    double = copy.deepcopy(networks).double()
    height, width = truth.alpha.shape[1:]
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (height, width)), indexing="ij")
    half = max(width, height) / 2
    at = torch.stack([x / half, y / half, torch.full_like(x, t) / (len(truth.frames) / 2)], -1) - 1
    flat = at.reshape(-1, 3)
    places: dict[LayerName, Tensor] = {
        "foreground": double.foreground_uv(flat).reshape(height, width, 2),
        "background": double.background_uv(flat).reshape(height, width, 2),
    }
    return places, double.opacity(flat).reshape(height, width)


def corner(atlas: Atlas, networks: NeuralAtlas, truth: TruthVideo, name: LayerName) -> Tensor:
    """(2,): the texel of the whole plane that is the picture's first; by one pixel's coordinates."""
    places, _ = exactly(networks, truth, 0)
    return ((places[name][0, 0] - OFFSETS[name]) * RESOLUTION - atlas.layer(name).uv[0, 0, 0]).round()


@pytest.mark.slow
def test_the_video_is_rebuilt_as_well_as_by_the_networks(truth: TruthVideo, work: Discretization, atlas: Atlas) -> None:
    frames = truth.tensor().float() / 255
    for t, frame in enumerate(frames):
        own, ours = psnr(work.network_frame(t), frame), psnr(reconstruct(atlas, t), frame)
        assert own > 18  # the fit is a real one
        assert ours > own - 0.1


@pytest.mark.slow
def test_positions_and_opacity_agree_with_float64(truth: TruthVideo, networks: NeuralAtlas, atlas: Atlas) -> None:
    for t in (0, 5, 11):
        places, alpha = exactly(networks, truth, t)
        assert (atlas.alpha[t].double() - alpha).abs().max() < 1e-5
        for name in LAYERS:
            texels = (places[name] - OFFSETS[name]) * RESOLUTION - corner(atlas, networks, truth, name)
            assert (atlas.layer(name).uv[t].double() - texels).abs().max() < 2e-3


def test_texels_are_the_planes_colours_at_their_index(truth: TruthVideo, networks: NeuralAtlas, atlas: Atlas) -> None:
    double = copy.deepcopy(networks).double()
    for name in LAYERS:
        texture = atlas.layer(name).texture
        first = corner(atlas, networks, truth, name)
        for row, column in ((0, 0), (3, 17), (texture.shape[1] - 1, texture.shape[2] - 1)):
            place = (torch.tensor([column, row]).double() + first) / RESOLUTION + OFFSETS[name]
            assert (texture[:, row, column].double() - double.colour(place[None])[0]).abs().max() < 2e-3


def test_the_box_is_what_the_video_uses_and_no_more(truth: TruthVideo, atlas: Atlas) -> None:
    """All of the background; of the foreground what is opaque, and around it at most 30 px of what is visible."""
    margin = {"foreground": 30 * 0.8 / 96 * RESOLUTION * 2, "background": 0.0}
    for name, certain, visible in (("foreground", 0.95, 0.5 / 255), ("background", -1.0, -1.0)):
        layer = atlas.layer(name)
        last = torch.tensor([layer.size[1] - 1, layer.size[0] - 1])
        inside, around = layer.uv[atlas.alpha > certain], layer.uv[atlas.alpha > visible]
        assert (inside.amin(0) >= -1e-3).all()
        assert (inside.amax(0) <= last + 1e-3).all()
        assert (around.amin(0) < 1).all()
        assert (around.amax(0) > last - 1).all()
        assert (inside.amin(0) < 1 + margin[name]).all()
        assert (inside.amax(0) > last - 1 - margin[name]).all()


@pytest.mark.slow
def test_a_soft_outline_is_rebuilt_too(
    truth: TruthVideo, networks: NeuralAtlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreground that fades out over many pixels, as smoke or motion blur does, is cut off nowhere."""
    soft = copy.deepcopy(networks)
    last = soft.alpha.hidden[-1]
    last.weight.mul_(0.35)  # type: ignore[operator, union-attr]
    last.bias.mul_(0.35).add_(0.3)  # type: ignore[operator, union-attr]
    video = dataclasses.replace(truth.identity, frames=4)

    def figure() -> float:
        work = Discretization(soft, video, RESOLUTION)
        atlas = work.result()
        return min(psnr(reconstruct(atlas, t), work.network_frame(t)) for t in range(4))

    with_margin = figure()
    monkeypatch.setattr(discretize, "MARGIN", 0)
    print(f"{figure():.1f} dB without a margin, {with_margin:.1f} dB with it")
    assert with_margin > 40
    assert with_margin > figure() + 3


def test_used_texels_are_one_piece(truth: TruthVideo, atlas: Atlas) -> None:
    """Pixels lie four texels apart here; between them everything is in use, beyond the outline nothing."""
    step = 0.8 / 96 * RESOLUTION
    rows, columns = np.mgrid[0 : atlas.foreground.size[0], 0 : atlas.foreground.size[1]]
    middle = np.array([columns, rows]).reshape(2, -1).mean(1)
    distance = np.hypot(columns - middle[0], rows - middle[1]) / step
    used = atlas.foreground.used.numpy()
    assert used[distance < 11].all()
    assert not used[distance > 22].any()
    assert atlas.background.used.float().mean() > 0.8


def test_an_edit_at_a_place_of_the_atlas_is_at_its_place_in_every_frame(
    truth: TruthVideo, networks: NeuralAtlas, atlas: Atlas
) -> None:
    """A dot on the blob: where the networks say to a hundredth of a px, where the truth says to the fit's half px."""
    spot = truth.uv["foreground"][6, 28, 46]  # texels of the truth
    first = corner(atlas, networks, truth, "foreground")
    at = plane(truth, "foreground", spot[None])[0] * RESOLUTION - first
    height, width = atlas.foreground.size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    spread = 2 * 0.8 / 96 * RESOLUTION  # two px

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return torch.exp(-((u - at[0]) ** 2 + (v - at[1]) ** 2) / (2 * spread**2))

    layer = EditLayer(torch.ones(1, 3, height, width), dot(x, y)[None, None].float())
    mapper = Mapper(atlas, layer)
    own, true = [], []
    for t in range(len(truth.frames)):
        seen = centroid(mapper.layer(t).alpha[0, 0])
        places, alpha = exactly(networks, truth, t)
        texels = places["foreground"] * RESOLUTION - first
        own.append(np.abs(seen - centroid(alpha * dot(texels[..., 0], texels[..., 1]))).max())
        true.append(np.hypot(*(seen - truth.seen("foreground", t, spot))))
    print(f"centroids: {max(own):.4f} px from the networks', {max(true):.2f} px from the truth")
    assert max(own) < 0.02
    assert max(true) < 0.7


def centroid(picture: Tensor) -> Array:
    """(x, y) of the mass of (H, W)."""
    y, x = torch.meshgrid(*(torch.arange(n) for n in picture.shape), indexing="ij")
    mass = picture.double()
    return np.array([(mass * k).sum().item() for k in (x, y)]) / mass.sum().item()


def test_progress_and_the_result_without_it(truth: TruthVideo, networks: NeuralAtlas) -> None:
    video = dataclasses.replace(truth.identity, frames=12)
    work = Discretization(networks, video, 40)
    first = next(iter(work))
    assert (first.i, first.n, first.terms) == (0, 12, {})
    atlas = work.result()
    assert list(work) == []
    assert work.result() is atlas
    assert atlas.video == video
    assert atlas.origin["maker"] == "layered-neural-atlases"
    assert atlas.origin["resolution"] == 40
    steps = list(Discretization(networks, video, 40))
    for stage in ("coordinates", "textures", "comparison"):
        own = [step for step in steps if step.stage == stage]
        assert [step.i for step in own] == list(range(own[0].n))


def test_the_size_of_the_chunks_does_not_matter(
    truth: TruthVideo, networks: NeuralAtlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = dataclasses.replace(truth.identity, frames=2)
    whole = Discretization(networks, video, 50).result()
    monkeypatch.setattr(discretize, "CHUNK", 701)
    parts = Discretization(networks, video, 50).result()
    torch.testing.assert_close(parts.alpha, whole.alpha)
    for name in LAYERS:
        torch.testing.assert_close(parts.layer(name).uv, whole.layer(name).uv)
        torch.testing.assert_close(parts.layer(name).texture, whole.layer(name).texture)


@pytest.mark.parametrize("bias", [-9.0, 0.5])
def test_a_video_without_an_opaque_foreground_works(truth: TruthVideo, networks: NeuralAtlas, bias: float) -> None:
    """Nowhere above 0.95: nothing at all, or three quarters of it everywhere."""
    faint = copy.deepcopy(networks)
    last = faint.alpha.hidden[-1]
    last.weight.zero_()  # type: ignore[operator, union-attr]
    last.bias.fill_(bias)  # type: ignore[operator, union-attr]
    work = Discretization(faint, dataclasses.replace(truth.identity, frames=3), 200)
    atlas = work.result()
    for t in range(3):
        assert psnr(reconstruct(atlas, t), work.network_frame(t)) > 30
    assert atlas.background.used.any() == (bias < 0)
    Mapper(atlas, EditLayer(*(torch.ones(1, n, *atlas.foreground.size) for n in (3, 1)))).layer(0)


def test_a_portrait_video(networks: NeuralAtlas) -> None:
    video = VideoIdentity(2, 10, 24)
    atlas = Discretization(networks, video, 100).result()
    at = normalised(torch.tensor([3]), torch.tensor([20]), torch.tensor([1]), (10, 24), 2)
    moved = networks.background_uv(at)[0] * 100 - atlas.background.uv[1, 20, 3]
    assert (moved - moved.round()).abs().max() < 1e-3


@pytest.mark.parametrize("resolution", [0, -5, 10**9])
def test_a_resolution_that_cannot_be_is_refused(truth: TruthVideo, networks: NeuralAtlas, resolution: int) -> None:
    with pytest.raises(RequestError, match="--resolution"):
        Discretization(networks, truth.identity, resolution)


def test_a_picture_that_is_too_large_is_refused_before_any_is_painted(
    truth: TruthVideo, networks: NeuralAtlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discretize, "MAX_TEXELS", 4500)  # the blob's is smaller, the ground's larger
    monkeypatch.setattr(networks, "colour", None)
    with pytest.raises(RequestError, match=r"the background atlas would .* --resolution"):
        Discretization(networks, truth.identity, 100).result()


def test_psnr() -> None:
    a = torch.zeros(3, 2, 2)
    assert psnr(a, a) == float("inf")
    assert psnr(a, a + 0.1) == pytest.approx(20, abs=1e-5)
