"""Brings an edit layer from training size to the photo's own, outlines as sharp as the photo's (method, section 8).

Fast guided filter (He, Sun, "Fast Guided Filter", 2015): around every low-resolution pixel the layer is modelled as a
linear function of the source's colours, E = A I + b; A and b are smooth, are brought up, and meet the full-resolution
source. What the source has between two low-resolution pixels (an outline, a hair, the weave of a fabric) is thus in
the layer as well, where it followed the source; where it did not (A = 0), it is simply enlarged.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.engine.layers import EditLayer

RADIUS = 4  # low-resolution px around a pixel in which the linear model is fitted
EPSILON = 1e-4  # variance of the source (values in [0, 1]) below which it counts as flat
STRIP_PIXELS = 2**21  # full-resolution px in work at a time
TRANSPARENT = 0.5 / 255  # alpha below this rounds to 0 in an 8-bit file: it is made exactly 0


def reduce(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """``picture`` (B, C, H, W) at ``size`` = (height, width), bilinear and antialiased, in [0, 1]."""
    if tuple(picture.shape[-2:]) == size:
        return picture
    return F.interpolate(picture, size=size, mode="bilinear", antialias=True).clamp(0, 1)


@torch.no_grad()
def upsample(layer: EditLayer, source: Tensor) -> EditLayer:
    """``layer`` at the size of ``source`` (1, 3, H, W), guided by it; on the source's device.

    Alpha below half of an 8-bit step becomes exactly 0. Works in strips: beside the result's 4 x H x W floats the
    memory does not grow with the picture.
    """
    height, width = source.shape[-2:]
    small = torch.cat([layer.rgb, layer.alpha], dim=1).to(source)
    if layer.size == (height, width):
        return _clear(small)
    if height <= layer.size[0] or width <= layer.size[1]:  # a small picture, scaled up for training
        return _clear(reduce(small, (height, width)))
    guide = reduce(source, layer.size)
    slope, offset = guided_coefficients(guide, small)
    # Colour keeps what it painted itself and gets the source's fine detail on top; alpha is the model's alone.
    offset[:, :3] = small[:, :3] - torch.einsum("bijhw,bjhw->bihw", slope[:, :3], guide)
    coefficients = torch.cat([slope.flatten(1, 2), offset], dim=1)  # (1, 12 + 4, h, w)
    result = torch.empty(1, 4, height, width, dtype=source.dtype, device=source.device)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        up = _bilinear_rows(coefficients, strip, (height, width))
        linear = up[:, :12].reshape(1, 4, 3, *up.shape[-2:])
        result[:, :, strip] = torch.einsum("bijhw,bjhw->bihw", linear, source[:, :, strip]) + up[:, 12:]
    return _clear(result.clamp_(0, 1))


def guided_coefficients(guide: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """A (B, C, 3, h, w) and b (B, C, h, w) of the guided filter, averaged over the windows that hold a pixel.

    In every window: A = cov(values, guide) (cov(guide) + eps 1)^-1, b = mean(values) - A mean(guide).
    guide: (B, 3, h, w), values: (B, C, h, w).
    """
    batch, channels, *size = values.shape
    mean_guide, mean_values = _box(guide), _box(values)
    squares = torch.einsum("bihw,bjhw->bijhw", guide, guide).flatten(1, 2)
    products = torch.einsum("bihw,bjhw->bijhw", values, guide).flatten(1, 2)
    variance = _box(squares).reshape(batch, 3, 3, *size) - torch.einsum("bihw,bjhw->bijhw", mean_guide, mean_guide)
    covariance = _box(products).reshape(batch, channels, 3, *size) - torch.einsum(
        "bihw,bjhw->bijhw", mean_values, mean_guide
    )
    ridge = EPSILON * torch.eye(3, dtype=guide.dtype, device=guide.device)
    system = variance.permute(0, 3, 4, 1, 2) + ridge  # (B, h, w, 3, 3), symmetric
    slope = torch.linalg.solve(system, covariance.permute(0, 3, 4, 2, 1)).permute(0, 4, 3, 1, 2)
    offset = mean_values - torch.einsum("bijhw,bjhw->bihw", slope, mean_guide)
    return _box(slope.flatten(1, 2)).reshape(batch, channels, 3, *size), _box(offset)


def _box(x: Tensor) -> Tensor:
    """Mean over the window of RADIUS, counting only pixels inside of the picture; rows, then columns."""
    for window, padding in (((2 * RADIUS + 1, 1), (RADIUS, 0)), ((1, 2 * RADIUS + 1), (0, RADIUS))):
        x = F.avg_pool2d(x, window, stride=1, padding=padding, count_include_pad=False)
    return x


def _bilinear_rows(x: Tensor, strip: slice, size: tuple[int, int]) -> Tensor:
    """Rows ``strip`` of ``x`` (B, C, h, w) enlarged to ``size``: what F.interpolate(bilinear) gives for the whole."""
    low = x.shape[-2]
    at = (torch.arange(strip.start, strip.stop, dtype=x.dtype, device=x.device) + 0.5) * (low / size[0]) - 0.5
    at = at.clamp(0, low - 1)
    above = at.floor().long()
    below = (above + 1).clamp(max=low - 1)
    part = (at - above)[:, None]
    lines = x[:, :, above] * (1 - part) + x[:, :, below] * part
    return F.interpolate(lines, size=(lines.shape[-2], size[1]), mode="bilinear", align_corners=False)


def _clear(rgba: Tensor) -> EditLayer:
    alpha = rgba[:, 3:]
    return EditLayer(rgba[:, :3], torch.where(alpha < TRANSPARENT, torch.zeros_like(alpha), alpha))
