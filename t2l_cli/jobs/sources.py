"""Pictures in memory, as Python users have them: of Pillow, an array or a tensor."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from PIL import Image

from t2l_cli.errors import RequestError
from t2l_cli.media.images import Picture, picture_of


def path_or_picture(source: Any) -> tuple[str | None, Picture | None]:
    """``source`` as a path, or as a picture in memory; neither for None. RequestError for anything else.

    In memory: a PIL image, an array of bytes (H, W), (H, W, 3) or (H, W, 4), or a float tensor (C, H, W) in
    [0, 1].
    """
    if source is None:
        return None, None
    if isinstance(source, str | os.PathLike):
        return os.fspath(source), None
    if isinstance(source, Image.Image):
        return None, picture_of(source)
    return None, picture_of(Image.fromarray(_bytes(source)))


def _bytes(source: Any) -> Any:
    """An array of bytes from an array or a tensor."""
    torch = sys.modules.get("torch")  # where it is not imported, there are no tensors
    if torch is not None and isinstance(source, torch.Tensor):
        planes = source.detach().cpu()
        planes = planes[0] if planes.ndim == 4 and len(planes) == 1 else planes
        if not planes.is_floating_point() or planes.ndim != 3 or len(planes) not in (1, 3, 4):
            raise RequestError(f"a tensor must be of floats in [0, 1], (3, H, W), not {tuple(source.shape)}.")
        pixels = (planes.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if not isinstance(source, np.ndarray):
        raise RequestError(f"a picture is a path, a PIL picture, an array or a tensor, not {type(source).__name__}.")
    if source.dtype != np.uint8 or source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] not in (3, 4)):
        raise RequestError(f"an array must be of bytes (uint8), (H, W, 3), not {source.dtype} {source.shape}.")
    return np.ascontiguousarray(source)
