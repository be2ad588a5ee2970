"""The 8-bit composite of an edit layer over a photo; the one place that defines it.

The layer is quantised first, and the composite is made from the *quantised* layer. The layer's PNG, placed over the
photo in any editor, thus shows the composite (up to the editor's own rounding, 1/255).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from t2l_cli.errors import RequestError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]

STRIP_PIXELS = 1 << 17  # pixels processed at a time: the temporary arrays of a few MB fit a CPU cache


@dataclass(frozen=True)
class Rows:
    """8-bit pixels that are computed on request: ``pixels[top:bottom]``, as with an array.

    shape: (H, W, C). make: from slice(top, bottom), both within the picture, to those rows, (bottom - top, W, C).
    """

    shape: tuple[int, ...]
    make: Callable[[slice], Bytes]

    def __getitem__(self, rows: slice) -> Bytes:
        top, bottom, _ = rows.indices(self.shape[0])
        return self.make(slice(top, bottom))

    def whole(self) -> Bytes:
        """All rows as an array (H, W, C)."""
        pixels = np.empty(self.shape, np.uint8)
        for rows in strips(self.shape):
            pixels[rows] = self[rows]
        return pixels


Pixels = Bytes | Rows


def rgba(rgb: Pixels, alpha: Bytes) -> Rows:
    """``rgb`` (H, W, 3) and ``alpha`` (H, W) as one picture (H, W, 4)."""
    return Rows((*rgb.shape[:2], 4), lambda rows: np.dstack([rgb[rows], alpha[rows]]))


def over(layer: Rows, rgb: Pixels) -> Rows:
    """:func:`composite` of a ``layer`` (H, W, 4) over a picture ``rgb`` (H, W, 3) of the same size, on request."""

    def make(rows: slice) -> Bytes:
        strip = layer[rows]
        return composite(rgb[rows], strip[..., :3], strip[..., 3])

    return Rows(rgb.shape, make)


def quantise_layer(rgb: Floats, alpha: Floats) -> tuple[Bytes, Bytes]:
    """Quantise ``rgb`` (H, W, 3) and ``alpha`` (H, W), floats in [0, 1], to uint8 of the same shapes.

    Values are rounded to the nearest level. Where alpha rounds to 0, the invisible colour is set to black, so that the
    PNG of a mostly empty layer stays small.
    """
    if rgb.shape != (*alpha.shape, 3):
        raise ValueError(f"rgb {rgb.shape} and alpha {alpha.shape} do not belong together")
    colour = np.empty(rgb.shape, np.uint8)
    cover = np.empty(alpha.shape, np.uint8)
    for rows in strips(alpha.shape):
        cover[rows] = _levels(alpha[rows])
        colour[rows] = _levels(rgb[rows]) * (cover[rows] > 0)[..., None]
    return colour, cover


def composite(rgb: Bytes, layer_rgb: Bytes, layer_alpha: Bytes, out: Bytes | None = None) -> Bytes:
    """The layer over the photo: round((a * C + (255 - a) * I) / 255) per channel (Text2LIVE, Eq. 1, in 8 bits).

    ``rgb`` and ``layer_rgb`` are (H, W, 3) uint8, ``layer_alpha`` is (H, W) uint8, straight alpha. The result is a new
    (H, W, 3) uint8, or ``out``, which may be ``rgb`` itself. Alpha 0 gives exactly the photo's bytes, alpha 255 exactly
    the layer's. RequestError if the sizes differ.
    """
    if rgb.shape != layer_rgb.shape or rgb.shape[:2] != layer_alpha.shape:
        height, width = layer_alpha.shape[:2]
        raise RequestError(f"the layer is {width} x {height} pixels and the picture {rgb.shape[1]} x {rgb.shape[0]}.")
    out = np.empty_like(rgb) if out is None else out
    for rows in strips(layer_alpha.shape):
        cover = layer_alpha[rows].astype(np.uint16)[..., None]
        total = cover * layer_rgb[rows]  # the sum is at most 255 * 255 + 127 and fits 16 bits
        total += (255 - cover) * rgb[rows]
        total += 127
        out[rows] = total // 255
    return out


def _levels(values: Floats) -> Bytes:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """The rows of pixels of ``shape`` (H, W, ...), from top to bottom, about STRIP_PIXELS pixels at a time."""
    height, width = shape[:2]
    step = max(1, STRIP_PIXELS // max(1, width))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
