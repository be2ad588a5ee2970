"""Converts the fitted model to an ``Atlas`` at the video's own size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from t2l_cli.engine.atlas.model import Atlas, AtlasLayer, VideoIdentity, used_texels
from t2l_cli.engine.fit.field import MAX_TEXTURE, Field, LayerField, resize
from t2l_cli.engine.fit.textures import CERTAIN, Seen, chunks, improved

FAINT = 0.02  # an opacity below this is set to 0, and one above 1 minus this to 1


@torch.no_grad()
def discretise(model: Field, frames: Tensor, video: VideoIdentity, origin: dict[str, Any]) -> Atlas:
    """The atlas of ``frames`` (T, 3, H, W) uint8 on the CPU.

    If the frames are larger than the model's working size, the textures are made denser by the same factor and gain
    the frames' detail.
    """
    size = (frames.shape[-2], frames.shape[-1])
    device = next(model.parameters()).device
    alpha = torch.empty(len(frames), *size)
    for part in chunks(len(frames), size):
        index = torch.tensor(part, device=device)
        logit = None if model.opacity is None else resize(model.opacity(0, index), size)
        fine = torch.zeros(len(part), 1, *size) if logit is None else torch.sigmoid(logit).cpu()
        alpha[part.start : part.stop] = ((fine[:, 0] - FAINT) / (1 - 2 * FAINT)).clamp(0, 1)
    background = _layer(model.background, frames, 1 - alpha, device)
    if model.foreground is None:
        nothing = AtlasLayer(torch.zeros(3, 8, 8), torch.zeros(*alpha.shape, 2), torch.zeros(8, 8, dtype=torch.bool))
        return Atlas(nothing, background, alpha, video, origin)
    return Atlas(_layer(model.foreground, frames, alpha, device), background, alpha, video, origin)


def _layer(layer: LayerField, frames: Tensor, share: Tensor, device: torch.device) -> AtlasLayer:
    """One layer at the frames' size. ``share``: (T, H, W), the part of each pixel that the layer owns."""
    # 1. Coordinates.
    size = (frames.shape[-2], frames.shape[-1])
    finer = max(1.0, min(size[1] / layer.mapping.size[1], MAX_TEXTURE / max(layer.texture_size())))
    shape = layer.texture_size(finer)
    uv = torch.empty(len(frames), *size, 2)
    displacement = layer.mapping.displacement()
    for part in chunks(len(frames), size):
        at = layer.mapping(torch.tensor(part, device=device), size, displacement)
        uv[part.start : part.stop] = layer.uv(at, shape).cpu()
    # 2. The texture, improved from the frames where it is denser than in the fit.
    texture = resize(layer.texture(0), shape)  # (1, 3, H_a, W_a)
    if finer > 1:

        def batches() -> Iterator[Seen]:
            for part in chunks(len(frames), size):
                rows = slice(part.start, part.stop)
                picture = frames[rows].to(device).float() / 255
                yield picture, share[rows, None].to(device) ** CERTAIN, uv[rows].to(device)

        texture, _ = improved(texture, batches)
    return AtlasLayer(texture[0].clamp(0, 1).cpu(), uv, used_texels(uv, share, shape))
