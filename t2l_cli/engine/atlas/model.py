"""The discretised atlas of a video: all that editing needs, however it was made (video method, section 1).

Coordinates are texels (x, y) of the layer's texture; the centre of the first texel is (0, 0). They are float32 because
half precision has steps of a whole texel beyond 1024. 70 frames of 768 x 432 take 0.46 GB: 20 bytes per pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from t2l_cli.config import LAYERS, LayerName
from t2l_cli.errors import RequestError

OPAQUE = 0.95  # opacity above which a pixel certainly belongs to the foreground (supplement, section 3.1)


@dataclass(frozen=True)
class VideoIdentity:
    """Which video, or which part of it, an atlas belongs to. RequestError for impossible numbers."""

    frames: int
    width: int  # px
    height: int  # px
    rate: float | None = None  # frames per second
    first_frame: str | None = None  # digest of the first frame's pixels; None if the atlas was made without the video
    start: int = 0  # number of the video's frame that is the atlas's first

    def __post_init__(self) -> None:
        # name -> minimum; sides are at least 2 px, because the size of texels is measured between neighbouring pixels
        counts = {"frames": 1, "width": 2, "height": 2, "start": 0}
        for name, least in counts.items():
            value = getattr(self, name)
            if value < least:
                raise RequestError(f"the atlas is broken: the {name} of its video is no such number.")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise RequestError("the atlas is broken: the rate of its video is no such number.")


@dataclass(frozen=True)
class AtlasLayer:
    """One layer: its texture, and the position of each pixel of each frame on it.

    texture: (3, H_a, W_a) in [0, 1]. uv: (T, H, W, 2), texels (x, y). used: (H_a, W_a) bool, texels that a frame shows.
    """

    texture: Tensor
    uv: Tensor
    used: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the texture."""
        return self.texture.shape[-2], self.texture.shape[-1]


@dataclass(frozen=True)
class Atlas:
    """A video decomposed into two layers: I = alpha * F(uv_f) + (1 - alpha) * B(uv_b) (LNA, Eq. 1).

    alpha: (T, H, W) in [0, 1], opacity of the foreground. origin: how the atlas was made, with figures, for the record.
    Raises RequestError if the shapes of the parts do not match.
    """

    foreground: AtlasLayer
    background: AtlasLayer
    alpha: Tensor
    video: VideoIdentity
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (self.video.frames, self.video.height, self.video.width)
        if tuple(self.alpha.shape) != shape:
            raise RequestError(f"the atlas is broken: alpha is {tuple(self.alpha.shape)}, not {shape}.")
        for name in LAYERS:
            layer = self.layer(name)
            if tuple(layer.uv.shape) != (*shape, 2):
                raise RequestError(f"the atlas is broken: {name} uv is {tuple(layer.uv.shape)}, not {(*shape, 2)}.")
            flat = layer.texture.ndim != 3 or len(layer.texture) != 3 or not layer.texture.numel()
            if flat or tuple(layer.used.shape) != layer.size:
                raise RequestError(f"the atlas is broken: the {name} texture is {tuple(layer.texture.shape)}.")

    def layer(self, name: LayerName) -> AtlasLayer:
        """The layer called ``name``."""
        return self.foreground if name == "foreground" else self.background

    def share(self, name: LayerName, t: int | Tensor | slice = slice(None)) -> Tensor:
        """The part of each pixel of frame(s) ``t`` that the layer owns, (..., H, W) in [0, 1]: alpha or 1 - alpha."""
        alpha = self.alpha[t]
        return alpha if name == "foreground" else 1 - alpha

    def check_video(self, frames: int, width: int, height: int) -> None:
        """Raise RequestError if the atlas's video does not have ``frames`` frames of ``width`` x ``height`` px."""
        own = self.video
        if (width, height) != (own.width, own.height):
            raise RequestError(
                f"the atlas is of a video of {own.width} x {own.height} px, this one is {width} x {height}."
            )
        if frames != own.frames:
            hint = f"; --frames a:b with {own.frames} frames picks them" if frames > own.frames else ""
            raise RequestError(f"the atlas has {own.frames} frames, the video {frames}{hint}.")


def used_texels(uv: Tensor, share: Tensor, size: tuple[int, int], least: float = 0.5) -> Tensor:
    """(H_a, W_a) bool: the four texels around each ``uv`` (T, H, W, 2) whose ``share`` (T, H, W) is above ``least``."""
    used = torch.zeros(size, dtype=torch.bool, device=uv.device)
    for at, own in zip(uv, share, strict=True):  # frame by frame: no second copy of uv
        corner = at[own > least].floor().long()
        for dx in (0, 1):
            for dy in (0, 1):
                used[(corner[:, 1] + dy).clamp(0, size[0] - 1), (corner[:, 0] + dx).clamp(0, size[1] - 1)] = True
    return used


def spread_over(items: list[int], k: int) -> list[int]:
    """Up to ``k`` of ``items``, evenly spaced from first to last."""
    k = min(k, len(items))
    return [items[round(j * (len(items) - 1) / max(1, k - 1))] for j in range(k)] if k > 1 else [items[len(items) // 2]]
