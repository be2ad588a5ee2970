"""Pictures as sixels: columns of six pixels as characters, one colour of a palette after the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

BAND = 6  # px, the height of a row of sixels
COLOURS = 256  # of the palette
_EMPTY = re.compile(rb"\?{4,}")


def sixels(image: Image.Image) -> str:
    """The RGB ``image`` as an escape sequence.

    Each row of sixels is drawn once per colour in it: a character is 63 plus the sum of the bits of the pixels that
    have the colour; the topmost pixel's bit is 1. "$" goes back to the row's beginning, "-" to the next row, "!n?"
    leaves n pixels as they are.
    """
    from PIL import Image

    small = image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)  # the fastest
    levels = np.rint(np.asarray(small.getpalette(), np.float64) / 2.55).astype(int).reshape(-1, 3)  # per cent
    indices = np.asarray(small)  # (H, W)
    height, width = indices.shape
    parts = [f'\x1bP0;1q"1;1;{width};{height}'.encode()]
    parts += [b"#%d;2;%d;%d;%d" % (i, *level) for i, level in enumerate(levels)]
    for top in range(0, height, BAND):
        band = indices[top : top + BAND]
        bits = (1 << np.arange(len(band), dtype=np.uint8))[:, None]
        here = np.unique(band)
        rows = ((band == here[:, None, None]) * bits).sum(1, dtype=np.uint8) + np.uint8(63)  # (colours, W)
        for colour, row in zip(here, rows, strict=True):
            line = _EMPTY.sub(lambda run: b"!%d?" % len(run[0]), row.tobytes().rstrip(b"?"))
            parts.append(b"#%d%b$" % (colour, line))
        parts.append(b"-")
    return (b"".join(parts) + b"\x1b\\").decode("ascii")
