"""The internal dataset: ranges and probabilities of the draws, and replay on maps."""

from __future__ import annotations

import pytest
import torch

from t2l_cli.config import STILL, AugmentConfig
from t2l_cli.engine import augment

SIZE = (400, 600)


def many(config: AugmentConfig, n: int = 2000) -> list[augment.AugmentParams]:
    generator = torch.Generator().manual_seed(0)
    return [augment.draw(config, SIZE, generator) for _ in range(n)]


def test_draws_follow_the_methods_figures() -> None:
    draws = many(AugmentConfig())
    heights = torch.tensor([d.height / SIZE[0] for d in draws])
    widths = torch.tensor([d.width / SIZE[1] for d in draws])
    scales = torch.tensor([d.size[0] / d.height for d in draws])
    for values, low, high in ((heights, 0.85, 1.0), (widths, 0.85, 1.0), (scales, 0.8, 1.2)):
        assert low - 0.003 <= values.min() < low + 0.01 * (high - low) + 0.003
        assert high + 0.003 >= values.max() > high - 0.01 * (high - low) - 0.003
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.01)
    assert sum(d.flip for d in draws) / len(draws) == pytest.approx(0.5, abs=0.04)
    assert sum(d.jitter is not None for d in draws) / len(draws) == pytest.approx(0.1, abs=0.025)
    assert all(d.top >= 0 and d.top + d.height <= SIZE[0] for d in draws)
    assert all(d.left >= 0 and d.left + d.width <= SIZE[1] for d in draws)
    assert abs(torch.corrcoef(torch.stack([heights, widths]))[0, 1]) < 0.1  # the sides are drawn apart


def test_one_factor_scales_both_sides() -> None:
    for d in many(AugmentConfig(), 50):
        assert d.size[0] / d.height == pytest.approx(d.size[1] / d.width, abs=0.005)


def test_the_generators_minimum_holds() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [augment.draw(AugmentConfig(), (129, 160), generator) for _ in range(50)]
    assert all(min(d.size) >= 129 for d in draws)


def test_same_seed_same_draws() -> None:
    assert many(AugmentConfig(), 20) == many(AugmentConfig(), 20)


def test_without_any_augmentation_the_picture_is_unchanged() -> None:
    picture = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    for params in many(STILL, 20):
        assert torch.equal(augment.apply(picture, params), picture)
        assert not params.changes(SIZE)
    assert all(params.changes(SIZE) for params in many(AugmentConfig(), 20))


def test_a_map_moves_with_its_picture_and_keeps_its_values() -> None:
    config = AugmentConfig(flip_p=1.0, jitter_p=1.0)
    params = augment.draw(config, SIZE, torch.Generator().manual_seed(3))
    where = torch.zeros(1, 1, *SIZE)
    where[..., 150:250, 100:200] = 1
    picture = augment.apply(where.expand(1, 3, *SIZE), params)
    moved = augment.apply_map(where, params)
    assert picture.shape[-2:] == moved.shape[-2:] == params.size
    assert moved.max() == 1  # no colours on a map
    assert torch.equal(picture.mean(1, keepdim=True) > 0.5, moved > 0.5)
    assert moved[..., : params.size[1] // 2].sum() < moved[..., params.size[1] // 2 :].sum()  # flipped to the right


@pytest.mark.parametrize("seed", range(5))
def test_jitter_is_small_and_stays_in_range(seed: int) -> None:
    picture = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    config = AugmentConfig(crop=(1.0, 1.0), scale=(1.0, 1.0), flip_p=0.0, jitter_p=1.0)
    out = augment.apply(picture, augment.draw(config, SIZE, torch.Generator().manual_seed(seed)))
    assert out.min() >= 0
    assert out.max() <= 1
    assert 0 < (out - picture).abs().mean() < 0.15
