"""Views, the pictures that CLIP sees: the whole picture and random crops of it, augmented (method, section 4).

A view is ONE projective warp (crop, flip, affine and perspective composed) and ONE linear map of colours. The
parameters are drawn once per step and applied to the composite and the green-screen picture, which share their views.
The source gets its own draws, as in the published code. With the composite's draws (``shared_draws``) L_dir is mostly
satisfied by a nearly transparent layer, and no longer demands a strong edit.

Because crop and rotation are composed, a rotated crop shows the pixels beside the crop; only what lies outside of the
picture is filled.

The colour jitter is a 3 x 3 matrix and an offset per view, not the usual chain through HSV: it is the same map for
every picture (contrast pivots on mid-grey, not on the picture's own mean), its gradients have no kinks at grey, and it
is twenty times cheaper on the CPU (16 views of 224 x 320, forward and backward: 0.03 s against 0.57 s with
kornia.enhance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from kornia.geometry.transform import get_perspective_transform, homography_warp
from torch import Tensor

from t2l_cli.config import ViewConfig
from t2l_cli.engine.blend import LUMA
from t2l_cli.engine.resize import resized
from t2l_cli.engine.runtime import bring

# The picture is first reduced, antialiased, to this many times the view size; the bilinear warp samples the result.
# Measured with gratings on a 512 px picture and views of 224 px: their amplitude in the view is nearly that of a crop
# resized with antialiasing, as published (0.23 against 0.19 at a period of 2.6 px, 0.36 each at 3.3 px, 0.84 against
# 0.85 at 8 px).
OVERSAMPLING = 1.75
PLAIN_CROP = 0.8  # part of each side that a corner crop of ``ViewParams.plain`` shows
# Rows: luma, then the two chroma axes of NTSC's YIQ, in which a change of hue is a rotation.
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


@dataclass(frozen=True)
class ViewParams:
    """The parameters of ``n`` views, independent of picture and resolution. Tensors are on the CPU."""

    homography: Tensor  # (n, 3, 3) float32: view coordinates -> picture coordinates, both in [-1, 1] x [-1, 1]
    colour: Tensor  # (n, 3, 3): RGB -> RGB
    offset: Tensor  # (n, 3, 1): added after ``colour``
    fill: float  # value outside of the picture

    @property
    def n_views(self) -> int:
        """The number of views."""
        return len(self.homography)

    @classmethod
    def draw(cls, config: ViewConfig, size: tuple[int, int], rng: torch.Generator) -> ViewParams:
        """Draw the parameters for pictures with the aspect ratio of ``size`` (H, W), from ``rng``, on the CPU.

        Every call draws the same number of values, so that later draws do not depend on these.
        """
        n = config.n_views
        uniform = _Uniform(n, rng)
        # 1. Draw the geometry: n homographies (3, 3) per kind.
        crop = _crop(uniform(1, *config.crop).expand(-1, 2), uniform(2, 0.0, 1.0))  # one factor: nothing is stretched
        crop[0] = torch.eye(3)  # view 1 is whole
        flip = torch.eye(3).repeat(n, 1, 1)
        flip[:, 0, 0] = torch.where(uniform.chance(config.flip_p), -1.0, 1.0)
        affine = _affine(uniform(1, -config.rotate, config.rotate)[:, 0], uniform(2, -config.shift, config.shift), size)
        perspective = _perspective(uniform(8, 0.0, config.perspective).view(n, 4, 2))
        affine = _where(uniform.chance(config.affine_p), affine)
        perspective = _where(uniform.chance(config.perspective_p), perspective)
        # 2. Draw the colours: n matrices (3, 3) and offsets (3, 1).
        colour, offset = jitter_maps(
            uniform(4, -config.jitter, config.jitter) * uniform.chance(config.jitter_p)[:, None]
        )
        colour = _where(uniform.chance(config.grey_p), torch.tensor([LUMA] * 3).expand(n, 3, 3)) @ colour
        return cls(crop @ flip @ affine @ perspective, colour, offset, config.fill)

    @classmethod
    def plain(cls) -> ViewParams:
        """Five views without augmentation, for scoring: the whole picture and its four corners."""
        corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        homography = torch.cat([torch.eye(3)[None], _crop(torch.full((4, 2), PLAIN_CROP), corners)])
        n = len(homography)
        return cls(homography, torch.eye(3).repeat(n, 1, 1), torch.zeros(n, 3, 1), fill=1.0)


def draw_views(config: ViewConfig, size: tuple[int, int], rng: torch.Generator) -> tuple[ViewParams, ViewParams]:
    """Draw the parameters for the views of a composite of ``size`` (H, W), and for the views of its source."""
    views = ViewParams.draw(config, size, rng)
    return views, views if config.shared_draws else ViewParams.draw(config, size, rng)


def make_views(pictures: Tensor, params: ViewParams, size: tuple[int, int]) -> Tensor:
    """All n views of every picture: (K, 3, H, W) in [0, 1] -> (K * n, 3, h, w), picture by picture; ``size`` = (h, w).

    Differentiable with respect to the pixels. All pictures share the same warps.
    """
    pictures = _near(pictures, size)
    n, k = params.n_views, len(pictures)
    homography, colour, offset = (
        bring(part.to(pictures.dtype), pictures.device) for part in (params.homography, params.colour, params.offset)
    )
    # The warp reads 0 outside the picture, so the fill value is subtracted before and added after. The K pictures are
    # stacked as channels, so that each of the n sampling grids is made once.
    stack = (pictures - params.fill).reshape(1, 3 * k, *pictures.shape[-2:]).expand(n, -1, -1, -1)
    warped = homography_warp(stack, homography, size, align_corners=False) + params.fill
    warped = warped.view(n, k, 3, -1).transpose(0, 1).reshape(k * n, 3, -1)  # (K * n, 3, h * w)
    coloured = torch.baddbmm(offset.repeat(k, 1, 1), colour.repeat(k, 1, 1), warped)
    return coloured.clamp(0.0, 1.0).view(k * n, 3, *size)


def _near(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """``pictures`` (K, 3, H, W), reduced with antialiasing to OVERSAMPLING times ``size`` if they are larger."""
    height, width = (
        min(have, math.ceil(OVERSAMPLING * want)) for have, want in zip(pictures.shape[-2:], size, strict=True)
    )
    return resized(pictures, (height, width))


class _Uniform:
    """Uniform draws for ``n`` views from one ``rng``."""

    def __init__(self, n: int, rng: torch.Generator) -> None:
        self.n, self.rng = n, rng

    def __call__(self, columns: int, low: float, high: float) -> Tensor:
        """(n, columns) in [low, high)."""
        return low + (high - low) * torch.rand(self.n, columns, generator=self.rng)

    def chance(self, p: float) -> Tensor:
        """(n,) bool, true with probability ``p``."""
        return torch.rand(self.n, generator=self.rng) < p


def _where(condition: Tensor, matrices: Tensor) -> Tensor:
    """``matrices`` (n, 3, 3) where ``condition`` (n,) is true, the identity elsewhere."""
    return torch.where(condition[:, None, None], matrices, torch.eye(3))


def _crop(side: Tensor, place: Tensor) -> Tensor:
    """Homographies (n, 3, 3) from the view to a crop of the picture.

    side: (n, 2), width and height of the crop as parts of the picture's. place: (n, 2) in [0, 1], x from left to right
    and y from top to bottom.
    """
    crop = torch.diag_embed(torch.cat([side, torch.ones(len(side), 1)], dim=1))
    crop[:, :2, 2] = (1 - side) * (2 * place - 1)
    return crop


def _affine(degrees: Tensor, shift: Tensor, size: tuple[int, int]) -> Tensor:
    """Homographies (n, 3, 3): rotations about the centre by ``degrees`` (n,), then shifts (n, 2) in parts of each side.

    They account for the aspect ratio of ``size`` (H, W), so that a rotation does not shear.
    """
    height, width = size
    angle = torch.deg2rad(degrees)
    cos, sin = angle.cos(), angle.sin()
    affine = torch.eye(3).repeat(len(degrees), 1, 1)
    affine[:, 0, 0], affine[:, 0, 1] = cos, -sin * (height / width)
    affine[:, 1, 0], affine[:, 1, 1] = sin * (width / height), cos
    affine[:, :2, 2] = 2 * shift
    return affine


def _perspective(inward: Tensor) -> Tensor:
    """Homographies (n, 3, 3) that map the view's corners, moved inward by ``inward`` (n, 4, 2) half sides, to the
    picture's corners."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]).expand(len(inward), 4, 2)
    return get_perspective_transform(corners * (1 - inward), corners)


def jitter_maps(amount: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices (n, 3, 3) and offsets (n, 3, 1) that change brightness, contrast, saturation and hue (in turns) by
    ``amount`` (n, 4)."""
    brightness, contrast, saturation = (1 + amount[:, i, None, None] for i in range(3))
    angle = 2 * math.pi * amount[:, 3]
    yiq, grey = torch.tensor(YIQ), torch.tensor([LUMA] * 3)
    turn = torch.eye(3).repeat(len(amount), 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = angle.sin(), -angle.sin()
    hue = torch.linalg.inv(yiq) @ turn @ yiq
    colour = hue @ (saturation * torch.eye(3) + (1 - saturation) * grey) * (contrast * brightness)
    # Hue and saturation leave mid-grey, the pivot of contrast, unchanged; so the offset depends on contrast only.
    return colour, 0.5 * (1 - contrast).expand(-1, 3, 1)
