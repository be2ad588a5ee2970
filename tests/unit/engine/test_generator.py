"""The U-Net: its size, the sizes it accepts, its gradient, and that nothing but the picture and the seed matters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from t2l_cli.engine.generator import (
    ConvBlock,
    Generator,
    Reflected,
    ReflectedConv,
    centre_crop,
    decorrelated_colour,
    with_grain,
)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator()


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_default_size_is_the_papers(generator: Generator) -> None:
    """Counted by hand: convolutions without bias, two numbers per BatchNorm channel, at the very top a bias instead."""
    encoder = (3 * 128 + 13 * 128 * 128) * 9 + 14 * 256
    skips = (3 + 6 * 128) * 4 + 7 * 8
    decoder = 7 * (132 * 2 + 132 * 128 * 9 + 256 + 128 * 128 + 256) - 256 + 128
    head = 128 * 4 + 4
    count = sum(p.numel() for p in generator.parameters())
    assert count == encoder + skips + decoder + head
    assert round(count / 1e6, 1) == 3.1
    convolutions = [m for m in generator.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 7 * 5 + 1
    assert all(isinstance(m, ReflectedConv) for m in convolutions if m.kernel_size == (3, 3))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(2, 2), (3, 7)])
def test_a_reflected_border_is_pytorchs_and_keeps_the_memory_format(
    size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(2, 4, *size, dtype=torch.float64, generator=rng).contiguous(memory_format=memory_format)
    x.requires_grad_()
    framed, expected = Reflected.apply(x), nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    assert torch.equal(framed, expected)
    assert framed.is_contiguous(memory_format=memory_format)
    upstream = torch.rand(framed.shape, dtype=torch.float64, generator=rng).contiguous(memory_format=memory_format)
    (grad,), (expected_grad,) = (torch.autograd.grad((f * upstream).sum(), x) for f in (framed, expected))
    torch.testing.assert_close(grad, expected_grad)
    assert (grad.stride(1) == 1) == (memory_format == torch.channels_last)  # the channels of a pixel side by side


@pytest.mark.parametrize("size", [(129, 129), (130, 300), (257, 131)])
def test_output_has_exactly_the_inputs_size(generator: Generator, size: tuple[int, int]) -> None:
    with torch.no_grad():
        output = generator(picture(*size))
    assert output.shape == (1, 4, *size)
    assert output.isfinite().all()
    assert output.min() >= 0
    assert output.max() <= 1


def test_the_head_reads_features_that_no_norm_has_evened_out() -> None:
    """Scaling the last 1x1 convolution of the top level scales what the head sees; below, BatchNorm undoes it."""

    def features(levels_down: int, factor: float) -> torch.Tensor:
        generator = Generator(channels=8, levels=2)
        level = generator.body
        for _ in range(levels_down):
            level = level.deeper
        last = [m for m in level.decode.modules() if isinstance(m, nn.Conv2d)][-1]
        assert (last.bias is not None) == (levels_down == 0)
        with torch.no_grad():
            for parameter in last.parameters():
                parameter *= factor
            return generator.body(picture(40, 40))

    torch.testing.assert_close(features(0, 3.0), 3.0 * features(0, 1.0))
    torch.testing.assert_close(features(1, 3.0), features(1, 1.0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (0.3, 0.3, 0.3), (1.0, 1.0, 1.0), (0.0, 0.7, 0.25)])
def test_a_picture_of_one_colour_has_a_finite_gradient(colour: tuple[float, float, float]) -> None:
    generator = Generator(channels=16)
    flat = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 150, 140)
    generator(flat).square().mean().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.norm() < 100, name


def test_grain_is_for_pictures_of_one_colour_alone() -> None:
    x = picture(40, 50)
    assert torch.equal(with_grain(x), x)
    flat = torch.full((1, 3, 40, 50), 0.5)
    assert 0 < (with_grain(flat) - flat).abs().max() <= 0.5 / 255
    assert with_grain(flat).mean() == pytest.approx(0.5, abs=1e-4)


def test_too_small_a_picture_is_refused(generator: Generator) -> None:
    with pytest.raises(ValueError, match="129"):
        generator(picture(128, 200))


def test_gradient_reaches_every_parameter() -> None:
    generator = Generator(channels=16)
    (generator(picture(140, 133)) ** 2).mean().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_inference_uses_the_pictures_own_statistics() -> None:
    generator = Generator(channels=8)
    with torch.no_grad():
        training = generator(picture(129, 129))
        generator(picture(129, 140, seed=1))  # another picture in between leaves no trace
        inference = generator.eval()(picture(129, 129))
    assert torch.equal(training, inference)


def test_block_is_convolution_norm_leaky_relu() -> None:
    block = ConvBlock(3, 5, 3, stride=2)
    x = picture(9, 7)
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    raw = nn.functional.conv2d(padded, block[0].weight, stride=2)
    mean, variance = raw.mean(dim=(0, 2, 3), keepdim=True), raw.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    normed = (raw - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(block(x), torch.where(normed > 0, normed, 0.2 * normed))


def test_weights_come_from_the_seed_only() -> None:
    def weights(seed: int) -> torch.Tensor:
        generator = Generator(channels=8, rng=torch.Generator().manual_seed(seed))
        return torch.cat([p.flatten() for p in generator.parameters()])

    torch.manual_seed(1)
    first = weights(7)
    torch.manual_seed(2)
    assert torch.equal(first, weights(7))
    assert not torch.equal(first, weights(8))


def test_colour_matrix() -> None:
    """Worked out by hand: norms of the columns after dividing the first by 1.6 are 0.2887, 0.1273, 0.0616."""
    first = torch.tensor([0.26, 0.27, 0.27]) / 1.6
    matrix = decorrelated_colour()
    torch.testing.assert_close(matrix[:, 0], first / first.norm())
    torch.testing.assert_close(matrix[:, 1], torch.tensor([0.09, 0.0, -0.09]) / first.norm())
    torch.testing.assert_close(matrix[:, 2], torch.tensor([0.02, -0.05, 0.03]) / first.norm())


def test_centre_crop() -> None:
    x = torch.arange(25.0).view(1, 1, 5, 5)
    assert torch.equal(centre_crop(x, (3, 1)), x[:, :, 1:4, 2:3])
    assert torch.equal(centre_crop(x, (5, 5)), x)
