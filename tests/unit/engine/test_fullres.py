"""Full resolution: sharp outlines, kept colours, exact zeros, and strips that leave no seam."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.engine import fullres
from t2l_cli.engine.layers import EditLayer

LOW, HIGH = (96, 128), (576, 768)


@pytest.fixture(scope="module")
def disc() -> Tensor:
    """Coverage of a disc at full size, (1, 1, H, W), one pixel of antialiasing."""
    y, x = torch.meshgrid(torch.arange(HIGH[0]), torch.arange(HIGH[1]), indexing="ij")
    return (200.5 - torch.hypot(x - 380.0, y - 290.0)).clamp(0, 1)[None, None]


@pytest.fixture(scope="module")
def source(disc: Tensor) -> Tensor:
    """A blue disc with fine grain on a light, softly uneven ground, (1, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    ground = F.interpolate(torch.randn(1, 3, 9, 12, generator=generator), size=HIGH, mode="bicubic") * 0.05 + 0.6
    grain = F.avg_pool2d(torch.randn(1, 1, *HIGH, generator=generator), 5, 1, 2) * 0.1
    blue = torch.tensor([0.15, 0.3, 0.8]).view(1, 3, 1, 1) + grain
    return (disc * blue + (1 - disc) * (ground + grain)).clamp(0, 1)


@pytest.fixture(scope="module")
def layer(disc: Tensor) -> EditLayer:
    """A red layer on the disc, at training size."""
    red = torch.tensor([0.8, 0.1, 0.1]).view(1, 3, 1, 1).expand(1, 3, *LOW)
    return EditLayer(red.clone(), fullres.reduce(disc, LOW))


def test_outline_is_as_sharp_as_the_photos(disc: Tensor, source: Tensor, layer: EditLayer) -> None:
    sharp = fullres.upsample(layer, source)
    blurred = F.interpolate(layer.alpha, size=HIGH, mode="bilinear")
    assert sharp.size == HIGH
    error, plain = (sharp.alpha - disc).abs().mean().item(), (blurred - disc).abs().mean().item()
    assert error < plain / 2
    steepest = (sharp.alpha[..., 1:] - sharp.alpha[..., :-1]).abs().flatten().topk(100).values.mean()
    assert steepest > 0.8  # bilinear: 1/6


def test_far_from_the_edit_nothing_is_touched(disc: Tensor, source: Tensor, layer: EditLayer) -> None:
    result = fullres.upsample(layer, source)
    far = slice(640, None)  # columns; the disc ends at 580, the model's windows reach 8 low-resolution px further
    assert not disc[..., 581:].any()
    assert not result.alpha[..., far].any()
    assert torch.equal(result.over(source)[..., far], source[..., far])


def test_alpha_below_half_a_step_is_zero(source: Tensor) -> None:
    faint = EditLayer(torch.full((1, 3, *LOW), 0.5), torch.full((1, 1, *LOW), 0.4 / 255))
    assert not fullres.upsample(faint, source).alpha.any()
    visible = EditLayer(faint.rgb, torch.full((1, 1, *LOW), 0.6 / 255))
    torch.testing.assert_close(fullres.upsample(visible, source).alpha, torch.full((1, 1, *HIGH), 0.6 / 255))


def test_a_colour_of_its_own_is_only_enlarged(source: Tensor) -> None:
    """Where the layer does not follow the source, its own texture survives."""
    generator = torch.Generator().manual_seed(5)
    rgb = F.interpolate(torch.rand(1, 3, 12, 16, generator=generator), size=LOW, mode="bilinear")
    result = fullres.upsample(EditLayer(rgb, torch.ones(1, 1, *LOW)), source)
    torch.testing.assert_close(result.alpha, torch.ones(1, 1, *HIGH))
    back = fullres.reduce(result.rgb, LOW)
    assert (back - rgb).abs().mean() < 0.02


def test_fine_detail_of_the_source_is_in_a_colour_that_follows_it(source: Tensor) -> None:
    darker = EditLayer(0.5 * fullres.reduce(source, LOW), torch.ones(1, 1, *LOW))
    result = fullres.upsample(darker, source).rgb
    plain = F.interpolate(darker.rgb, size=HIGH, mode="bilinear")
    assert (result - 0.5 * source).abs().mean() < 0.35 * (plain - 0.5 * source).abs().mean()


def test_strips_leave_no_seam(source: Tensor, layer: EditLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fullres.upsample(layer, source)
    monkeypatch.setattr(fullres, "STRIP_PIXELS", 7 * HIGH[1])
    strips = fullres.upsample(layer, source)
    torch.testing.assert_close(strips.rgb, whole.rgb, atol=1e-6, rtol=0)
    torch.testing.assert_close(strips.alpha, whole.alpha, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(40, 30), (96, 90), (300, 31), (77, 200), (150, 200)])
def test_bytes_are_reduced_to_the_same_bits_as_floats(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    picture = torch.randint(256, (1, 150, 200, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = picture.permute(0, 3, 1, 2)  # as a decoded picture lies in memory
    monkeypatch.setattr(fullres, "STRIP_PIXELS", 7 * 200)
    assert torch.equal(fullres.reduce(picture, size), fullres.reduce(picture.float() / 255, size))


@pytest.mark.parametrize(
    "size",
    [HIGH, LOW, (40, 50), (40, 700)],  # guided; trained at its own size; scaled up for training; squeezed for it
)
def test_a_picture_and_a_mask_in_bytes_give_the_same_bits_as_floats(size: tuple[int, int], layer: EditLayer) -> None:
    picture, mask = torch.randint(256, (1, 4, *size), dtype=torch.uint8).split([3, 1], 1)
    of_bytes = fullres.FullLayer(layer, picture, mask).whole()
    of_floats = fullres.upsample(layer, picture.float() / 255).within(mask.float() / 255)
    assert torch.equal(of_bytes.rgb, of_floats.rgb)
    assert torch.equal(of_bytes.alpha, of_floats.alpha)


@pytest.mark.parametrize("size", [HIGH, (40, 50), (40, 700)])
def test_any_rows_are_those_of_the_whole(size: tuple[int, int], layer: EditLayer) -> None:
    full = fullres.FullLayer(layer, torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)))
    rows = full.rows(slice(11, 23))
    assert torch.equal(rows.rgb, full.whole().rgb[:, :, 11:23])
    assert torch.equal(rows.alpha, full.whole().alpha[:, :, 11:23])


def test_guided_model_recovers_a_linear_relation(source: Tensor) -> None:
    guide = fullres.reduce(source, LOW)
    mix = torch.tensor([0.2, 0.5, -0.3])
    values = (guide * mix.view(1, 3, 1, 1)).sum(1, keepdim=True) + 0.3
    slope, offset = fullres.guided_coefficients(guide.double(), values.double())
    model = torch.einsum("bijhw,bjhw->bihw", slope, guide.double()) + offset
    assert (model - values).abs().max() < 0.01


@pytest.mark.parametrize("size", [LOW, (40, 50), (60, 400)])
def test_sizes_at_and_below_training_size(size: tuple[int, int], layer: EditLayer) -> None:
    source = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    result = fullres.upsample(layer, source)
    assert result.size == size
    if size == LOW:
        assert torch.equal(result.rgb, layer.rgb)
