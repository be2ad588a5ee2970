"""Render the example pictures of this folder:  python docs/examples/render.py [cup swan vase]

Photograph-like still lifes by sphere tracing of signed distances, so that the repository needs nobody else's photos.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

WIDTH, HEIGHT = 960, 720
SUN = F.normalize(torch.tensor([-0.55, 0.75, 0.45]), dim=0)
Field = Callable[[Tensor], Tensor]  # (N, 3) points -> (N,) signed distances


class Still(NamedTuple):
    """One picture: the object's distance field and paint, and the ground and wall behind it."""

    body: Field
    paint: Callable[[Tensor], Tensor]  # (N, 3) points -> (N, 3) linear albedo
    gloss: float
    ground: Callable[[Tensor], Tensor]
    wall: tuple[float, float, float]
    eye: tuple[float, float, float]
    target: tuple[float, float, float]


def ellipsoid(p: Tensor, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Tensor:
    r = torch.tensor(radii)
    q = (p - torch.tensor(centre)) / r
    return (q.norm(dim=1) - 1) * min(radii)


def capsule(p: Tensor, a: tuple[float, float, float], b: tuple[float, float, float], ra: float, rb: float) -> Tensor:
    start, axis = torch.tensor(a), torch.tensor(b) - torch.tensor(a)
    t = ((p - start) @ axis / axis.dot(axis)).clamp(0, 1)
    return (p - start - t[:, None] * axis).norm(dim=1) - (ra + (rb - ra) * t)


def blend(a: Tensor, b: Tensor, k: float) -> Tensor:
    h = (k - (a - b).abs()).clamp(min=0) / k
    return torch.minimum(a, b) - h * h * k / 4


def cup(p: Tensor) -> Tensor:
    radius = torch.hypot(p[:, 0], p[:, 2])
    taper = 0.62 + 0.1 * (p[:, 1] - 0.7)
    outer = torch.maximum(radius - taper, (p[:, 1] - 0.7).abs() - 0.7)
    inner = torch.maximum(radius - taper + 0.07, 0.1 - p[:, 1])
    ring = torch.hypot(torch.hypot(p[:, 0] - 0.66, (p[:, 1] - 0.72) * 0.85) - 0.34, p[:, 2]) - 0.075
    shell = torch.maximum(outer, -inner) - 0.025
    handle = torch.maximum(ring, 0.58 - radius)
    return blend(shell, handle, 0.1) * 0.8


def swan(p: Tensor) -> Tensor:
    body = ellipsoid(p, (0.1, 0.28, 0.0), (0.95, 0.48, 0.52))
    tail = capsule(p, (0.8, 0.4, 0.0), (1.25, 0.72, 0.0), 0.28, 0.04)
    wing = blend(
        ellipsoid(p, (0.25, 0.5, 0.34), (0.72, 0.34, 0.18)), ellipsoid(p, (0.25, 0.5, -0.34), (0.72, 0.34, 0.18)), 0.1
    )
    bends = [
        (-0.6, 0.4, 0.0),
        (-0.95, 0.75, 0.0),
        (-0.93, 1.15, 0.0),
        (-0.7, 1.45, 0.0),
        (-0.78, 1.72, 0.0),
        (-1.02, 1.78, 0.0),
    ]
    sizes = [0.26, 0.19, 0.15, 0.13, 0.14, 0.17]
    neck = capsule(p, bends[0], bends[1], sizes[0], sizes[1])
    for i in range(1, len(bends) - 1):
        neck = blend(neck, capsule(p, bends[i], bends[i + 1], sizes[i], sizes[i + 1]), 0.08)
    beak = capsule(p, (-1.15, 1.74, 0.0), (-1.42, 1.62, 0.0), 0.09, 0.035)
    return blend(blend(blend(blend(body, tail, 0.3), wing, 0.12), neck, 0.25), beak, 0.04) * 0.8


def vase(p: Tensor) -> Tensor:
    y = p[:, 1].clamp(0, 1.9)
    profile = 0.3 + 0.34 * torch.exp(-(((y - 0.62) / 0.42) ** 2)) - 0.08 * torch.exp(-(((y - 1.5) / 0.22) ** 2))
    profile = profile + 0.12 * torch.exp(-(((y - 1.95) / 0.15) ** 2))
    radius = torch.hypot(p[:, 0], p[:, 2])
    outer = torch.maximum(radius - profile, (p[:, 1] - 0.95).abs() - 0.95)
    inner = torch.maximum(radius - profile + 0.06, 0.2 - p[:, 1])
    return (torch.maximum(outer, -inner) - 0.02) * 0.7


def _noise(x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Smooth noise of two coordinates in [-1, 1]: a random table, read bilinearly, in five octaves."""
    table = torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    out = torch.zeros_like(x)
    for octave in range(5):
        scale = 2.0**octave
        grid = torch.stack([_fold(x * scale / 32), _fold(y * scale / 32)], -1)[None, None]
        out = out + F.grid_sample(table, grid, align_corners=False, padding_mode="reflection")[0, 0, 0] / (1.6**octave)
    return out / 2


def _fold(x: Tensor) -> Tensor:
    """Any number to [-1, 1], there and back again: without a seam."""
    return ((x + 7.3) % 4 - 2).abs() - 1


def _mix(a: tuple[float, float, float], b: tuple[float, float, float], t: Tensor) -> Tensor:
    return torch.tensor(a) * (1 - t[:, None]) + torch.tensor(b) * t[:, None]


def wood(p: Tensor) -> Tensor:
    board = torch.floor(p[:, 2] * 1.4)
    grain = torch.sin(60 * (p[:, 2] + 0.1 * _noise(p[:, 0] * 0.6 + board * 7, p[:, 2] * 5, 1)) + 3 * board)
    seam = ((p[:, 2] * 1.4) % 1 < 0.02).float()
    tone = (0.45 + 0.2 * grain + 0.35 * _noise(p[:, 0] * 1.2 + board * 13, p[:, 2] * 18, 2)).clamp(0, 1)
    return _mix((0.13, 0.06, 0.03), (0.42, 0.23, 0.11), tone) * (1 - 0.7 * seam[:, None])


def water(p: Tensor) -> Tensor:
    ripple = _noise(p[:, 0] * 2.2, p[:, 2] * 7, 3)
    return _mix((0.015, 0.05, 0.06), (0.09, 0.2, 0.22), (0.45 + 0.9 * ripple).clamp(0, 1))


def linen(p: Tensor) -> Tensor:
    weave = 0.5 + 0.25 * torch.sin(p[:, 0] * 160) * torch.sin(p[:, 2] * 160) + 0.3 * _noise(p[:, 0] * 9, p[:, 2] * 9, 4)
    return _mix((0.34, 0.32, 0.29), (0.5, 0.48, 0.44), weave.clamp(0, 1))


def plain(rgb: tuple[float, float, float]) -> Callable[[Tensor], Tensor]:
    return lambda p: torch.tensor(rgb) * (1 + 0.05 * _noise(p[:, 0] * 3, p[:, 1] * 3, 5)[:, None])


def swan_paint(p: Tensor) -> Tensor:
    beak = (p[:, 0] < -1.17) & (p[:, 1] > 1.4)
    feathers = 0.05 * _noise(p[:, 0] * 7, p[:, 1] * 12, 6)[:, None]
    white = torch.tensor((0.8, 0.78, 0.74)) * (1 + feathers)
    return torch.where(beak[:, None], torch.tensor((0.75, 0.25, 0.03)), white)


STILLS = {
    "cup": Still(cup, plain((0.03, 0.1, 0.42)), 0.5, wood, (0.5, 0.46, 0.4), (1.3, 2.3, 3.6), (0.12, 0.55, 0.0)),
    "swan": Still(swan, swan_paint, 0.1, water, (0.1, 0.16, 0.1), (-0.5, 1.7, 4.6), (-0.05, 0.65, 0.0)),
    "vase": Still(vase, plain((0.45, 0.07, 0.04)), 0.35, linen, (0.22, 0.27, 0.3), (0.3, 1.9, 4.4), (0.0, 0.85, 0.0)),
}  # fmt: skip


def _march(field: Field, origin: Tensor, rays: Tensor, steps: int = 90, far: float = 12.0) -> Tensor:
    """Distance along each ray to the surface; ``far`` where it misses."""
    t = torch.full((len(rays),), 0.02)
    live = torch.arange(len(rays))
    for _ in range(steps):
        d = field(origin[live] + t[live, None] * rays[live])
        t[live] += d
        live = live[(d.abs() > 5e-4) & (t[live] < far)]
        if not len(live):
            break
    return t.clamp(max=far)


def _normals(field: Field, p: Tensor) -> Tensor:
    e = 1e-3 * torch.eye(3)
    return F.normalize(torch.stack([field(p + e[i]) - field(p - e[i]) for i in range(3)], 1), dim=1)


def _shadow(field: Field, p: Tensor, towards: Tensor, softness: float) -> Tensor:
    """Light (N,) from ``towards`` that reaches ``p``: 1 open, 0 hidden, with a penumbra."""
    light, t = torch.ones(len(p)), torch.full((len(p),), 0.03)
    for _ in range(36):
        d = field(p + t[:, None] * towards)
        light = torch.minimum(light, (softness * d / t).clamp(0, 1))
        t = t + d.clamp(0.03, 0.2)
    return light * light * (3 - 2 * light)


def _occlusion(field: Field, p: Tensor, n: Tensor) -> Tensor:
    closed = sum(0.6**i * (h - field(p + h * n)).clamp(min=0) for i, h in enumerate((0.06, 0.15, 0.3, 0.5)))
    return (1 - 1.4 * closed).clamp(0.15, 1) if isinstance(closed, Tensor) else torch.ones(len(p))


def render(still: Still) -> Image.Image:
    """The picture, WIDTH x HEIGHT, sRGB."""
    eye = torch.tensor(still.eye)
    forward = F.normalize(torch.tensor(still.target) - eye, dim=0)
    right = F.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 1, 0])), dim=0)
    up = torch.linalg.cross(right, forward)
    x = (torch.arange(WIDTH) + 0.5) / WIDTH * 2 - 1
    y = (1 - (torch.arange(HEIGHT) + 0.5) / HEIGHT * 2) * HEIGHT / WIDTH
    gy, gx = torch.meshgrid(y, x, indexing="ij")
    rays = F.normalize(forward * 2.1 + gx.reshape(-1, 1) * right + gy.reshape(-1, 1) * up, dim=1)
    origin = eye.expand_as(rays)
    hit = _march(still.body, origin, rays)
    to_ground = torch.where(rays[:, 1] < -1e-3, -eye[1] / rays[:, 1], torch.inf)
    to_wall = torch.where(rays[:, 2] < -1e-3, (-4.5 - eye[2]) / rays[:, 2], torch.inf)
    on_body = hit < torch.minimum(to_ground, to_wall).clamp(max=11.9)
    on_ground = ~on_body & (to_ground < to_wall)
    colour = _wall(still, eye + rays * to_wall.clamp(max=60)[:, None])
    p = eye + rays[on_ground] * to_ground[on_ground, None]
    colour[on_ground] = _lit(still, p, torch.tensor([0.0, 1, 0]).expand_as(p), still.ground(p), rays[on_ground], 0.0)
    p = eye + rays[on_body] * hit[on_body, None]
    colour[on_body] = _lit(still, p, _normals(still.body, p), still.paint(p), rays[on_body], still.gloss)
    return _photograph(colour.reshape(HEIGHT, WIDTH, 3))


def _wall(still: Still, p: Tensor) -> Tensor:
    glow = torch.exp(-((p[:, 0] + 1.5) ** 2 + (p[:, 1] - 2.5) ** 2) / 18)
    return torch.tensor(still.wall) * (0.35 + 0.6 * glow + 0.06 * _noise(p[:, 0] * 2, p[:, 1] * 2, 8))[:, None]


def _lit(still: Still, p: Tensor, n: Tensor, albedo: Tensor, rays: Tensor, gloss: float) -> Tensor:
    sun = (n @ SUN).clamp(min=0) * _shadow(still.body, p + 0.01 * n, SUN, 7)
    sky = (0.5 + 0.5 * n[:, 1]) * _occlusion(still.body, p, n)
    bounce = (0.5 - 0.5 * n[:, 1]).clamp(min=0)[:, None] * torch.tensor((0.25, 0.18, 0.12))
    light = sun[:, None] * torch.tensor((1.9, 1.75, 1.5)) + sky[:, None] * torch.tensor((0.42, 0.47, 0.55)) + bounce
    mirror = rays - 2 * (rays * n).sum(1, keepdim=True) * n
    shine = gloss * (
        ((mirror @ SUN).clamp(min=0) ** 60) * 2 * (sun > 0) + 0.12 * (1 + (rays * n).sum(1)).clamp(0, 1) ** 3
    )
    return albedo * light + shine[:, None]


def _photograph(linear: Tensor) -> Image.Image:
    """A camera's rendering: soft shoulder, sRGB curve, vignette, a little blur and grain."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, HEIGHT), torch.linspace(-1, 1, WIDTH), indexing="ij")
    linear = linear * (1 - 0.18 * (x * x + y * y))[..., None]
    srgb = (1 - torch.exp(-1.25 * linear)).clamp(0, 1) ** (1 / 2.2)
    image = F.avg_pool2d(F.pad(srgb.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate"), 3, 1)
    image = 0.5 * image + 0.5 * srgb.permute(2, 0, 1)[None]
    grain = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)) * 0.008
    pixels = ((image + grain).clamp(0, 1)[0].permute(1, 2, 0) * 255).round().byte()
    return Image.fromarray(pixels.numpy().astype(np.uint8))


if __name__ == "__main__":
    for name in sys.argv[1:] or STILLS:
        render(STILLS[name]).save(Path(__file__).parent / f"{name}.jpg", quality=90)
