"""Textures straight from frames, and the finished atlas, judged by a model that is the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from t2l_cli.engine.atlas.mapping import reconstruct, sample
from t2l_cli.engine.atlas.model import VideoIdentity
from t2l_cli.engine.atlas.quality import psnr
from t2l_cli.engine.fit import textures
from t2l_cli.engine.fit.field import Field, LayerField
from t2l_cli.engine.fit.finish import FAINT, discretise
from t2l_cli.engine.motion.flow import reduce_frame
from tests.truth import make_truth

SIZE = (48, 80)
STEP = 3.0  # px that the camera pans a frame


def panning(n: int = 4) -> tuple[Field, Tensor]:
    """A background seen by a panning camera, its textures still empty, and the frames at twice the model's size."""
    ground = make_truth((240, 120), 1, foreground=False).tensor()[0]
    frames = torch.stack([ground[:, 10:106, 10 + 6 * t : 170 + 6 * t] for t in range(n)])
    matrices = np.tile(np.eye(3), (n, 1, 1))
    matrices[:, 0, 2] = STEP * np.arange(n)
    box = (-2.0, -2.0, SIZE[1] + STEP * (n - 1) + 1, SIZE[0] + 1.0)
    return Field(LayerField(matrices, SIZE, (2, 3, 3), box, 1.25, 2), None, n, SIZE, 2), frames


def reduced(frames: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.stack([reduce_frame(frame, size) for frame in frames])


@pytest.mark.parametrize(("level", "size"), [(0, SIZE), (1, (24, 40))])
def test_frames_are_carried_to_the_texture_and_read_back(level: int, size: tuple[int, int]) -> None:
    model, frames = panning()
    seen = reduced(frames, size)
    textures.resample(model, level, seen, torch.zeros(4, 1, *size))
    layer = model.background
    shape = layer.texture.sizes[level]
    uv = layer.uv(layer.mapping(torch.arange(4), size), shape)
    assert psnr(sample(layer.texture(level), uv).detach(), seen.float() / 255) > 30
    assert layer.texture(level).amin() > 0.02  # nothing is left empty: what no frame shows is filled from around


def test_texels_that_nobody_reads_stay() -> None:
    texture = torch.full((1, 3, 10, 20), 0.5)
    uv = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(10.0), indexing="xy"), -1)[None]
    frame = torch.ones(1, 3, *uv.shape[1:3])
    out, weights = textures.improved(texture, lambda: [(frame, torch.ones(1, 1, *uv.shape[1:3]), uv)])
    torch.testing.assert_close(out[..., :8], torch.ones(1, 3, 10, 8))
    assert (out[..., 8:] == 0.5).all()
    torch.testing.assert_close(weights[:, :8], torch.ones(10, 8))
    assert not weights[:, 8:].any()


def test_a_pixel_counts_by_its_weight() -> None:
    uv = torch.zeros(2, 1, 1, 2)
    frames = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    weight = torch.tensor([0.75, 0.25]).view(2, 1, 1, 1)
    out, _ = textures.improved(torch.zeros(1, 3, 4, 4), lambda: [(frames, weight, uv)], passes=1)
    assert out[0, 0, 0, 0].item() == pytest.approx(0.75)


def test_chunks_cover_all_frames_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textures, "CHUNK_PIXELS", 250)
    assert [list(part) for part in textures.chunks(5, (10, 10))] == [[0, 1], [2, 3], [4]]
    assert len(list(textures.chunks(3, (100, 100)))) == 3


def test_the_finished_atlas_has_the_videos_size_and_detail() -> None:
    model, frames = panning()
    textures.resample(model, 0, reduced(frames), torch.zeros(4, 1, *SIZE))
    identity = VideoIdentity(4, 160, 96)
    atlas = discretise(model, frames, identity, {"made_by": "test"})
    assert atlas.background.uv.shape == (4, 96, 160, 2)
    assert not atlas.alpha.any()
    fine = torch.stack([reconstruct(atlas, t) for t in range(4)])
    blurred = torch.nn.functional.interpolate(reduced(frames).float(), size=(96, 160), mode="bilinear")
    truth = frames.float() / 255
    assert psnr(fine, truth) > psnr(blurred / 255, truth) + 3  # finer than the model ever was
    moved = atlas.background.uv[1] - atlas.background.uv[0]
    scale = atlas.background.size[1] / model.background.texture_size()[1] * 1.25
    torch.testing.assert_close(moved[..., 0], torch.full((96, 160), STEP * scale), atol=1e-3, rtol=0)


def test_nearly_decided_opacity_is_decided() -> None:
    background, frames = panning(2)
    front = LayerField(np.tile(np.eye(3), (2, 1, 1)), SIZE, (2, 3, 3), (0.0, 0.0, 79.0, 47.0), 1.25, 2)
    model = Field(background.background, front, 2, SIZE, 2)
    assert model.opacity is not None
    wanted = torch.tensor([0.5 * FAINT, 0.5, 1 - 0.5 * FAINT]).view(1, 1, 1, 3).expand(2, 1, SIZE[0], 3)
    model.opacity.show(torch.logit(wanted).repeat_interleave(27, -1)[..., : SIZE[1]], 0)
    alpha = discretise(model, reduced(frames), VideoIdentity(2, 80, 48), {}).alpha
    assert sorted(set(alpha.unique().mul(100).round().tolist())) == [0, 50, 100]
