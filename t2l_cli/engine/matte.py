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
from t2l_cli.engine.resize import at_most, resized
from t2l_cli.engine.runtime import threads

INSIDE, OUTSIDE = 0.75, 0.2  # opacity above which a pixel belongs to the thing, and below which it does not
REACH = 60  # the band reaches 1 / REACH of the height into what is inside, and twice as far out
SOFT = 0.5  # part of the painted pixels that are neither: above it the edit is meant to be soft, such as smoke
MAX_PIXELS = 600_000  # of the picture that is solved for
MAX_UNKNOWN = 120_000  # px of the band: with more of them the picture is made smaller
MAX_ITERATIONS = 500  # of the solver
EPSILON = 1e-5  # of the matting Laplacian: with less, alpha follows the grain of a table in the thing's shadow
DOUBT = 0.2  # solved alpha up to it counts as 0, from 1 - DOUBT on as 1, with an S-curve between: shadows fade
TOLERANCE = 1e-6  # of the solver's residual, relative

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Matte:
    """A layer (1, ., h, w) with the outlines of its picture, or as it was; and a phrase that says which and why."""

    layer: EditLayer
    about: str
    picture: Tensor | None = None  # (1, 3, h, w), the picture at the layer's size, where it was made


@torch.no_grad()
def matted(layer: EditLayer, source: Tensor, mode: MatteMode, within: Tensor | None = None) -> Matte:
    """``layer`` (1, ., h, w) refined against ``source`` (1, 3, H, W), floats in [0, 1] or bytes; on the CPU.

    The result has the size of the source or at most MAX_PIXELS pixels, unless the layer has more: then it has the
    layer's. within: (1, 1, H, W) in [0, 1] or bytes, where the layer is to be seen; beyond it alpha does not change,
    and what is painted there does not count. mode: auto leaves a soft layer alone; off leaves every layer alone. A
    layer is also left alone where the solver does not converge.
    """
    if mode == "off":
        return Matte(layer, "")
    # 1. The guided layer at the size to solve for.
    size = _solved_size((source.shape[-2], source.shape[-1]), layer, within)
    picture = reduce(source, size).cpu()
    counts = np.ones(size, bool) if within is None else _shown(within, size)
    guided = FullLayer(layer, picture).whole()
    alpha = guided.alpha[0, 0].double().numpy()
    # 2. The trimap.
    inside, painted = alpha > INSIDE, alpha > OUTSIDE
    if not inside[counts].any():
        return Matte(layer, "outlines left as they are: nothing is painted opaquely")
    if mode == "auto" and inside[counts].sum() < (1 - SOFT) * painted[counts].sum():
        return Matte(layer, "outlines left soft: most of the paint is half transparent")
    radius = max(2, size[0] // REACH)
    sure, outside = _eroded(inside, radius), _eroded(~painted, 2 * radius)
    band = _rim(sure, outside) & counts
    if not band.any() or band.all():
        return Matte(layer, "outlines left as they are: there are none")
    # 3. Alpha in the band, and the colour of the inside carried over the rim.
    rgb = picture[0].permute(1, 2, 0).double().numpy()
    try:
        with threads(torch.get_num_threads()):  # pymatting's import changes how many torch computes on
            solved = solve(rgb, alpha, band)
    except ValueError:  # of pymatting
        return Matte(layer, "outlines left as they are: the matting did not converge")
    except Exception as error:  # numba's compiler, or memory: whatever fails here, the layer itself is not lost
        return Matte(layer, f"outlines left as they are: the matting failed ({type(error).__name__})")
    colour = guided.rgb[0].permute(1, 2, 0).double().numpy()
    own = np.concatenate([colour, alpha[..., None]], 2)
    carried = _carried(own, sure if sure.any() else inside, radius)  # (h, w, 4)
    thing, veil = solved * carried[..., 3], alpha * _nearness(outside, 2 * radius)
    alpha = np.where(band, np.maximum(thing, veil), alpha)
    colour = np.where((band & (thing >= veil))[..., None], carried[..., :3], colour)
    refined = EditLayer(_tensor(colour.transpose(2, 0, 1)), _tensor(alpha[None]))
    about = "outlines brought to those of the picture"
    if math.prod(layer.size) > math.prod(size):
        return Matte(_only_in(band, refined, layer, reduce(source, layer.size).cpu()), about)
    return Matte(refined, about, picture)


def _only_in(band: Mask, refined: EditLayer, layer: EditLayer, picture: Tensor) -> EditLayer:
    """``layer`` (1, ., h, w) with the ``refined`` one, which is smaller, in the ``band`` of its outline alone.

    picture: (1, 3, h, w), which guides the refined layer to the size of the other.
    """
    inside = resized(_tensor(band[None].astype(np.float64)), layer.size)
    fine = FullLayer(refined, picture).whole()
    rgb, alpha = (torch.lerp(own.cpu(), new, inside) for own, new in ((layer.rgb, fine.rgb), (layer.alpha, fine.alpha)))
    return EditLayer(rgb, alpha)


def _solved_size(size: tuple[int, int], layer: EditLayer, within: Tensor | None) -> tuple[int, int]:
    """(h, w) of at most MAX_PIXELS pixels for a picture of ``size``, with about MAX_UNKNOWN of them in the band."""
    alpha = reduce(layer.alpha, at_most(layer.size, MAX_PIXELS))[0, 0].cpu().numpy()
    radius = max(1, alpha.shape[0] // REACH)
    known = _eroded(alpha > INSIDE, radius) | _eroded(alpha <= OUTSIDE, 2 * radius)
    if within is not None:
        known |= ~_shown(within, known.shape)
    unknown = max(1e-3, 1 - known.mean())
    return at_most(size, min(MAX_PIXELS, MAX_UNKNOWN / unknown))


def _shown(within: Tensor, size: tuple[int, ...]) -> Mask:
    """Where a mask (1, 1, H, W) in [0, 1], or in bytes, lets a layer of ``size`` be seen."""
    shown: Mask = reduce(within, (size[0], size[1]))[0, 0].cpu().numpy() > 0.5
    return shown


def _eroded(mask: Mask, radius: int) -> Mask:
    """The pixels of ``mask`` (h, w) that are farther than ``radius`` px from any other."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.erode(mask.astype(np.uint8), disc).astype(bool)


def _rim(sure: Mask, outside: Mask) -> Mask:
    """The pixels that are neither ``sure`` nor ``outside`` and reach to what is outside.

    What is unsure within the thing, such as a highlight, is left as it is.
    """
    _, label = cv2.connectedComponents((~(sure | outside)).astype(np.uint8))
    reaching = np.unique(label[cv2.dilate(outside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0])
    return np.isin(label, reaching[reaching > 0])


def solve(picture: Floats, alpha: Floats, band: Mask) -> Floats:
    """Closed-form alpha (h, w) of ``picture`` (h, w, 3) in the ``band``; ValueError where the solver does not converge.

    Outside of the band alpha counts as 1 where it is above one half, else as 0.
    """
    from pymatting import estimate_alpha_cf  # not at the top: its first import on a machine compiles for a minute

    rows, columns = np.flatnonzero(band.any(1)), np.flatnonzero(band.any(0))
    box = np.s_[max(0, rows[0] - 3) : rows[-1] + 4, max(0, columns[0] - 3) : columns[-1] + 4]
    trimap = np.where(band, 0.5, np.where(alpha > 0.5, 1.0, 0.0))
    options: dict[str, float] = {"maxiter": MAX_ITERATIONS, "rtol": TOLERANCE}
    solved = (alpha > 0.5).astype(np.float64)
    solved[box] = estimate_alpha_cf(picture[box], trimap[box], laplacian_kwargs={"epsilon": EPSILON}, cg_kwargs=options)
    steep = ((solved - DOUBT) / (1 - 2 * DOUBT)).clip(0, 1)
    curved: Floats = steep**2 * (3 - 2 * steep)
    return curved


def _carried(own: Floats, sure: Mask, radius: int) -> Floats:
    """Colour and opacity ``own`` (h, w, 4) of the ``sure`` pixels, carried beyond them.

    The colour is the mean of what is sure nearby, the opacity about its maximum: towards its outline a layer is seldom
    as opaque as it is meant to be. The change from own to carried is gradual, over ``radius`` px. Where nothing sure is
    near, own stays.
    """
    weight = sure.astype(np.float64)
    wide = 3 * (4 * radius + 1) | 1
    near = cv2.GaussianBlur(weight, (wide, wide), 0)
    mean = cv2.GaussianBlur(own * weight[..., None], (wide, wide), 0) / np.maximum(near, 1e-6)[..., None]
    mean[..., 3] = cv2.blur(cv2.dilate(own[..., 3] * weight, np.ones((2 * wide, 2 * wide))), (wide, wide))
    part = np.where(near > 1e-3, _nearness(sure, radius), 1.0)[..., None]  # of own
    return part * own + (1 - part) * mean


def _nearness(mask: Mask, radius: int) -> Floats:
    """1 on ``mask`` (h, w) and at its edge, falling to 0 over ``radius`` px beyond."""
    side = 2 * radius + 1
    near: Floats = (2 * cv2.blur(mask.astype(np.float64), (side, side))).clip(0, 1)
    return near


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()[None].clamp(0, 1)
