"""The edit layer E = (C, alpha) that the generator paints, and its composites (method, section 1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from t2l_cli.config import BlendMode
from t2l_cli.engine.blend import blend, shade_reference

GREEN = (0 / 255, 177 / 255, 64 / 255)  # chroma-key green, behind the layer in I_screen


@dataclass(frozen=True)
class EditLayer:
    """Colour and opacity of an edit.

    rgb: (B, 3, H, W) in [0, 1], the colour C; not premultiplied.
    alpha: (B, 1, H, W) in [0, 1], the opacity.
    """

    rgb: Tensor
    alpha: Tensor

    @classmethod
    def from_output(cls, output: Tensor) -> EditLayer:
        """Split the generator's output (B, 4, H, W), in [0, 1], into colour and opacity."""
        return cls(output[:, :3], output[:, 3:4])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.alpha.shape[-2], self.alpha.shape[-1]

    def over(self, background: Tensor) -> Tensor:
        """Composite I_o = alpha * C + (1 - alpha) * background, (B, 3, H, W).

        background: (B or 1, 3, H, W). Where alpha is exactly 0 the result is the background bit for bit, where it is
        exactly 1 the colour.
        """
        return self.alpha * self.rgb + (1 - self.alpha) * background

    def blended(self, below: Tensor, mode: BlendMode, reference: Tensor | None = None) -> EditLayer:
        """The layer whose colour is B(C, ``below``), for ``below`` (B or 1, 3, H, W): over it, it shows the blend.

        reference: Y_ref of the mode shade (see ``engine.blend``); None: that of this layer.
        """
        if mode == "normal":
            return self
        if mode == "shade" and reference is None:
            reference = shade_reference(self.alpha, below)
        return EditLayer(blend(self.rgb, below, mode, reference), self.alpha)

    def over_green(self) -> Tensor:
        """I_screen, the layer alone over the green screen, (B, 3, H, W)."""
        return self.over(_green(self.rgb.dtype, self.rgb.device))

    def within(self, mask: Tensor | None) -> EditLayer:
        """The layer with alpha multiplied by ``mask`` (B, 1, H, W) in [0, 1]; None leaves it unchanged."""
        return self if mask is None else EditLayer(self.rgb, self.alpha * mask)

    def dimmed(self, opacity: float) -> EditLayer:
        """The layer with alpha multiplied by ``opacity`` in [0, 1]."""
        return EditLayer(self.rgb, self.alpha * opacity)


@cache
def _green(dtype: torch.dtype, device: torch.device) -> Tensor:
    """GREEN as (1, 3, 1, 1); copied to each device only once, because every copy makes an accelerator wait."""
    return torch.tensor(GREEN, dtype=dtype, device=device).view(1, 3, 1, 1)
