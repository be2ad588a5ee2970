"""Paint, light and camera, from which mini's scenes are made: batched, on the device of the random generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mini.shapes import ShapeBank
from mini.vocabulary import BLOTCHED, COLOURS, NOUNS, OTHER_SHAPE, TEXTURES

FINEST = 5.0  # maximum periods of a texture per unit, which is half a picture: one per 6.4 px of 64
PX = 64  # side of a picture that mini trains on: its input size
# scikit-image's public-domain pictures for training; chelsea, coffee and others are kept for looking at results
_PHOTOS = (
    "astronaut.png", "rocket.jpg", "ihc.png", "hubble_deep_field.jpg", "grass.png", "gravel.png", "brick.png",
    "retina.jpg", "color.png", "coins.png",
)  # fmt: skip


class Dice:
    """Random tensors from one generator, on its device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.device = generator.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high)."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def below(self, n: int, *shape: int) -> Tensor:
        """Integers in [0, n)."""
        return torch.randint(n, shape, generator=self.generator, device=self.device)

    def chance(self, p: float, *shape: int) -> Tensor:
        """True with probability ``p``."""
        return self.uniform(*shape) < p


@cache
def _photo_files() -> list[Path]:
    from skimage import data  # a training dependency only

    folder = Path(data.__file__).parent
    return [folder / name for name in _PHOTOS if (folder / name).exists()]


class Canvas:
    """Material for scenes of ``px`` x ``px``: silhouettes, 1/f noise and photo crops, made once from a seed."""

    def __init__(
        self, seed: int, px: int = PX, shapes: ShapeBank | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.px = px
        self.shapes = shapes or ShapeBank.drawn(seed, device=device)
        dice = Dice(torch.Generator().manual_seed(seed))
        self.noise = _one_over_f(dice, 64, 2 * px).to(device)
        self.photos = _photo_crops(dice, 400, px).to(device)

    def clouds(self, dice: Dice, n: int) -> Tensor:
        """Smooth noise (n, px, px), mean 0 and standard deviation 1."""
        rows, y, x = dice.below(len(self.noise), n), dice.below(self.px, n), dice.below(self.px, n)
        steps = torch.arange(self.px, device=rows.device)
        return self.noise[rows[:, None, None], (y[:, None] + steps)[:, :, None], (x[:, None] + steps)[:, None, :]]

    def pictures(self, dice: Dice, n: int) -> Tensor:
        """Crops of photos (n, 3, px, px) in [0, 1], some of them mirrored, with swapped channels or tinted."""
        out = self.photos[dice.below(len(self.photos), n)]
        out = torch.where(dice.chance(0.5, n, 1, 1, 1), out.flip(-1), out)
        order = torch.stack([torch.randperm(3, generator=dice.generator, device=dice.device) for _ in range(6)])[
            dice.below(6, n)
        ]
        swapped = out.gather(1, order[:, :, None, None].expand(-1, -1, self.px, self.px))
        out = torch.where(dice.chance(0.5, n, 1, 1, 1), swapped, out)
        tinted = out.mean(1, keepdim=True) * dice.uniform(n, 3, 1, 1, high=1.5)
        return torch.where(dice.chance(0.25, n, 1, 1, 1), tinted, out).clamp(0, 1)


def _one_over_f(dice: Dice, n: int, side: int) -> Tensor:
    f = torch.fft.fftfreq(side)
    radius = torch.hypot(f[:, None], f[None, :]).clamp(min=1 / side)
    spectrum = torch.fft.fft2(dice.normal(n, side, side)) / radius ** dice.uniform(n, 1, 1, low=0.7, high=1.6)
    field: Tensor = torch.fft.ifft2(spectrum).real
    return (field - field.mean((1, 2), keepdim=True)) / field.std((1, 2), keepdim=True)


def _photo_crops(dice: Dice, n: int, px: int) -> Tensor:
    import numpy as np
    from PIL import Image

    sources = [Image.open(path).convert("RGB") for path in _photo_files()]
    crops = []
    for i in range(n):
        source = sources[i % len(sources)]
        side = int(min(source.size) * dice.uniform(1, low=0.2).item())
        x = int(dice.uniform(1).item() * (source.width - side))
        y = int(dice.uniform(1).item() * (source.height - side))
        crop = source.resize((px, px), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side))
        crops.append(torch.from_numpy(np.array(crop)).permute(2, 0, 1).float() / 255)
    return torch.stack(crops)


def camera(dice: Dice, n: int, px: int, askew: float) -> tuple[Tensor, Tensor, Tensor]:
    """The scene coordinates x, y of each pixel, (n, px, px) each, and whether they are outside of the scene.

    The camera is turned, zoomed, shifted and tilted in the part ``askew`` of the pictures, and straight in the others.
    Pictures show the scene's border because CLIP's augmented views do.
    """
    line = (torch.arange(px, device=dice.device) + 0.5) / px * 2 - 1
    gy, gx = torch.meshgrid(line, line, indexing="ij")
    on = dice.chance(askew, n, 1, 1)
    angle = dice.uniform(n, 1, 1, low=-0.27, high=0.27) * on
    zoom = torch.where(on, dice.uniform(n, 2, 1, low=0.6, high=1.1)[:, :1], torch.ones(n, 1, 1, device=dice.device))
    shift = dice.uniform(n, 2, 1, low=-0.3, high=0.3) * on
    tilt = dice.uniform(n, 2, 1, low=-0.25, high=0.25) * on
    w = 1 + tilt[:, :1] * gx + tilt[:, 1:] * gy
    c, s = angle.cos(), angle.sin()
    x = (zoom * (c * gx - s * gy) + shift[:, :1]) / w
    y = (zoom * (s * gx + c * gy) + shift[:, 1:]) / w
    return x, y, (x.abs() > 1) | (y.abs() > 1)


def _soft(x: Tensor, sharpness: float) -> Tensor:
    return torch.sigmoid(x * sharpness)


def pattern(texture: Tensor, u: Tensor, v: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """The part of the second colour, (B, px, px) in [0, 1], that each ``texture`` (B,) shows.

    u, v: (B, px, px). frequency: (B,), periods per unit. phase: (B,). BLOTCHED, a few large soft spots, is not a
    texture, but is easily mistaken for one.
    """
    f, p = frequency[:, None, None], phase[:, None, None]
    out = torch.zeros_like(u)

    def put(name: str, value: Tensor) -> None:
        rows = (texture == TEXTURES.index(name))[:, None, None]
        out.copy_(torch.where(rows, value, out))

    turn = 2 * math.pi
    put("striped", _soft(torch.sin(turn * f * u + p) - 0.15, 6))
    put("dotted", _soft(0.31 - torch.hypot((f * u + p) % 1 - 0.5, (f * v) % 1 - 0.5), 24))
    put("checkered", _soft(torch.sin(turn * f * 0.6 * u + p) * torch.sin(turn * f * 0.6 * v), 12))
    # knitting: columns of V stitches, dark between the strands
    column = (f * 1.3 * u + p) % 1
    row = f * 2 * v + 1.1 * (column - 0.5).abs()
    gap = (row % 1 - 0.5).abs() * 2
    put("knitted", torch.maximum(_soft(gap - 0.72, 12), 0.8 * _soft(0.1 - column.minimum(1 - column), 30)))
    blotches = torch.sin(turn * 0.25 * f * u + p) + torch.sin(turn * 0.3 * f * v + 2 * p)
    return torch.where((texture == BLOTCHED)[:, None, None], _soft(blotches, 4), out)


def palette(device: torch.device) -> Tensor:
    """The named colours (13, 3) in [0, 1]."""
    return torch.tensor(list(COLOURS.values()), device=device).float() / 255


def paint(dice: Dice, colour: Tensor) -> Tensor:
    """A random RGB (B, 3) that a person would call ``colour`` (B,)."""
    rgb = palette(dice.device)[colour] + 0.035 * dice.normal(len(colour), 3)
    return (rgb * (1 + 0.08 * dice.normal(len(colour), 1))).clamp(0, 1)


def second_paint(dice: Dice, rgb: Tensor) -> Tensor:
    """The second colour (B, 3) of a texture: darker, lighter, black or white, never near the first, ``rgb`` (B, 3)."""
    n = len(rgb)
    bright = rgb.mean(1, keepdim=True) > 0.5
    dark, light = rgb * dice.uniform(n, 1, low=0.2, high=0.6), rgb + (1 - rgb) * dice.uniform(n, 1, low=0.5, high=0.95)
    extreme = torch.where(bright, 0.08, 0.95).expand(n, 3)
    return torch.where(dice.chance(0.4, n, 1), extreme, torch.where(bright, dark, light))


@dataclass(frozen=True)
class Surface:
    """A thing's place in the picture and the light on it, without paint, which differs between twins."""

    mask: Tensor  # (B, 1, px, px) in [0, 1]
    shade: Tensor  # (B, 1, px, px), factor on the paint, mean about 1 over the mask
    shine: Tensor  # (B, 1, px, px), light that is added
    u: Tensor  # (B, px, px), texture coordinates
    v: Tensor  # (B, px, px)
    frequency: Tensor  # (B,)
    phase: Tensor  # (B,)

    def coloured(self, rgb: Tensor, second: Tensor, texture: Tensor) -> Tensor:
        """The lit surface (B, 3, px, px) in two paints (B, 3), arranged by ``texture`` (B,)."""
        t = pattern(texture, self.u, self.v, self.frequency, self.phase)[:, None]
        albedo = rgb[:, :, None, None] * (1 - t) + second[:, :, None, None] * t
        return albedo * self.shade + self.shine


def _turned(dice: Dice, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    angle = dice.uniform(len(x), 1, 1, high=2 * math.pi)
    return angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x


def backdrop(canvas: Canvas, dice: Dice, x: Tensor, y: Tensor) -> Surface:
    """A background that fills the picture, unevenly lit."""
    n = len(x)
    slope = 0.2 * dice.normal(n, 1, 1) * x + 0.2 * dice.normal(n, 1, 1) * y
    shade = torch.exp(slope + 0.12 * dice.uniform(n, 1, 1) * canvas.clouds(dice, n))[:, None]
    u, v = _turned(dice, x, y)
    zero = torch.zeros_like(shade)
    return Surface(zero + 1, shade, zero, u, v, 1.2 * torch.exp(dice.uniform(n, high=1.2)), dice.uniform(n, high=6.28))


def object_(canvas: Canvas, dice: Dice, x: Tensor, y: Tensor, noun: Tensor, size: Tensor, centre: Tensor) -> Surface:
    """Place silhouettes of ``noun`` (B,) at ``centre`` (B, 2) with half-side ``size`` (B,), lit from a random side.

    x, y: (B, px, px), the scene coordinates. Textures have three to six periods across the object: a coarser one could
    not be recognised in a single patch.
    """
    # 1. Place the silhouettes.
    n = len(x)
    round_ = torch.isin(
        noun,
        torch.tensor([NOUNS.index(w) for w in ("ball", "star", "ring", "flower")] + [OTHER_SHAPE], device=x.device),
    )
    turn = torch.where(round_, dice.uniform(n, high=6.28), dice.normal(n) * 0.2)[:, None, None]
    dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    mirror = torch.where(dice.chance(0.5, n, 1, 1), 1.0, -1.0)
    stretch = torch.exp(dice.normal(n, 1, 1) * 0.1)
    half = size[:, None, None] / 0.85
    su = mirror * (turn.cos() * dx + turn.sin() * dy) / (half * stretch)
    sv = (turn.cos() * dy - turn.sin() * dx) / (half / stretch)
    maps = canvas.shapes.maps[canvas.shapes.pick(noun, dice.uniform(n))]
    seen = F.grid_sample(maps, torch.stack([su, sv], -1), align_corners=False, padding_mode="border")
    inside = ((su.abs() <= 1) & (sv.abs() <= 1))[:, None]
    mask = torch.sigmoid(seen[:, :1] * half[:, None] * canvas.px * 1.2) * inside
    # 2. Light them.
    light = F.normalize(torch.cat([dice.normal(n, 2), 0.4 + dice.uniform(n, 1)], 1), dim=1)[:, :, None, None]
    lambert = (seen[:, 1:] * light).sum(1, keepdim=True).clamp(min=0)
    contrast = dice.uniform(n, 1, 1, 1, low=0.1, high=0.75) * (~dice.chance(0.2, n, 1, 1, 1))
    shade = 1 - contrast + contrast * lambert + 0.08 * dice.uniform(n, 1, 1, 1) * canvas.clouds(dice, n)[:, None]
    grain = canvas.pictures(dice, n).mean(1, keepdim=True)
    grain = (grain / grain.mean((2, 3), keepdim=True).clamp(min=0.1)).clamp(0.4, 1.6)
    shade = torch.where(dice.chance(0.35, n, 1, 1, 1), shade * grain, shade).clamp(min=0.05)
    mean = ((shade * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)).clamp(min=0.05)
    shade = shade / mean * dice.uniform(n, 1, 1, 1, low=0.88, high=1.1)
    shine = lambert**24 * dice.uniform(n, 1, 1, 1, high=0.7) * dice.chance(0.4, n, 1, 1, 1)
    # 3. Texture coordinates.
    u, v = _turned(dice, dx, dy)
    frequency = dice.uniform(n, low=1.5, high=3.0) / size
    return Surface(mask, shade, shine, u, v, frequency.clamp(max=FINEST), dice.uniform(n, high=6.28))


def scatter(
    canvas: Canvas, dice: Dice, x: Tensor, y: Tensor, size: tuple[float, float], p: float
) -> tuple[Tensor, Tensor]:
    """A nameless spot of any colour, which no caption mentions: its colours (B, 3, px, px) and mask (B, 1, px, px).

    ``size``: range of its half-side. ``p``: probability that there is a spot.
    """
    n = len(x)
    noun = torch.full((n,), OTHER_SHAPE, device=x.device)
    half = dice.uniform(n, low=size[0], high=size[1])
    spot = object_(canvas, dice, x, y, noun, half, dice.uniform(n, 2, low=-0.7, high=0.7))
    return dice.uniform(n, 3, 1, 1) * spot.shade, spot.mask * dice.chance(p, n, 1, 1, 1)


def finish(dice: Dice, n: int, px: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw one camera's imperfections per scene: gamma, tint, blur (bool) and grain."""
    gamma = torch.exp(0.1 * dice.normal(n, 1, 1, 1))
    tint = 1 + 0.03 * dice.normal(n, 3, 1, 1)
    grain = 0.02 * dice.normal(n, 1, 1, 1).abs() * dice.normal(n, 3, px, px)
    return gamma, tint, dice.chance(0.35, n, 1, 1, 1), grain


def develop(picture: Tensor, finish: Sequence[Tensor]) -> Tensor:
    """``picture`` (B, 3, px, px) with the imperfections ``finish``, in [0, 1]."""
    gamma, tint, blur, grain = finish
    out = picture.clamp(1e-4, 1) ** gamma * tint
    out = torch.where(blur, F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, 1), out)
    return (out + grain).clamp(0, 1)


def other_than(dice: Dice, value: Tensor, n: int) -> Tensor:
    """For each of ``value`` (B,), a random different index in [0, n)."""
    return (value + 1 + dice.below(n - 1, len(value))) % n
