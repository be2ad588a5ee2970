"""Textures computed directly from the frames: the colours of the pixels that a layer owns, splatted onto its texels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from t2l_cli.engine.atlas.mapping import sample
from t2l_cli.engine.fit.field import Field, LayerField, Size, back_project

CERTAIN = 4  # a pixel's weight is this power of its share: mixed pixels, at outlines, say little about either layer
NEGLIGIBLE = 0.01  # pixels with a smaller weight are skipped
LEAST_WEIGHT = 0.15  # minimum sum of weights at which the pixels decide a texel's colour
PASSES = 2  # the first averages, the second sharpens the result
CHUNK_PIXELS = 2**21  # pixels processed at a time

Seen = tuple[Tensor, Tensor, Tensor]  # frames (B, 3, h, w) in [0, 1], weights (B, 1, h, w), uv (B, h, w, 2) texels


@torch.no_grad()
def improved(texture: Tensor, batches: Callable[[], Iterable[Seen]], passes: int = PASSES) -> tuple[Tensor, Tensor]:
    """Fit ``texture`` (1, 3, H_a, W_a) to the pixels of ``batches()`` by SIRT; return it and the weights (H_a, W_a).

    A texel's weight is the sum over the pixels that read it; texels with less than LEAST_WEIGHT are left unchanged.
    """
    size = (texture.shape[-2], texture.shape[-1])
    weights = texture.new_zeros(size)
    for _ in range(passes):
        change, weights = torch.zeros_like(texture[0]), torch.zeros_like(weights)
        for frames, weight, uv in batches():
            own = weight[:, 0] > NEGLIGIBLE  # (B, h, w)
            at = uv[own]  # (N, 2)
            # the residual (3, N) of the pixels, back-projected onto the texels that they read
            missing = frames.transpose(0, 1)[:, own] - sample(texture, at[None, None])[0, :, 0]
            part, mass = back_project(missing, weight[:, 0][own], at, size)
            change, weights = change + part, weights + mass
        texture = texture + torch.where(weights > LEAST_WEIGHT, change / weights.clamp(min=LEAST_WEIGHT), 0)[None]
    return texture, weights


def chunks(n: int, size: Size) -> Iterator[range]:
    """Frame numbers 0 to n - 1, in ranges of about CHUNK_PIXELS pixels."""
    step = max(1, CHUNK_PIXELS // (size[0] * size[1]))
    return (range(t, min(n, t + step)) for t in range(0, n, step))


@torch.no_grad()
def resample(model: Field, level: int, frames: Tensor, share: Tensor | None = None) -> None:
    """Compute the textures of ``model`` at ``level`` from the ``frames``, (T, 3, h, w) uint8 at the size of this level.

    share: (T, 1, h, w), the foreground's part of each pixel; None: the model's alpha. It is given at the start, when
    the textures are still empty; texels that no frame shows are then filled from their surroundings.
    """
    size = (frames.shape[-2], frames.shape[-1])
    for layer in model.layers():
        displacement = layer.mapping.displacement()
        shape = layer.texture.sizes[level]

        def batches(
            layer: LayerField = layer, displacement: Tensor = displacement, shape: Size = shape
        ) -> Iterator[Seen]:
            for part in chunks(len(frames), size):
                index = torch.tensor(part, device=frames.device)
                own = model.alpha(index, level) if share is None else share[index]
                own = own if layer is model.foreground else 1 - own
                uv = layer.uv(layer.mapping(index, size, displacement), shape)
                yield frames[index].float() / 255, own**CERTAIN, uv

        texture, weights = improved(layer.texture(level), batches)
        if share is not None:
            texture = _filled(texture, weights > LEAST_WEIGHT)
        layer.texture.show(texture, level)


def _filled(texture: Tensor, known: Tensor) -> Tensor:
    """``texture`` (1, 3, H_a, W_a) with the texels that are not ``known`` (H_a, W_a) inpainted."""
    if known.all() or not known.any():
        return texture
    picture = (texture[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()
    holes = (~known).to(torch.uint8).cpu().numpy()
    filled = cv2.inpaint(np.ascontiguousarray(picture), holes, 3, cv2.INPAINT_TELEA)
    return torch.where(known, texture, torch.from_numpy(filled).to(texture).permute(2, 0, 1)[None] / 255)
