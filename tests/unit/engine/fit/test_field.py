"""The fit's model: pyramids, mappings and texel coordinates, at every level the same place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from t2l_cli.engine.atlas.mapping import sample
from t2l_cli.engine.fit.field import (
    MAX_TEXTURE,
    UNIT,
    Field,
    LayerField,
    Mapping,
    Pyramid,
    back_project,
    level_size,
    resize,
)
from t2l_cli.engine.motion.flow import pixel_centres

SIZE = (24, 40)
BOX = (-3.0, -2.0, 45.0, 27.0)


def shifts(n: int = 3) -> np.ndarray:
    matrices = np.tile(np.eye(3), (n, 1, 1))
    matrices[:, 0, 2] = 2.0 * np.arange(n)
    return matrices


def mapping(n: int = 3) -> Mapping:
    return Mapping(shifts(n), SIZE, (2, 3, 4), (20.0, 12.0))


def layer(density: float = 1.25, box: tuple[float, ...] = BOX) -> LayerField:
    return LayerField(shifts(), SIZE, (2, 3, 4), box, density, 2)


def test_a_pyramid_shows_what_it_is_told_at_that_level() -> None:
    pyramid = Pyramid(2, 3, (21, 34), 4)
    assert pyramid.sizes == [(21, 34), (11, 17), (6, 9), (3, 5)]
    random = torch.Generator().manual_seed(0)
    for level in (3, 1, 0):
        pictures = torch.rand(2, 3, *pyramid.sizes[level], generator=random)
        pyramid.show(pictures, level)
        torch.testing.assert_close(pyramid(level), pictures)
        torch.testing.assert_close(pyramid(level, torch.tensor([1])), pictures[1:])


def test_a_coarse_level_says_nothing_of_the_finer_ones() -> None:
    pyramid = Pyramid(1, 1, (16, 16), 3)
    pyramid.show(torch.ones(1, 1, 8, 8), 1)
    before = pyramid(1).clone()
    torch.nn.init.normal_(pyramid.levels[0])
    torch.testing.assert_close(pyramid(1), before)
    assert level_size((9, 16), 3) == (2, 2)  # never less


def test_a_fresh_mapping_is_its_matrices() -> None:
    at = mapping()(torch.tensor([0, 2]), SIZE)
    torch.testing.assert_close(at[0], pixel_centres(SIZE))
    torch.testing.assert_close(at[1], pixel_centres(SIZE) + torch.tensor([4.0, 0.0]))


def test_a_level_sees_the_same_places() -> None:
    """The centre of a coarse pixel lies in the middle of the fine ones that it covers."""
    own = mapping()
    with torch.no_grad():
        own.linear.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    index = torch.arange(3)
    fine, coarse = own(index, SIZE), own(index, (12, 20))
    torch.testing.assert_close(fine.unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2)), coarse, atol=1e-4, rtol=0)


def test_what_is_learned_moves_points_in_its_unit() -> None:
    own = mapping()
    with torch.no_grad():
        own.linear[1, 4:] = torch.tensor([0.5, -1.0])
    at = own(torch.tensor([0, 1]), SIZE)
    torch.testing.assert_close(at[1] - at[0], torch.tensor([2 + 0.5 * UNIT, -UNIT]).expand(*SIZE, 2))
    with torch.no_grad():
        own.grid[0, 0, 1] = 0.25  # the later control points, across
    moved = own.displacement()[:, 0].mean((1, 2))
    torch.testing.assert_close(moved, UNIT * 0.25 * torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(own(torch.tensor([2]), SIZE)[0, ..., 0], pixel_centres(SIZE)[..., 0] + 4 + 0.25 * UNIT)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_texels_of_any_level_are_the_same_place(level: int) -> None:
    own = layer()
    size = own.texture.sizes[level]
    corner, far = (torch.tensor(p) for p in (BOX[:2], BOX[2:]))
    whole = own.texture_size()
    torch.testing.assert_close(own.uv(corner, whole), torch.zeros(2))
    expected = (far - corner) * 1.25
    torch.testing.assert_close(own.uv(far, whole), expected)
    scale = torch.tensor([size[1] / whole[1], size[0] / whole[0]])
    torch.testing.assert_close(own.uv(far, size), (expected + 0.5) * scale - 0.5)


def test_textures_hold_their_box_and_never_grow_beyond_bounds() -> None:
    height, width = layer().texture_size()
    assert width >= (BOX[2] - BOX[0]) * 1.25
    assert height >= (BOX[3] - BOX[1]) * 1.25
    assert max(layer(box=(0.0, 0.0, 60_000.0, 3.0)).texture_size()) <= MAX_TEXTURE + 1


def test_a_background_alone_is_opaque_nowhere() -> None:
    field = Field(layer(), None, 3, SIZE, 2)
    assert list(field.layers()) == [field.background]
    assert not field.alpha(torch.tensor([0, 1]), 1).any()
    both = Field(layer(), layer(), 3, SIZE, 2)
    assert len(list(both.layers())) == 2
    torch.testing.assert_close(both.alpha(torch.tensor([1]), 1), torch.full((1, 1, 12, 20), 0.5))


def test_back_projection_is_the_transpose_of_reading() -> None:
    random = torch.Generator().manual_seed(2)
    texture = torch.rand(1, 3, 9, 11, generator=random)
    uv = torch.rand(50, 2, generator=random) * torch.tensor([10.0, 8.0])
    values, weight = torch.rand(3, 50, generator=random), torch.rand(50, generator=random)
    total, mass = back_project(values, weight, uv, (9, 11))
    read = sample(texture, uv[None, None])[0, :, 0]
    assert (read * values * weight).sum().item() == pytest.approx((texture[0] * total).sum().item(), rel=1e-5)
    assert mass.sum().item() == pytest.approx(weight.sum().item(), rel=1e-5)
    beyond = torch.tensor([[-30.0, 4.0], [5.0, 99.0]])
    assert not back_project(values[:, :2], weight[:2], beyond, (9, 11))[1].any()


def test_resize_of_the_same_size_is_the_same() -> None:
    x = torch.rand(1, 1, 4, 5)
    assert resize(x, (4, 5)) is x
