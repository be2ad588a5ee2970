"""The composite of an edit layer over a photo, in 8 bits or in 16; the one place that defines it.

The layer is quantised first, and the composite is made from the *quantised* layer. The layer's PNG, placed over the
photo in any editor, thus shows the composite (up to the editor's own rounding, 1/255).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t2l_cli.errors import RequestError

Bytes = npt.NDArray[np.uint8]
Deep = npt.NDArray[np.uint16]
Levels = Bytes | Deep
Floats = npt.NDArray[np.floating]

_STEP = np.uint16(257)  # 16-bit levels per 8-bit level
STRIP_PIXELS = 1 << 17  # pixels processed at a time: the temporary arrays of a few MB fit a CPU cache


@dataclass(frozen=True)
class Rows:
    """Pixels that are computed on request: ``pixels[top:bottom]``, as with an array.

    shape: (H, W, C). make: from slice(top, bottom), both within the picture, to those rows, (bottom - top, W, C).
    dtype: uint8 or uint16.
    """

    shape: tuple[int, ...]
    make: Callable[[slice], Any]
    dtype: npt.DTypeLike = np.uint8

    def __getitem__(self, rows: slice) -> Any:
        top, bottom, _ = rows.indices(self.shape[0])
        return self.make(slice(top, bottom))

    def whole(self) -> Any:
        """All rows as an array (H, W, C)."""
        pixels = np.empty(self.shape, self.dtype)
        for rows in strips(self.shape):
            pixels[rows] = self[rows]
        return pixels


Pixels = Bytes | Deep | Rows


def rgba(rgb: Pixels, alpha: Levels) -> Rows:
    """``rgb`` (H, W, 3) and ``alpha`` (H, W) as one picture (H, W, 4)."""
    return Rows((*rgb.shape[:2], 4), lambda rows: np.dstack([rgb[rows], alpha[rows]]), rgb.dtype)


def over(layer: Pixels, picture: Pixels) -> Rows:
    """:func:`composite` of a ``layer`` (H, W, 4) over a ``picture`` (H, W, 3 or 4) of the same size, on request.

    Both have the same number of bits. The picture's own alpha stays. RequestError if the sizes differ.
    """
    check_sizes(picture.shape, layer.shape)

    def make(rows: slice) -> Any:
        strip, below = layer[rows], picture[rows]
        colours = composite(below[..., :3], strip[..., :3], strip[..., 3])
        return colours if below.shape[2] == 3 else np.dstack([colours, below[..., 3]])

    return Rows(picture.shape, make, picture.dtype)


def deepened(pixels: Pixels) -> Rows:
    """8-bit ``pixels`` (H, W, C) in 16 bits: 255 becomes 65,535."""
    return Rows(pixels.shape, lambda rows: pixels[rows].astype(np.uint16) * _STEP, np.uint16)


def flattened(pixels: Pixels) -> Rows:
    """16-bit ``pixels`` (H, W, C) in 8 bits, to the nearest level."""

    def make(rows: slice) -> Bytes:
        levels = (pixels[rows].astype(np.uint32) + _STEP // 2) // _STEP
        return levels.astype(np.uint8)

    return Rows(pixels.shape, make)


def quantise_layer(rgb: Floats, alpha: Floats, deep: bool = False) -> tuple[Any, Any]:
    """Quantise ``rgb`` (H, W, 3) and ``alpha`` (H, W), floats in [0, 1], to uint8, or uint16, of the same shapes.

    Values are rounded to the nearest level. Where alpha rounds to 0, the invisible colour is set to black, so that the
    PNG of a mostly empty layer stays small.
    """
    if rgb.shape != (*alpha.shape, 3):
        raise ValueError(f"rgb {rgb.shape} and alpha {alpha.shape} do not belong together")
    kind = np.dtype(np.uint16 if deep else np.uint8)
    colour, cover = np.empty(rgb.shape, kind), np.empty(alpha.shape, kind)
    for rows in strips(alpha.shape):
        cover[rows] = _levels(alpha[rows], kind)
        colour[rows] = _levels(rgb[rows], kind) * (cover[rows] > 0)[..., None]
    return colour, cover


def composite(rgb: Any, layer_rgb: Any, layer_alpha: Any, out: Any = None) -> Any:
    """The layer over the photo: round((a * C + (A - a) * I) / A) per channel (Text2LIVE, Eq. 1), A = 255 or 65,535.

    ``rgb`` and ``layer_rgb`` are (H, W, 3), ``layer_alpha`` is (H, W), straight alpha; all uint8, or all uint16. The
    result is a new (H, W, 3) of that type, or ``out``, which may be ``rgb`` itself. Alpha 0 gives exactly the photo's
    levels, alpha A exactly the layer's. RequestError if the sizes differ.
    """
    if not rgb.dtype == layer_rgb.dtype == layer_alpha.dtype:
        raise ValueError(f"{rgb.dtype}, {layer_rgb.dtype} and {layer_alpha.dtype} do not belong together")
    check_sizes(rgb.shape, layer_rgb.shape)
    check_sizes(rgb.shape, layer_alpha.shape)
    out = np.empty_like(rgb) if out is None else out
    top = np.iinfo(rgb.dtype).max
    for rows in strips(layer_alpha.shape):
        cover = layer_alpha[rows].astype(np.uint16 if top == 255 else np.uint32)[..., None]
        total = cover * layer_rgb[rows]  # the sum is at most A * A + A // 2, which twice the bits of A hold
        total += (top - cover) * rgb[rows]
        total += top // 2
        out[rows] = total // top
    return out


def check_sizes(picture: tuple[int, ...], layer: tuple[int, ...]) -> None:
    """RequestError where two shapes (H, W, C) differ in height or width."""
    if picture[:2] != layer[:2]:
        raise RequestError(f"the layer is {layer[1]} x {layer[0]} pixels and the picture {picture[1]} x {picture[0]}.")


def _levels(values: Floats, kind: np.dtype[Any]) -> Any:
    return np.rint(np.clip(values, 0, 1) * np.iinfo(kind).max).astype(kind)


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """The rows of pixels of ``shape`` (H, W, ...), from top to bottom, about STRIP_PIXELS pixels at a time."""
    height, width = shape[:2]
    step = max(1, STRIP_PIXELS // max(1, width))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
