"""Between an atlas and its frames: reconstruction, edits mapped back (LNA, Eq. 15 and 16), and paint carried over.

Layers hold straight alpha and are sampled premultiplied: the colour of a transparent texel does not bleed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.engine.atlas.model import LAYERS, Atlas, LayerName
from t2l_cli.engine.layers import EditLayer
from t2l_cli.errors import RequestError

MAX_REFINEMENT = 8  # splatting enlarges a frame at most so many times to leave no texel between two pixels bare


def sample(texture: Tensor, uv: Tensor) -> Tensor:
    """``texture`` (B or 1, C, H_a, W_a) at ``uv`` (B, H, W, 2) texels (x, y): (B, C, H, W), bilinear.

    Beyond the border the nearest texel is read. Differentiable with respect to both.
    """
    height, width = texture.shape[-2:]
    # grid_sample's coordinates: [-1, 1] from the outer edge of the first texel to that of the last
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
    """The layer of a premultiplied (B, 4, H, W); where alpha is 0 the colour is 0."""
    alpha = rgba[:, 3:]
    return EditLayer((rgba[:, :3] / alpha.clamp(min=1e-6)).clamp(0, 1), alpha)


def sample_layer(layer: EditLayer, uv: Tensor) -> EditLayer:
    """An atlas edit layer (1, ., H_a, W_a) seen at ``uv`` (B, H, W, 2): a layer (B, ., H, W). Differentiable."""
    return straight(sample(premultiplied(layer), uv))


class Mapper:
    """Edited atlas layers on their way back to the frames; a layer that is None is not edited.

    With E_f, E_b sampled at the pixel: f = E_f over I, b = E_b over I, out = alpha f + (1 - alpha) b. Both are the
    frame where nothing is painted, so out = I + alpha (P_f - a_f I) + (1 - alpha) (P_b - a_b I), P premultiplied.
    Raises RequestError for a layer of another size than its texture.
    """

    def __init__(self, atlas: Atlas, foreground: EditLayer | None = None, background: EditLayer | None = None) -> None:
        self.atlas = atlas
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

    def layer(self, t: int) -> EditLayer:
        """The whole edit alone on frame ``t``, (1, 3, H, W) and (1, 1, H, W): laid over the frame it is ``over``."""
        total = self.atlas.alpha.new_zeros(1, 4, *self.atlas.alpha.shape[1:])
        for name, painted in self._painted:
            total = total + self.atlas.share(name, t) * sample(painted, self.atlas.layer(name).uv[t : t + 1])
        return straight(total)

    def over(self, frame: Tensor, t: int) -> Tensor:
        """Frame ``t`` (3, H, W) in [0, 1] with the edits on it; bit for bit itself where nothing is painted."""
        out = frame
        for name, painted in self._painted:
            seen = sample(painted, self.atlas.layer(name).uv[t : t + 1])[0]
            out = out + self.atlas.share(name, t) * (seen[:3] - seen[3:] * frame)
        return out.clamp(0, 1)


def splat(values: Tensor, weight: Tensor, uv: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Carry ``values`` (C, H, W) of one frame to the texels at ``uv`` (H, W, 2): (C, H_a, W_a), (H_a, W_a) weights.

    Each texel is the mean of what falls around it, by bilinear parts and ``weight`` (H, W) >= 0; 0 where nothing does.
    """
    finer = _refinement(uv, weight)
    both = torch.cat([values * weight, weight[None], uv.permute(2, 0, 1)])[None]
    if finer > 1:
        shape = (values.shape[1] * finer, values.shape[2] * finer)
        both = F.interpolate(both, size=shape, mode="bilinear", align_corners=False)
    flat = both[0].flatten(1)
    value, mass, at = flat[: len(values)], flat[len(values)], flat[-2:]
    height, width = size
    inside = (at[0] > -1) & (at[0] < width) & (at[1] > -1) & (at[1] < height) & (mass > 0)
    value, mass, at = value[:, inside], mass[inside], at[:, inside]
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
    weights = total[-1]
    mean = total[:-1] / weights.clamp(min=1e-8)
    return mean.reshape(-1, height, width), weights.reshape(height, width)


def _refinement(uv: Tensor, weight: Tensor) -> int:
    """How many times finer the frame has to be for its pixels to lie less than a texel apart where they weigh."""
    return max(1, min(MAX_REFINEMENT, math.ceil(usual_step(uv, weight > 0) / 0.7)))


def usual_step(uv: Tensor, own: Tensor) -> float:
    """Texels between two neighbouring pixels of ``uv`` (H, W, 2) that are both ``own`` (H, W); 0 where none are.

    The 98th percentile: what lies beyond are tears and folds of the mapping, which say nothing of its scale.
    """
    across = (uv[:, 1:] - uv[:, :-1]).norm(dim=-1)[own[:, 1:] & own[:, :-1]]
    down = (uv[1:] - uv[:-1]).norm(dim=-1)[own[1:] & own[:-1]]
    steps = torch.cat([across.flatten(), down.flatten()])
    return float(steps.sort().values[int(0.98 * (len(steps) - 1))]) if len(steps) else 0.0


def from_frame(atlas: Atlas, t: int, paint: EditLayer, name: LayerName) -> EditLayer:
    """The edit painted on frame ``t``, (1, 3, H, W) and (1, 1, H, W), carried to the layer ``name`` of the atlas.

    A texel's opacity is the mean of what falls on it, weighted by what the layer owns of each pixel: alpha for the
    foreground, 1 - alpha for the background.
    """
    layer, share = atlas.layer(name), atlas.share(name, t)
    rgba = premultiplied(paint)[0]
    carried, _ = splat(rgba, share, layer.uv[t], layer.size)
    return straight(carried[None])
