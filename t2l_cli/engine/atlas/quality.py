"""Figures of an atlas's quality. PSNR alone is not enough: a wrong decomposition can have a high one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import LayerName
from t2l_cli.engine.atlas.mapping import reconstruct, sample
from t2l_cli.engine.atlas.model import Atlas, AtlasLayer
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.motion.flow import Flow, warp

CHECKER = 12  # side of a checkerboard square, px of the flow's frames
PSNR_FRAMES = 32  # maximum number of frames that are reconstructed, evenly spaced over the video
OWNED = 0.9  # minimum share of a pixel at which its layer's coordinates are judged
LEAST_PSNR, LEAST_SHARPNESS, MOST_RESIDUAL, MOST_WARP = 28.0, 0.6, 0.5, 0.08  # beyond these bounds advice is given
MOST_GROWTH = 2.5  # maximum of ``_growth`` without advice
FULL_PSNR = 99.0  # dB, used for an exact reconstruction


@dataclass(frozen=True)
class Quality:
    """Figures of an atlas. Residual and warp error are None for a layer that is hardly visible.

    psnr: dB, mean over up to ``PSNR_FRAMES`` frames.
    sharpness: mean of |2 alpha - 1| where there is foreground: 1 means decided, 0 undecided.
    *_residual: median distance, in px of the video, by which a point that follows the flow moves on the atlas.
    *_warp: mean difference in [0, 1], along the flow, between frames of a checkerboard painted on the layer.
    """

    psnr: float
    sharpness: float | None
    background_residual: float | None
    foreground_residual: float | None
    background_warp: float | None
    foreground_warp: float | None
    foreground_area: float  # mean opacity of the video, in [0, 1]
    advice: tuple[str, ...] = ()

    @property
    def residual(self) -> float:
        """The larger of the two residuals, px; 0 if neither is known."""
        return max((r for r in (self.background_residual, self.foreground_residual) if r is not None), default=0.0)


@torch.no_grad()
def measure(atlas: Atlas, frames: Tensor, flow: Flow) -> Quality:
    """Measure ``atlas`` on its video's ``frames``, (T, 3, H, W) uint8, and their ``flow``, at any size."""
    looked_at = sorted({round(t) for t in torch.linspace(0, len(frames) - 1, min(len(frames), PSNR_FRAMES)).tolist()})
    figures = [psnr(reconstruct(atlas, t).clamp(0, 1), frames[t].float() / 255) for t in looked_at]
    mean_psnr = sum(min(figure, FULL_PSNR) for figure in figures) / len(figures)
    area = atlas.alpha.mean().item()
    present = atlas.alpha[atlas.alpha > 0.05]
    sharpness = (2 * present - 1).abs().mean().item() if area > 1e-4 else None
    back, front = (_along_flow(atlas, name, flow) for name in ("background", "foreground"))
    return Quality(
        psnr=mean_psnr,
        sharpness=sharpness,
        background_residual=back[0],
        foreground_residual=front[0],
        background_warp=back[1],
        foreground_warp=front[1],
        foreground_area=area,
        advice=_advice(mean_psnr, sharpness, back, front, area, _growth(atlas)),
    )


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of two pictures in [0, 1], in dB; infinite if they are equal."""
    error = (a.double() - b.double()).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def _along_flow(atlas: Atlas, name: LayerName, flow: Flow) -> tuple[float | None, float | None]:
    """(residual in px of the video, warp error) of a layer; None for both if too little of it is visible."""
    size = flow.size
    scale = atlas.video.width / size[1]
    layer = atlas.layer(name)
    board = checkerboard(layer, CHECKER * scale)
    residuals, errors = [], []
    for t, (uv, later, ok) in enumerate(_pairs(atlas, name, flow)):
        if not ok.any():
            continue
        # 1. Residual: how far each point moves on the atlas along the flow.
        step = _texels_per_pixel(uv)[ok]  # (N,)
        field = flow.forward[t : t + 1]  # (1, 2, h, w)
        moved = warp(later.permute(2, 0, 1)[None], field)[0].permute(1, 2, 0)
        residuals.append((moved - uv).norm(dim=-1)[ok] / step.clamp(min=1e-3) * scale)
        # 2. Warp error: how much the checkerboard differs along the flow.
        seen = [sample(board.rgb, at[None])[:, :1] for at in (uv, later)]
        errors.append((warp(seen[1], field) - seen[0]).abs()[0, 0][ok])
    pixels = sum(len(r) for r in residuals)
    if pixels < 1e-3 * size[0] * size[1] * len(flow.forward):
        return None, None
    return torch.cat(residuals).median().item(), torch.cat(errors).mean().item()


def _pairs(atlas: Atlas, name: LayerName, flow: Flow) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each pair of frames, at the flow's size: uv (h, w, 2) of both, and (h, w) bool where the layer's flow is
    reliable."""
    size = flow.size

    def seen(t: int) -> tuple[Tensor, Tensor]:
        uv = F.interpolate(atlas.layer(name).uv[t].permute(2, 0, 1)[None], size=size, mode="bilinear")
        share = F.interpolate(atlas.share(name, t)[None, None], size=size, mode="area")
        return uv[0].permute(1, 2, 0), share[0, 0] > OWNED

    uv, own = seen(0)
    for t in range(len(flow.forward)):
        later, next_own = seen(t + 1)
        there = warp(next_own[None, None].float(), flow.forward[t : t + 1])[0, 0] > OWNED
        yield uv, later, flow.forward_ok[t] & own & there
        uv, own = later, next_own


def _texels_per_pixel(uv: Tensor) -> Tensor:
    """(h, w): texels per px along an axis, the square root of the area that a px covers on the layer."""
    across, down = torch.zeros_like(uv), torch.zeros_like(uv)
    across[:, :-1] = uv[:, 1:] - uv[:, :-1]
    across[:, -1] = across[:, -2]
    down[:-1] = uv[1:] - uv[:-1]
    down[-1] = down[-2]
    return (across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]).abs().sqrt()


def checkerboard(layer: AtlasLayer, side: float) -> EditLayer:
    """An opaque black and white checkerboard of the layer's size, with squares of ``side`` px of the video."""
    middle = layer.uv[len(layer.uv) // 2]
    squares = max(2.0, side * _texels_per_pixel(middle).median().item())
    height, width = layer.size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    board = (((x / squares).floor() + (y / squares).floor()) % 2)[None, None].float()
    return EditLayer(board.expand(-1, 3, -1, -1), torch.ones_like(board))


def _growth(atlas: Atlas) -> float:
    """Ratio of the foreground's area at the 90th percentile of the frames to that at the 10th.

    Frames that cut the foreground off at the border, or do not show it, do not count.
    """
    solid = atlas.alpha > 0.5
    whole = ~(solid[:, [0, -1]].flatten(1).any(1) | solid[:, :, [0, -1]].flatten(1).any(1))
    areas = solid.flatten(1).float().mean(1)[whole]
    areas = areas[areas > 1e-4]
    return (areas.quantile(0.9) / areas.quantile(0.1)).item() if len(areas) > 2 else 1.0


def _advice(
    psnr: float,
    sharpness: float | None,
    back: tuple[float | None, float | None],
    front: tuple[float | None, float | None],
    area: float,
    growth: float,
) -> tuple[str, ...]:
    out = []
    if growth > MOST_GROWTH:
        out.append("the foreground grows and shrinks: the mask misses part of the object in some frames, give --mask.")
    if area > 0.6:
        out.append("the foreground fills most of the frame: if that is not so, give --mask.")
    if psnr < LEAST_PSNR:
        out.append("the frames come back blurred: try --preset standard or fewer --frames; a second object may move.")
    if sharpness is not None and sharpness < LEAST_SHARPNESS:
        out.append("the foreground's opacity is undecided: the mask misses part of the object, give --mask.")
    for name, (residual, error) in (("background", back), ("foreground", front)):
        if (residual or 0) > MOST_RESIDUAL or (error or 0) > MOST_WARP:
            out.append(f"the {name} slides on its atlas, an edit there may swim: try fewer --frames, or give --mask.")
    return tuple(out)
