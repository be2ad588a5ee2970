"""Videos that are made here, without a file: one that slides over its atlas, and one with a moving foreground."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from t2l_cli.engine.atlas.mapping import sample
from t2l_cli.engine.atlas.model import Atlas, AtlasLayer, VideoIdentity, used_texels

sys.path.append(str(Path(__file__).parents[1]))
from tests.truth import make_truth


def sliding(size: tuple[int, int], frames: int, texels: int) -> tuple[Atlas, torch.Tensor]:
    """An atlas of ``texels`` a side whose frames slide over it, and its video (T, 3, H, W) uint8."""
    random = torch.Generator().manual_seed(0)
    height, width = size
    texture = torch.rand(3, texels // 20 + 1, texels // 20 + 1, generator=random)
    texture = torch.nn.functional.interpolate(texture[None], size=(texels, texels), mode="bilinear")[0]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    scale = 0.8 * texels / max(size)
    grid = torch.stack([x, y], -1) * scale
    uv = torch.stack([grid + t * 0.15 * texels / frames for t in range(frames)])
    blob = (((x - width / 2) / (0.3 * width)) ** 2 + ((y - height / 2) / (0.3 * height)) ** 2 < 1).float()
    alpha = blob.expand(frames, -1, -1).contiguous()
    used = [used_texels(uv, share, (texels, texels)) for share in (alpha, 1 - alpha)]
    layers = [AtlasLayer(texture, uv.clone(), seen) for seen in used]  # a file holds no tensor twice
    atlas = Atlas(layers[0], layers[1], alpha, VideoIdentity(frames, width, height, 24.0))
    video = torch.stack(
        [(sample(texture[None], uv[t : t + 1])[0] * 255).round().to(torch.uint8) for t in range(frames)]
    )
    return atlas, video


def moving(size: tuple[int, int], frames: int) -> npt.NDArray[np.uint8]:
    """A video of ``size`` (width, height) in which a blob crosses a textured ground, (T, H, W, 3)."""
    return make_truth(size, frames).frames
