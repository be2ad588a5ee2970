"""Mapping between an atlas and its frames: reconstruction, edits mapped back (LNA, Eq. 15 and 16), and splatting.

Layers hold straight alpha and are sampled premultiplied, so that the colour of transparent texels does not bleed (the
published code samples them straight).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import LAYERS, BlendMode, LayerName
from t2l_cli.engine.atlas.model import Atlas, spread_over
from t2l_cli.engine.blend import shade_reference
from t2l_cli.engine.layers import EditLayer
from t2l_cli.errors import RequestError

MAX_REFINEMENT = 8  # maximum factor by which splatting enlarges a frame to leave no gaps between its pixels


def sample(texture: Tensor, uv: Tensor) -> Tensor:
    """Sample ``texture`` (B or 1, C, H_a, W_a) at ``uv`` (B, H, W, 2), texels (x, y), bilinearly: (B, C, H, W).

    Beyond the border the nearest texel is read. Differentiable with respect to both arguments.
    """
    height, width = texture.shape[-2:]
    # grid_sample's coordinates: [-1, 1] from the outer edge of the first texel to that of the last. The published code
    # takes them from centre to centre, and so is off by up to half a texel.
    grid = torch.stack([(uv[..., 0] + 0.5) * (2 / width) - 1, (uv[..., 1] + 0.5) * (2 / height) - 1], -1)
    return F.grid_sample(
        texture.expand(len(uv), -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def reconstruct(atlas: Atlas, t: int) -> Tensor:
    """Frame ``t`` from the two textures, (3, H, W): alpha * F(uv_f) + (1 - alpha) * B(uv_b)."""
    front, back = (
        sample(layer.texture[None], layer.uv[t : t + 1])[0] for layer in (atlas.foreground, atlas.background)
    )
    return atlas.alpha[t] * front + (1 - atlas.alpha[t]) * back


def premultiplied(layer: EditLayer) -> Tensor:
    """(B, 4, H, W): alpha * C, alpha."""
    return torch.cat([layer.rgb * layer.alpha, layer.alpha], 1)


def straight(rgba: Tensor) -> EditLayer:
    """The layer of a premultiplied picture (B, 4, H, W); where alpha is 0 the colour is 0."""
    alpha = rgba[:, 3:]
    return EditLayer((rgba[:, :3] / alpha.clamp(min=1e-6)).clamp(0, 1), alpha)


class Mapper:
    """Maps edits of the atlas layers back to the frames; a layer that is None is not edited.

    Let E_f and E_b be the edit layers sampled at a pixel, with opacities a and premultiplied colours P. Then
    f = E_f over I, b = E_b over I, and out = alpha f + (1 - alpha) b
    = I + alpha (P_f - a_f I) + (1 - alpha) (P_b - a_b I), which is I where nothing is painted.
    With a ``blend`` mode the colours are blended with the frame first, so that its light and shadow may move on them.
    Raises RequestError for a layer whose size is not that of its texture.
    """

    def __init__(
        self,
        atlas: Atlas,
        foreground: EditLayer | None = None,
        background: EditLayer | None = None,
        *,
        blend: BlendMode = "normal",
    ) -> None:
        self.atlas, self.blend = atlas, blend
        self._references: dict[LayerName, Tensor] = {}  # Y_ref of the mode shade, one for the whole video
        self._painted: list[tuple[LayerName, Tensor]] = []
        for name, layer in zip(LAYERS, (foreground, background), strict=True):
            if layer is None:
                continue
            have, need = layer.size, atlas.layer(name).size
            if have != need:
                raise RequestError(
                    f"the {name} layer is {have[1]} x {have[0]} px, the atlas's {name} {need[1]} x {need[0]}."
                )
            self._painted.append((name, premultiplied(layer)))

    def measure(self, frames: Mapping[int, Tensor]) -> None:
        """Set the reference of the mode shade from some ``frames`` (see ``telling``), t -> (3, H, W) in [0, 1].

        One for the whole video: a thing that is partly hidden, or that walks into the shade, keeps its colour.
        """
        for name, painted in self._painted:
            shown = [self.atlas.share(name, t) * sample(painted, self._uv(name, t))[:, 3:] for t in frames]
            below = torch.stack(list(frames.values()))
            # As of one tall picture: frames that show more of the layer count more.
            self._references[name] = shade_reference(
                torch.cat(shown).transpose(0, 1).flatten(1, 2)[None], below.transpose(0, 1).flatten(1, 2)[None]
            )

    def telling(self, k: int) -> set[int]:
        """Frames to ``measure``: of each painted layer up to ``k``, spread over those that show much of it."""
        chosen: set[int] = set()
        for name, _ in self._painted:
            area = [float(self.atlas.share(name, t).mean()) for t in range(self.atlas.video.frames)]
            chosen.update(spread_over([t for t, part in enumerate(area) if part >= max(area) / 2], k))
        return chosen

    def layer(self, t: int, frame: Tensor | None = None) -> EditLayer:
        """Both edits on frame ``t`` as one layer, (1, 3, H, W) and (1, 1, H, W); over the frame it gives ``over``.

        frame: (3, H, W) in [0, 1], which only a blend mode other than normal needs.
        """
        total = self.atlas.alpha.new_zeros(1, 4, *self.atlas.alpha.shape[1:])
        for name, painted in self._painted:
            total = total + self.atlas.share(name, t) * self._seen(name, painted, frame, t)
        return straight(total)

    def over(self, frame: Tensor, t: int) -> Tensor:
        """Frame ``t``, (3, H, W) in [0, 1], with the edits; bit for bit unchanged where nothing is painted."""
        out = frame
        for name, painted in self._painted:
            seen = self._seen(name, painted, frame, t)[0]
            out = out + self.atlas.share(name, t) * (seen[:3] - seen[3:] * frame)
        return out.clamp(0, 1)

    def _uv(self, name: LayerName, t: int) -> Tensor:
        return self.atlas.layer(name).uv[t : t + 1]

    def _seen(self, name: LayerName, painted: Tensor, frame: Tensor | None, t: int) -> Tensor:
        """The premultiplied layer at the pixels of frame ``t``, (1, 4, H, W), its colours blended with the frame."""
        seen = sample(painted, self._uv(name, t))
        if self.blend == "normal":
            return seen
        if frame is None:
            raise ValueError(f"the blend mode {self.blend} needs the frame")
        return premultiplied(straight(seen).blended(frame[None], self.blend, self._references.get(name)))


def splat(values: Tensor, weight: Tensor, uv: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Splat ``values`` (C, H, W) of one frame onto the texels at ``uv`` (H, W, 2).

    Returns, per texel, the mean (C, H_a, W_a) of the pixels around it, weighted bilinearly and by ``weight`` (H, W),
    which is >= 0, and the sum of the weights (H_a, W_a). Both are 0 where no pixel falls.
    """
    # 1. Enlarge the frame so that its pixels are less than a texel apart.
    finer = _refinement(uv, weight)
    both = torch.cat([values * weight, weight[None], uv.permute(2, 0, 1)])[None]
    if finer > 1:
        shape = (values.shape[1] * finer, values.shape[2] * finer)
        both = F.interpolate(both, size=shape, mode="bilinear", align_corners=False)
    flat = both[0].flatten(1)  # (C + 3, N)
    value, mass, at = flat[: len(values)], flat[len(values)], flat[-2:]  # (C, N), (N,), (2, N)
    height, width = size
    inside = (at[0] > -1) & (at[0] < width) & (at[1] > -1) & (at[1] < height) & (mass > 0)
    value, mass, at = value[:, inside], mass[inside], at[:, inside]
    # 2. Add every pixel to the four texels around it.
    total = values.new_zeros(len(values) + 1, height * width)
    corner = at.floor()
    part = at - corner
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[0] + dx, corner[1] + dy
            share = (part[0] if dx else 1 - part[0]) * (part[1] if dy else 1 - part[1])
            share = share * ((x >= 0) & (x < width) & (y >= 0) & (y < height))
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
            total.index_add_(1, index, torch.cat([value * share, (mass * share)[None]]))
    # 3. Divide by the weights.
    weights = total[-1]
    mean = total[:-1] / weights.clamp(min=1e-8)
    return mean.reshape(-1, height, width), weights.reshape(height, width)


def _refinement(uv: Tensor, weight: Tensor) -> int:
    """The factor by which to enlarge the frame so that pixels with a positive weight are less than a texel apart."""
    return max(1, min(MAX_REFINEMENT, math.ceil(usual_step(uv, weight > 0) / 0.7)))


def usual_step(uv: Tensor, own: Tensor) -> float:
    """Texels between neighbouring pixels of ``uv`` (H, W, 2) that are both in ``own`` (H, W) bool; 0 if there are none.

    The 98th percentile: larger steps are tears and folds of the mapping, which say nothing about its scale.
    """
    across = (uv[:, 1:] - uv[:, :-1]).norm(dim=-1)[own[:, 1:] & own[:, :-1]]
    down = (uv[1:] - uv[:-1]).norm(dim=-1)[own[1:] & own[:-1]]
    steps = torch.cat([across.flatten(), down.flatten()])
    return float(steps.sort().values[int(0.98 * (len(steps) - 1))]) if len(steps) else 0.0


def from_frame(atlas: Atlas, t: int, paint: EditLayer, name: LayerName) -> EditLayer:
    """Splat an edit painted on frame ``t``, (1, 3, H, W) and (1, 1, H, W), onto the layer ``name`` of the atlas.

    A texel is the mean of the pixels that fall on it, weighted by the part of each pixel that the layer owns: alpha for
    the foreground, 1 - alpha for the background.
    """
    layer, share = atlas.layer(name), atlas.share(name, t)
    rgba = premultiplied(paint)[0]
    carried, _ = splat(rgba, share, layer.uv[t], layer.size)
    return straight(carried[None])
