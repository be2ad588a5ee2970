"""The edit layer: composites by hand, and the identities at alpha 0 and 1."""

from __future__ import annotations

import pytest
import torch

from t2l_cli.engine.layers import GREEN, EditLayer


def test_composite_of_one_pixel_by_hand() -> None:
    layer = EditLayer(torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1), torch.full((1, 1, 1, 1), 0.25))
    background = torch.tensor([0.2, 0.1, 0.8]).view(1, 3, 1, 1)
    expected = torch.tensor([0.25 * 1 + 0.75 * 0.2, 0.25 * 0.5 + 0.75 * 0.1, 0.75 * 0.8])
    torch.testing.assert_close(layer.over(background).flatten(), expected)
    green = torch.tensor([0.25 * 1, 0.25 * 0.5 + 0.75 * 177 / 255, 0.75 * 64 / 255])
    torch.testing.assert_close(layer.over_green().flatten(), green)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_composite_is_exact_where_alpha_is_0_or_1(alpha: float) -> None:
    rgb, background = torch.rand(2, 1, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    layer = EditLayer(rgb, torch.full((1, 1, 5, 7), alpha))
    assert torch.equal(layer.over(background), rgb if alpha else background)
    green = torch.tensor(GREEN).view(1, 3, 1, 1).expand(1, 3, 5, 7)
    assert torch.equal(layer.over_green(), rgb if alpha else green)


def test_output_mask_and_size() -> None:
    output = torch.rand(1, 4, 6, 9, generator=torch.Generator().manual_seed(0))
    layer = EditLayer.from_output(output)
    assert torch.equal(torch.cat([layer.rgb, layer.alpha], dim=1), output)
    assert layer.size == (6, 9)
    assert layer.within(None) is layer
    assert not layer.within(torch.zeros(1, 1, 6, 9)).alpha.any()
