"""Enlarges an edit layer from training size to full size, with outlines as sharp as the photo's (method, section 8).

Fast guided filter (He, Sun, "Fast Guided Filter", 2015): around every low-resolution pixel the layer is modelled as a
linear function of the source's colours, E = A I + b. A and b are smooth; they are enlarged and applied to the
full-resolution source. Where the layer follows the source, it thus gains detail finer than a low-resolution pixel (an
outline, a hair, the weave of a fabric); where it does not (A = 0), it is simply enlarged.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import BlendMode
from t2l_cli.engine.blend import shade_reference
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.resize import resized

RADIUS = 4  # low-resolution px around a pixel in which the linear model is fitted
EPSILON = 1e-4  # variance of the source (values in [0, 1]) below which it counts as flat
STRIP_PIXELS = 2**17  # full-resolution px processed at a time
TRANSPARENT = 0.5 / 255  # alpha below this would round to 0 in an 8-bit file, and is set to exactly 0


_TOP = {torch.uint8: 255, torch.uint16: 65_535}  # the level that is 1, by the type of a picture's whole numbers


def floats(picture: Tensor) -> Tensor:
    """``picture`` as floats: bytes (uint8, or uint16) become float32 in [0, 1]; floats are returned unchanged."""
    return picture.float() / _TOP[picture.dtype] if picture.dtype in _TOP else picture


def reduce(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """``picture`` (B, C, H, W), floats or bytes, at ``size`` = (height, width): bilinear, antialiased, in [0, 1].

    A picture in bytes is converted to floats strip by strip, to save memory.
    """
    if tuple(picture.shape[-2:]) == size:
        return floats(picture)
    if picture.dtype in _TOP:
        return torch.cat([_reduce_plane(picture[:, k : k + 1], size) for k in range(picture.shape[1])], dim=1)
    return resized(picture, size).clamp(0, 1)


def _reduce_plane(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """``plane`` (B, 1, H, W) in bytes at ``size``: first the widths, strip by strip, then all heights at once.

    F.interpolate works in the same order: on a CPU the result is the same to the bit.
    """
    batch, _, height, width = plane.shape
    lines = torch.empty(batch, 1, height, size[1], device=plane.device)
    for rows in strips(height, width):
        strip = floats(plane[:, :, rows])
        lines[:, :, rows] = resized(strip, (strip.shape[-2], size[1]))
    return resized(lines, size).clamp(0, 1)


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture from top to bottom, about STRIP_PIXELS pixels at a time."""
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


class FullLayer:
    """An edit layer enlarged to the ``size`` (H, W) of its source and guided by it; rows are computed on request.

    Alpha below half of an 8-bit step is exactly 0.
    """

    @torch.no_grad()
    def __init__(
        self,
        layer: EditLayer,
        source: Tensor,
        mask: Tensor | None = None,
        blend: BlendMode = "normal",
        guide: Tensor | None = None,
    ) -> None:
        """Fit the guided filter, on the source's device.

        source: (1, 3, H, W). mask: (1, 1, H, W), which multiplies alpha. Both are floats in [0, 1], or bytes. blend:
        how the colours meet the source; they are stored blended, so that the layer over the source shows the result.
        guide: the source at the layer's size, where it is known already.
        """
        height, width = self.size = source.shape[-2], source.shape[-1]
        self._source, self._mask, self._blend = source, mask, blend
        self._reference: Tensor | None = None
        if blend == "shade":
            bounds = 1 if mask is None else reduce(mask, layer.size)
            guide = reduce(source, layer.size) if guide is None else guide
            self._reference = shade_reference(layer.alpha.to(source.device) * bounds, guide)
        small = torch.cat([layer.rgb, layer.alpha], dim=1).to(source.device)
        self._guided = height > layer.size[0] and width > layer.size[1]
        if self._guided:
            guide = reduce(source, layer.size) if guide is None else guide
            slope, offset = guided_coefficients(guide, small)
            # Colour: the painted colour plus the source's fine detail. Alpha: the linear model alone.
            offset[:, :3] = small[:, :3] - torch.einsum("bijhw,bjhw->bihw", slope[:, :3], guide)
            self._coefficients = torch.cat([slope.flatten(1, 2), offset], dim=1)  # (1, 12 + 4, h, w)
        else:  # a small picture was enlarged for training: the layer is reduced
            self._coefficients = reduce(small, (min(height, layer.size[0]), min(width, layer.size[1])))

    @torch.no_grad()
    def rows(self, strip: slice) -> EditLayer:
        """The rows ``strip`` = slice(top, bottom): rgb (1, 3, h, W) and alpha (1, 1, h, W), float32 in [0, 1]."""
        rgba = _bilinear_rows(self._coefficients, strip, self.size)
        if self._guided:
            linear = rgba[:, :12].reshape(1, 4, 3, *rgba.shape[-2:])
            rgba = torch.einsum("bijhw,bjhw->bihw", linear, floats(self._source[:, :, strip])) + rgba[:, 12:]
            rgba = rgba.clamp_(0, 1)
        alpha = rgba[:, 3:]
        layer = EditLayer(rgba[:, :3], torch.where(alpha < TRANSPARENT, torch.zeros_like(alpha), alpha))
        if self._blend != "normal":
            layer = layer.blended(floats(self._source[:, :, strip]), self._blend, self._reference)
        return layer if self._mask is None else layer.within(floats(self._mask[:, :, strip]))

    def whole(self) -> EditLayer:
        """All rows at once: 16 bytes per pixel."""
        height, width = self.size
        result = torch.empty(1, 4, height, width, device=self._source.device)
        for strip in strips(height, width):
            rows = self.rows(strip)
            result[:, :3, strip], result[:, 3:, strip] = rows.rgb, rows.alpha
        return EditLayer.from_output(result)


def upsample(layer: EditLayer, source: Tensor) -> EditLayer:
    """The whole ``layer`` enlarged to the size of ``source`` (1, 3, H, W) and guided by it; on the source's device."""
    return FullLayer(layer, source).whole()


def guided_coefficients(guide: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """A (B, C, 3, h, w) and b (B, C, h, w) of the guided filter: at each pixel, the mean over the windows around it.

    In every window: A = cov(values, guide) (cov(guide) + eps 1)^-1, b = mean(values) - A mean(guide).
    guide: (B, 3, h, w), values: (B, C, h, w).
    """
    # 1. Means, variance of the guide and covariance with it, in every window.
    batch, channels, *size = values.shape
    mean_guide, mean_values = _box(guide), _box(values)
    squares = torch.einsum("bihw,bjhw->bijhw", guide, guide).flatten(1, 2)
    products = torch.einsum("bihw,bjhw->bijhw", values, guide).flatten(1, 2)
    variance = _box(squares).reshape(batch, 3, 3, *size) - torch.einsum("bihw,bjhw->bijhw", mean_guide, mean_guide)
    covariance = _box(products).reshape(batch, channels, 3, *size) - torch.einsum(
        "bihw,bjhw->bijhw", mean_values, mean_guide
    )
    # 2. The linear model of every window.
    ridge = EPSILON * torch.eye(3, dtype=guide.dtype, device=guide.device)
    system = variance.permute(0, 3, 4, 1, 2) + ridge  # (B, h, w, 3, 3), symmetric
    slope = torch.linalg.solve(system, covariance.permute(0, 3, 4, 2, 1)).permute(0, 4, 3, 1, 2)
    offset = mean_values - torch.einsum("bijhw,bjhw->bihw", slope, mean_guide)
    # 3. The mean over all windows that hold a pixel.
    return _box(slope.flatten(1, 2)).reshape(batch, channels, 3, *size), _box(offset)


def _box(x: Tensor) -> Tensor:
    """The mean of ``x`` (B, C, h, w) over windows of RADIUS, of the pixels inside the picture only."""
    for window, padding in (((2 * RADIUS + 1, 1), (RADIUS, 0)), ((1, 2 * RADIUS + 1), (0, RADIUS))):
        x = F.avg_pool2d(x, window, stride=1, padding=padding, count_include_pad=False)
    return x


def _bilinear_rows(x: Tensor, strip: slice, size: tuple[int, int]) -> Tensor:
    """Rows ``strip`` of ``x`` (B, C, h, w) enlarged to ``size``: equal to those rows of F.interpolate(bilinear)."""
    low = x.shape[-2]
    at = (torch.arange(strip.start, strip.stop, dtype=x.dtype, device=x.device) + 0.5) * (low / size[0]) - 0.5
    at = at.clamp(0, low - 1)
    above = at.floor().long()
    below = (above + 1).clamp(max=low - 1)
    part = (at - above)[:, None]
    lines = x[:, :, above] * (1 - part) + x[:, :, below] * part
    return F.interpolate(lines, size=(lines.shape[-2], size[1]), mode="bilinear", align_corners=False)
