"""Outlines that follow the photo: alpha matting of an edit layer in a band along its outline (method, section 10).

Training at a small size leaves soft outlines and rims of the old colour. Closed-form matting (Levin et al., "A
Closed-Form Solution to Natural Image Matting", 2008; by pymatting) finds where the thing itself ends, in a band of
pixels about which the layer is unsure. Everywhere else the layer stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from t2l_cli.config import MatteMode
from t2l_cli.engine.fullres import FullLayer, reduce
from t2l_cli.engine.layers import EditLayer

INSIDE, OUTSIDE = 0.75, 0.2  # opacity above which a pixel belongs to the thing, and below which it does not
REACH = 60  # the band reaches 1 / REACH of the height into what is inside, and twice as far out
SOFT = 0.5  # part of the painted pixels that are neither: above it the edit is meant to be soft, such as smoke
MAX_PIXELS = 1_000_000  # of the picture that is solved for
MAX_UNKNOWN = 200_000  # px of the band: with more of them the picture is made smaller
MAX_ITERATIONS = 500  # of the solver
TOLERANCE = 1e-6  # of the solver's residual, relative

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Matte:
    """A layer (1, ., h, w) with the outlines of its picture, or as it was; and a phrase that says which and why."""

    layer: EditLayer
    about: str


@torch.no_grad()
def matted(layer: EditLayer, source: Tensor, mode: MatteMode, within: Tensor | None = None) -> Matte:
    """``layer`` (1, ., h, w) refined against ``source`` (1, 3, H, W), floats in [0, 1] or bytes; on the CPU.

    The result has the size of the source, or about a megapixel. within: (1, 1, H, W) in [0, 1], where alpha may change
    at all. mode: auto leaves a soft layer alone; off leaves every layer alone. A layer is also left alone where the
    solver does not converge.
    """
    if mode == "off":
        return Matte(layer, "")
    # 1. The guided layer at the size to solve for.
    size = _solved_size((source.shape[-2], source.shape[-1]), layer)
    picture = reduce(source, size).cpu()
    guided = FullLayer(layer, picture).whole()
    alpha = guided.alpha[0, 0].double().numpy()
    # 2. The trimap.
    inside, painted = alpha > INSIDE, alpha > OUTSIDE
    if not inside.any():
        return Matte(layer, "outlines left as they are: nothing is painted opaquely")
    if mode == "auto" and inside.sum() < (1 - SOFT) * painted.sum():
        return Matte(layer, "outlines left soft: most of the paint is half transparent")
    radius = max(2, size[0] // REACH)
    known = _eroded(inside, radius) | _eroded(~painted, 2 * radius)
    band = ~known if within is None else ~known & (reduce(within, size)[0, 0].cpu().numpy() > 0.5)
    if not band.any() or band.all():
        return Matte(layer, "outlines left as they are: there are none")
    # 3. Alpha in the band, and the colour of the inside carried over the rim.
    rgb = picture[0].permute(1, 2, 0).double().numpy()
    try:
        solved = _solved(rgb, alpha, band)
    except ValueError:  # of pymatting: no convergence
        return Matte(layer, "outlines left as they are: the matting did not converge")
    colour = guided.rgb[0].permute(1, 2, 0).double().numpy()
    level, carried = _carried(alpha, colour, inside, band, radius)
    alpha = np.where(band, solved * level, alpha)
    colour = np.where((band & ~inside)[..., None], carried, colour)
    refined = EditLayer(_tensor(colour.transpose(2, 0, 1)), _tensor(alpha[None]))
    return Matte(refined, "outlines brought to those of the picture")


def _solved_size(size: tuple[int, int], layer: EditLayer) -> tuple[int, int]:
    """(h, w) of at most MAX_PIXELS pixels for a picture of ``size``, with about MAX_UNKNOWN of them in the band."""
    alpha = layer.alpha[0, 0].cpu().numpy()
    radius = max(1, alpha.shape[0] // REACH)
    known = _eroded(alpha > INSIDE, radius) | _eroded(alpha <= OUTSIDE, 2 * radius)
    unknown = max(1e-3, 1 - known.mean())
    pixels = min(MAX_PIXELS, MAX_UNKNOWN / unknown)
    scale = min(1.0, math.sqrt(pixels / math.prod(size)))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _eroded(mask: Mask, radius: int) -> Mask:
    """The pixels of ``mask`` (h, w) that are farther than ``radius`` px from any other."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.erode(mask.astype(np.uint8), disc).astype(bool)


def _solved(picture: Floats, alpha: Floats, band: Mask) -> Floats:
    """Closed-form alpha (h, w) of ``picture`` (h, w, 3) in the ``band``; ValueError where the solver does not converge.

    Outside of the band alpha counts as 1 where it is above one half, else as 0.
    """
    from pymatting import estimate_alpha_cf  # not at the top: its first import on a machine compiles for a minute

    rows, columns = np.flatnonzero(band.any(1)), np.flatnonzero(band.any(0))
    box = np.s_[max(0, rows[0] - 3) : rows[-1] + 4, max(0, columns[0] - 3) : columns[-1] + 4]
    trimap = np.where(band, 0.5, np.where(alpha > 0.5, 1.0, 0.0))
    options = {"maxiter": MAX_ITERATIONS, "rtol": TOLERANCE}
    solved = (alpha > 0.5).astype(np.float64)
    solved[box] = estimate_alpha_cf(picture[box], trimap[box], cg_kwargs=options)
    return solved


def _carried(alpha: Floats, colour: Floats, inside: Mask, band: Mask, radius: int) -> tuple[Floats, Floats]:
    """The opacity (h, w) and colour (h, w, 3) of the ``inside``, carried over the band: blurred, and weighted by it.

    Where nothing of the inside is near, they stay as they are.
    """
    sure = inside.astype(np.float64)
    kernel = 3 * (4 * radius + 1) | 1
    both = np.concatenate([colour, alpha[..., None]], 2) * sure[..., None]
    weight = cv2.GaussianBlur(sure, (kernel, kernel), 0)
    mean = cv2.GaussianBlur(both, (kernel, kernel), 0) / np.maximum(weight, 1e-6)[..., None]
    near = weight > 1e-3
    level = np.where(near, mean[..., 3], 1.0)
    return level, np.where(near[..., None], mean[..., :3], colour)


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()[None].clamp(0, 1)
