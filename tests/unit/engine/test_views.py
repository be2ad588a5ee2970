"""CLIP's views: geometry against plain resizing, flipping, cropping and rotating; colours against their definitions."""

from __future__ import annotations

import colorsys
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from t2l_cli.config import ViewConfig
from t2l_cli.engine.views import ViewParams, draw_views, jitter_maps, make_views

STILL = ViewConfig(n_views=3, crop=(1.0, 1.0), flip_p=0, affine_p=0, perspective_p=0, jitter_p=0, grey_p=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(height: int = 48, width: int = 64, k: int = 1) -> Tensor:
    """Smooth, so that resampling is exact to a few thousandths, and nowhere symmetric."""
    return F.interpolate(
        torch.rand(k, 3, 4, 5, generator=seeded(1)), (height, width), mode="bicubic", align_corners=False
    ).clamp(0, 1)


def views(config: ViewConfig, x: Tensor, size: tuple[int, int] | None = None, seed: int = 0) -> Tensor:
    shape = (x.shape[-2], x.shape[-1])
    return make_views(x, ViewParams.draw(config, shape, seeded(seed)), size or shape)


def test_views_without_augmentation_are_the_picture() -> None:
    x = picture()
    torch.testing.assert_close(views(STILL, x), x.expand(3, -1, -1, -1), rtol=0, atol=1e-5)


def test_views_without_augmentation_are_a_plain_resize() -> None:
    x = picture(192, 256)
    plain = F.interpolate(x, (48, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(views(STILL, x, (48, 64)), plain.expand(3, -1, -1, -1), rtol=0, atol=0.01)


def test_fine_detail_does_not_alias() -> None:
    """A checkerboard of single pixels is grey from afar; plain bilinear sampling would show moiré."""
    board = (torch.arange(400)[:, None] + torch.arange(400)).remainder(2).float().expand(1, 3, 400, 400)
    config = dataclasses.replace(STILL, crop=(0.6, 1.0), n_views=8)
    inner = views(config, board, (64, 64))[..., 4:-4, 4:-4]
    assert (inner - 0.5).abs().max() < 0.05


@pytest.mark.parametrize(
    ("period", "published", "ours"),
    [(2.6, 0.17, 0.23), (3.3, 0.36, 0.38), (4.0, 0.49, 0.50), (5.0, 0.64, 0.64), (8.0, 0.84, 0.84)],
)
def test_fine_texture_arrives_as_in_a_crop_resized_with_antialiasing(
    period: float, published: float, ours: float
) -> None:
    """The table of docs/method.md: the amplitude that is left of gratings on a picture of 512 px, seen at 224 px.

    Also: the gradient of the amplitude arrives at the pixels.
    """
    grating = (0.5 + 0.5 * torch.sin(2 * torch.pi * torch.arange(512) / period + 0.7)).expand(1, 3, 512, 512)
    grating = grating.clone().requires_grad_()
    params = ViewParams.draw(dataclasses.replace(STILL, crop=(0.6, 1.0), n_views=9), (512, 512), seeded())
    seen = make_views(grating, params, (224, 224))[1:, :1, 30:-30, 30:-30]
    crops = []
    for matrix in params.homography[1:]:
        side = round(512 * float(matrix[0, 0]))
        left = round((512 - side) / 2 * (1 + float(matrix[0, 2]) / (1 - float(matrix[0, 0]))))
        crop = grating.detach()[:, :1, :side, left : left + side]
        crops.append(F.interpolate(crop, (224, 224), mode="bilinear", antialias=True)[..., 30:-30, 30:-30])
    for pictures, amplitude in ((torch.cat(crops), published), (seen, ours)):
        left_over = pictures.std(dim=(-1, -2)).mean() / grating.std()
        assert left_over.item() == pytest.approx(amplitude, abs=0.01)
    (gradient,) = torch.autograd.grad(seen.square().sum(), grating)
    rows = gradient[0, 0, 100:-100, 100:-100].mean(0)
    along = (rows * (grating.detach()[0, 0, 0, 100:-100] - 0.5)).sum()
    assert along > 0, "the gradient of the amplitude points along the grating"


def test_the_source_is_seen_through_draws_of_its_own_unless_they_are_shared() -> None:
    config = ViewConfig(n_views=4)
    views, source_views = draw_views(config, (48, 64), seeded())
    assert torch.equal(views.homography, ViewParams.draw(config, (48, 64), seeded()).homography)
    assert not torch.equal(views.homography[1:], source_views.homography[1:])
    views, source_views = draw_views(dataclasses.replace(config, shared_draws=True), (48, 64), seeded())
    assert views is source_views


def test_a_flipped_view_is_the_flipped_picture() -> None:
    x = picture()
    torch.testing.assert_close(
        views(dataclasses.replace(STILL, flip_p=1), x), x.flip(-1).expand(3, -1, -1, -1), rtol=0, atol=1e-5
    )


def test_a_shifted_view_is_the_picture_moved_with_the_fill_behind() -> None:
    x = picture(40, 50)
    params = ViewParams.draw(dataclasses.replace(STILL, rotate=0, shift=0.1, affine_p=1), (40, 50), seeded())
    whole_pixels = params.homography.clone()
    whole_pixels[:, 0, 2], whole_pixels[:, 1, 2] = 2 * 5 / 50, -2 * 4 / 40  # 5 px left, 4 px down
    view = make_views(x, dataclasses.replace(params, homography=whole_pixels), (40, 50))[1]
    expected = torch.ones(3, 40, 50)
    expected[:, 4:, :45] = x[0, :, :36, 5:]
    torch.testing.assert_close(view, expected, rtol=0, atol=1e-5)
    assert (params.homography[:, :2, 2].abs() <= 0.2).all()


@pytest.mark.parametrize("fill", [1.0, 0.0, 0.25])
def test_a_rotation_keeps_the_aspect_ratio_and_fills_outside(fill: float) -> None:
    """A disc stays a disc in a picture that is not square; a quarter turn puts its mark where it belongs."""
    height, width = 60, 120
    y, x = torch.meshgrid(torch.arange(height) - 29.5, torch.arange(width) - 59.5, indexing="ij")
    disc = torch.sigmoid(16 - (x**2 + y**2).sqrt()).expand(1, 3, height, width)
    mark = ((x - 15) ** 2 + y**2 < 4**2).float().expand(1, 3, height, width)  # right of the centre
    config = dataclasses.replace(STILL, rotate=90.0, shift=0, affine_p=1, n_views=6, fill=fill)
    params = ViewParams.draw(config, (height, width), seeded(3))
    turned = make_views(disc, params, (height, width))
    assert (turned - disc)[..., 10:-10, 40:-40].abs().max() < 0.05
    assert (turned[1:, :, 0, 0] - fill).abs().max() < 1e-5
    for view, matrix in zip(make_views(mark, params, (height, width)), params.homography, strict=True):
        cos, sin = float(matrix[0, 0]), float(matrix[1, 0]) * height / width
        weight = view[0] * ((x**2 + y**2) < 25**2)
        centre = torch.stack([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        torch.testing.assert_close(centre, torch.tensor([15 * cos, -15 * sin]), rtol=0, atol=0.2)


def test_view_one_is_whole_and_the_others_are_crops_inside_the_picture() -> None:
    params = ViewParams.draw(dataclasses.replace(STILL, crop=(0.6, 0.9), n_views=200), (48, 64), seeded())
    torch.testing.assert_close(params.homography[0], torch.eye(3))
    sides, places = params.homography[1:, [0, 1], [0, 1]], params.homography[1:, :2, 2]
    assert ((sides >= 0.6) & (sides <= 0.9)).all()
    assert (sides[:, 0] == sides[:, 1]).all(), "a crop has the picture's aspect ratio"
    assert (places.abs() + sides <= 1 + 1e-6).all()
    assert places.abs().max() > 0.3
    assert sides.std() > 0.07


def test_a_crop_is_the_resized_part() -> None:
    x = picture(200, 200)
    params = ViewParams.plain()
    corner = F.interpolate(x[..., :160, 40:], (200, 200), mode="bilinear")
    view = make_views(x, params, (200, 200))[3]  # top right
    torch.testing.assert_close(view[None, :, 1:-1, 1:-1], corner[..., 1:-1, 1:-1], rtol=0, atol=0.01)


def test_plain_views_are_the_whole_and_the_corners() -> None:
    x = picture()
    plain = make_views(x, ViewParams.plain(), (48, 64))
    assert plain.shape == (5, 3, 48, 64)
    torch.testing.assert_close(plain[:1], x, rtol=0, atol=1e-5)


def test_perspective_moves_the_corners_inward() -> None:
    config = dataclasses.replace(STILL, perspective_p=1, n_views=50)
    h = ViewParams.draw(config, (48, 64), seeded()).homography
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
    seen = torch.linalg.inv(h)[:, None] @ corners[None, :, :, None]
    where = (seen[..., :2, 0] / seen[..., 2:, 0]) * corners[:, :2]  # the picture's corners in the view, mirrored to +,+
    assert (where <= 1 + 1e-5).all()
    assert (where >= 0.6 - 1e-5).all()
    assert where.std() > 0.1


def test_replay_shows_the_difference_and_nothing_else() -> None:
    """Two pictures that differ in one region have views that differ only where that region is warped to."""
    x = picture()
    region = torch.zeros(1, 3, 48, 64)
    region[..., 10:20, 30:40] = 1
    y = torch.where(region > 0, 1 - x, x)
    params = ViewParams.draw(ViewConfig(n_views=16), (48, 64), seeded())
    geometry = dataclasses.replace(params, colour=torch.eye(3).repeat(16, 1, 1), offset=torch.zeros(16, 3, 1), fill=0.0)
    differs = (make_views(x, params, (48, 64)) - make_views(y, params, (48, 64))).abs().amax(dim=1) > 1e-4
    warped = make_views(region, geometry, (48, 64)).amax(dim=1) > 0
    assert differs.any(dim=(1, 2)).all()
    assert not (differs & ~warped).any()


def test_several_pictures_in_one_call_are_the_same_as_one_by_one() -> None:
    x = picture(k=3)
    params = ViewParams.draw(ViewConfig(n_views=4), (48, 64), seeded())
    together = make_views(x, params, (32, 40))
    assert together.shape == (12, 3, 32, 40)
    one_by_one = torch.cat([make_views(part[None], params, (32, 40)) for part in x])
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-5)


def test_draws_depend_on_the_seed_alone_and_not_on_probabilities() -> None:
    first, again, other = (ViewParams.draw(ViewConfig(), (48, 64), seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first.homography, again.homography)
    assert torch.equal(first.colour, again.colour)
    assert not torch.equal(first.homography, other.homography)
    no_flip = ViewParams.draw(ViewConfig(flip_p=0), (48, 64), seeded(1))
    assert torch.equal(first.colour, no_flip.colour)


def test_augmentations_come_as_often_as_asked() -> None:
    draws = [ViewParams.draw(ViewConfig(n_views=256), (48, 64), seeded(seed)) for seed in range(8)]
    params = ViewParams(
        *(torch.cat([getattr(p, name) for p in draws]) for name in ("homography", "colour", "offset")), 1.0
    )
    grey = (params.colour - params.colour[:, :1]).abs().amax(dim=(1, 2)) < 1e-6
    coloured = (params.colour - torch.eye(3)).abs().amax(dim=(1, 2)) > 1e-5
    flipped = torch.linalg.det(params.homography) < 0
    tilted = params.homography[:, 2, :2].abs().amax(dim=1) > 1e-6
    for share, p in ((grey, 0.15), (coloured, 1 - 0.3 * 0.85), (flipped, 0.5), (tilted, 0.5)):
        assert abs(float(share.float().mean()) - p) < 0.04


def jittered(x: Tensor, *amount: float) -> Tensor:
    colour, offset = jitter_maps(torch.tensor([amount]))
    return (colour[0] @ x[:, None] + offset[0])[:, 0]


def test_jitter_is_what_its_names_say() -> None:
    x = torch.tensor([0.2, 0.5, 0.4])
    luma = float(x @ torch.tensor([0.299, 0.587, 0.114]))
    torch.testing.assert_close(jittered(x, 0.1, 0, 0, 0), 1.1 * x)
    torch.testing.assert_close(jittered(x, 0, -0.1, 0, 0), 0.5 + 0.9 * (x - 0.5))
    torch.testing.assert_close(jittered(x, 0, 0, -1.0, 0), torch.full((3,), luma))
    torch.testing.assert_close(jittered(x, 0.1, 0.1, 0, 0), 0.5 + 1.1 * (1.1 * x - 0.5))
    torch.testing.assert_close(jittered(torch.full((3,), 0.3), 0, 0, 0, 0.1), torch.full((3,), 0.3))
    turned = x
    for _ in range(10):
        turned = jittered(turned, 0, 0, 0, 0.1)
    torch.testing.assert_close(turned, x, msg="ten tenths are a full turn")


@pytest.mark.parametrize("turn", [-0.1, 0.05, 0.1])
def test_hue_turns_in_the_direction_of_the_colour_wheel(turn: float) -> None:
    for rgb in ((0.8, 0.3, 0.3), (0.3, 0.8, 0.3), (0.3, 0.3, 0.8), (0.7, 0.6, 0.2)):
        out = jittered(torch.tensor(rgb), 0, 0, 0, turn)
        change = colorsys.rgb_to_hsv(*out.tolist())[0] - colorsys.rgb_to_hsv(*rgb)[0]
        change = (change + 0.5) % 1 - 0.5
        assert change * turn > 0
        assert 0.3 * abs(turn) < abs(change) < 2 * abs(turn)


def test_grey_views_are_the_luma() -> None:
    x = picture()
    grey = views(dataclasses.replace(STILL, grey_p=1), x)
    luma = (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(grey, luma.expand(3, 3, -1, -1), rtol=0, atol=1e-5)


def test_views_stay_within_the_range_of_pictures() -> None:
    x = (picture() > 0.5).float()
    augmented = views(ViewConfig(n_views=32), x, (40, 40))
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    assert augmented.isfinite().all()


def test_gradients_by_finite_differences() -> None:
    x = (0.3 + 0.4 * torch.rand(2, 3, 9, 11, dtype=torch.float64, generator=seeded(5))).requires_grad_()
    params = ViewParams.draw(ViewConfig(n_views=2, affine_p=1, perspective_p=1, jitter_p=1), (9, 11), seeded())
    assert torch.autograd.gradcheck(lambda pixels: make_views(pixels, params, (5, 6)), x)
