"""Between the uint8 arrays of files, the float tensors of the engine and the pictures that people look at."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from t2l_cli.media.compositing import Bytes, Levels, Pixels, Rows, flattened, quantise_layer, rgba

NOTEBOOK_SIDE = 1024  # px

if TYPE_CHECKING:
    from torch import Tensor

    from t2l_cli.engine.fullres import FullLayer
    from t2l_cli.engine.layers import EditLayer


def planes_of(pixels: Levels) -> Tensor:
    """(H, W) or (H, W, C) uint8 or uint16 as a tensor (C, H, W) of the same memory."""
    import torch

    planes = torch.from_numpy(pixels)
    return planes[None] if planes.ndim == 2 else planes.permute(2, 0, 1)


def tensor_of(pixels: Levels) -> Tensor:
    """(H, W) or (H, W, C) uint8 or uint16 as a float32 tensor (C, H, W) in [0, 1]."""
    return planes_of(pixels).float() / int(np.iinfo(pixels.dtype).max)


def picture_bytes(picture: Tensor) -> Bytes:
    """A picture (3, H, W) in [0, 1] as (H, W, 3) uint8, to the nearest level."""
    import torch

    levels = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    pixels: Bytes = levels.permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels


def bytes_of(layer: EditLayer, deep: bool = False) -> tuple[Any, Any]:
    """The layer of one picture, (1, 3, H, W) and (1, 1, H, W), as rgb (H, W, 3) and alpha (H, W), uint8 or uint16."""
    rgb = layer.rgb[0].permute(1, 2, 0).float().cpu().numpy()
    return quantise_layer(rgb, layer.alpha[0, 0].float().cpu().numpy(), deep)


def rows_of(layer: FullLayer, deep: bool = False) -> Rows:
    """What ``bytes_of`` gives for the whole ``layer``, as one (H, W, 4) that is made by the row."""
    kind = np.uint16 if deep else np.uint8
    return Rows((*layer.size, 4), lambda rows: rgba(*bytes_of(layer.rows(rows), deep)).whole(), kind)


def shown_image(pixels: Pixels, alpha: Bytes | None = None) -> Image.Image:
    """``pixels`` (H, W, C) with an ``alpha`` (H, W) of their own as a picture of Pillow, which has 8 bits."""
    shown = flattened(pixels) if pixels.dtype == np.uint16 else pixels
    shown = shown if alpha is None else rgba(shown, alpha)
    return Image.fromarray(shown.whole() if isinstance(shown, Rows) else shown)


def in_notebook(image: Image.Image) -> bytes:
    """``image`` as a PNG of at most NOTEBOOK_SIDE px a side, for a notebook to show."""
    small = image.copy()
    small.thumbnail((NOTEBOOK_SIDE, NOTEBOOK_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()
