"""Videos whose decomposition is known exactly: drawn from two textures by formulas, in float64.

    truth = make_truth((160, 90), 24)
    truth.frames, truth.alpha, truth.uv["background"], truth.texture["background"]
    truth.atlas()                      the Atlas that an importer or a fit should find
    truth.seen("foreground", t, q)     where the surface point at texel q is in frame t

The foreground is a rounded blob with a pattern, or of one colour, that moves, turns and grows, on request wobbles, or
leaves the frame and comes back; the background is a textured ground under a camera that pans, turns and zooms, or
stands still, with parallax on request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from t2l_cli.config import LAYERS, LayerName
from t2l_cli.engine.atlas.model import Atlas, AtlasLayer, VideoIdentity, used_texels

Array = npt.NDArray[np.float64]
Motion = Callable[[int, Array], Array]  # frame t and places (..., 2) in px -> places on the surface, or back

RELIEF = 0.06  # parallax: how far a hill moves from one end of the video to the other, in parts of the longer side
WOBBLE = 0.012  # how far the blob's surface bends, in parts of the longer side
MARGIN = 4  # texels around what the video shows


@dataclass(frozen=True)
class TruthVideo:
    """A video and how it was made. Coordinates are texels (x, y) of the layer's texture, its first centre at (0, 0)."""

    frames: npt.NDArray[np.uint8]  # (T, H, W, 3)
    alpha: Array  # (T, H, W), the foreground's opacity
    uv: dict[LayerName, Array]  # (T, H, W, 2)
    texture: dict[LayerName, Array]  # (H_a, W_a, 3) in [0, 1]
    _back: dict[LayerName, Motion]  # texels -> px

    @property
    def identity(self) -> VideoIdentity:
        """Frames and size, at 24 frames a second."""
        frames, height, width = self.alpha.shape
        return VideoIdentity(frames, width, height, 24.0)

    def tensor(self) -> torch.Tensor:
        """The frames as the engine takes them, (T, 3, H, W) uint8."""
        return torch.from_numpy(self.frames).permute(0, 3, 1, 2).contiguous()

    def exact(self, t: int) -> Array:
        """Frame ``t`` before it was rounded to 8 bits, (H, W, 3)."""
        front, back = (bilinear(self.texture[name], self.uv[name][t]) for name in LAYERS)
        return self.alpha[t, ..., None] * front + (1 - self.alpha[t, ..., None]) * back

    def seen(self, name: LayerName, t: int, q: Array) -> Array:
        """Where the surface points at texels ``q`` (..., 2) of the layer are in frame ``t``: px (..., 2)."""
        return self._back[name](t, np.asarray(q, np.float64))

    def atlas(self) -> Atlas:
        """The decomposition in the program's own terms, float32."""
        alpha = torch.from_numpy(self.alpha).float()
        layers = []
        for name, share in zip(LAYERS, (alpha, 1 - alpha), strict=True):
            uv = torch.from_numpy(self.uv[name]).float()
            texture = torch.from_numpy(self.texture[name]).float().permute(2, 0, 1).contiguous()
            layers.append(AtlasLayer(texture, uv, used_texels(uv, share, (texture.shape[1], texture.shape[2]))))
        return Atlas(*layers, alpha, self.identity, {"maker": "truth"})


def make_truth(
    size: tuple[int, int] = (160, 90),
    frames: int = 24,
    *,
    camera: Literal["pan", "static"] = "pan",
    foreground: bool = True,
    path: Literal["arc", "away"] = "arc",
    wobble: bool = False,
    parallax: bool = False,
    plain: bool = False,
    density: float = 1.0,
    seed: int = 0,
) -> TruthVideo:
    """Draw a video of ``size`` (width, height) px; ``density`` is the texels a px of both textures.

    camera: "pan" also turns and zooms a little. foreground: without it alpha is 0 everywhere. path: "away" leaves the
    frame on the right and comes back, out of sight for some frames. wobble: its surface bends as jelly does.
    parallax: hills of the ground move against it with the camera, which no homography explains.
    plain: the blob is blue all over.
    """
    width, height = size
    random = np.random.default_rng(seed)
    ground, ground_back = _ground(size, frames, camera == "pan", parallax)
    blob, blob_back = _blob(size, frames, path == "away", wobble)
    place = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float64)
    surface = {
        "foreground": np.stack([blob(t, place) for t in range(frames)]),
        "background": np.stack([ground(t, place) for t in range(frames)]),
    }
    alpha = np.stack([_opacity(surface["foreground"][t], size, t, frames) for t in range(frames)]) * foreground
    back = {"foreground": blob_back, "background": ground_back}
    uv: dict[LayerName, Array] = {}
    texture: dict[LayerName, Array] = {}
    texels_back: dict[LayerName, Motion] = {}
    for name, paint in (("foreground", _plain if plain else _pattern), ("background", _landscape)):
        # the foreground's texture holds the blob, not all that its motion says of pixels far from it
        shown = surface[name][alpha > 0] if name == "foreground" and foreground else surface[name].reshape(-1, 2)
        corner = np.floor(density * shown.min(0)) - MARGIN
        extent = (np.ceil(density * shown.max(0)) + MARGIN - corner + 1).astype(int)
        uv[name] = density * surface[name] - corner
        texture[name] = paint(random, extent[0], extent[1], density * max(size))
        texels_back[name] = _unscaled(back[name], density, corner)
    drawn = TruthVideo(np.zeros((frames, height, width, 3), np.uint8), alpha, uv, texture, texels_back)
    for t in range(frames):
        drawn.frames[t] = np.rint(255 * drawn.exact(t))
    return drawn


def bilinear(texture: Array, uv: Array) -> Array:
    """``texture`` (H, W, C) at ``uv`` (..., 2) texels (x, y), beyond the border the nearest one: (..., C), float64."""
    texture = np.asarray(texture, np.float64)
    height, width = texture.shape[:2]
    x, y = np.clip(uv[..., 0], 0, width - 1), np.clip(uv[..., 1], 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (x - left)[..., None], (y - top)[..., None]
    upper = (1 - a) * texture[top, left] + a * texture[top, right]
    return (1 - b) * upper + b * ((1 - a) * texture[bottom, left] + a * texture[bottom, right])


def _unscaled(back: Motion, density: float, corner: Array) -> Motion:
    return lambda t, q: back(t, (q + corner) / density)


def _turn(angle: float) -> Array:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _ground(size: tuple[int, int], frames: int, moving: bool, parallax: bool) -> tuple[Motion, Motion]:
    """Frame to ground and back: the camera pans by 0.3 of the width, turns by 5 degrees and zooms by 12 %."""
    centre = np.array(size) / 2

    def camera(t: int) -> tuple[Array, Array]:
        part = t / max(1, frames - 1) - 0.5 if moving else 0.0
        shift = np.array([0.3 * size[0] * part, 0.08 * size[1] * np.sin(2 * np.pi * part)])
        return (1 + 0.12 * part) * _turn(np.radians(5) * part), shift

    def relief(t: int, q: Array) -> Array:
        part = t / max(1, frames - 1) - 0.5 if parallax else 0.0
        hill = np.exp(-((q / (0.22 * max(size))) ** 2).sum(-1)) - 0.6 * np.exp(
            -(((q - 0.3 * centre) / (0.15 * max(size))) ** 2).sum(-1)
        )
        return np.stack([RELIEF * max(size) * part * hill, np.zeros_like(hill)], -1)

    def forward(t: int, p: Array) -> Array:
        matrix, shift = camera(t)
        q = (p - centre) @ matrix.T + shift
        return q + relief(t, q)

    def backward(t: int, q: Array) -> Array:
        matrix, shift = camera(t)
        flat = q
        for _ in range(60):  # the relief is flat enough for this to contract
            flat = q - relief(t, flat)
        return (flat - shift) @ np.linalg.inv(matrix).T + centre

    return forward, backward


def _blob(size: tuple[int, int], frames: int, away: bool, wobbles: bool) -> tuple[Motion, Motion]:
    """Frame to the blob's plane and back: it crosses 0.4 of the width on an arc, turns 40 degrees and grows 15 %."""

    def pose(t: int) -> tuple[Array, Array]:
        part = t / max(1, frames - 1) - 0.5
        along = 0.65 + 0.65 * (1 - abs(2 * part)) if away else 0.5 - 0.4 * part
        centre = np.array([size[0] * along, size[1] * (0.5 + 0.15 * np.cos(np.pi * part) - 0.1)])
        return (1 + 0.15 * part) * _turn(np.radians(40) * part), centre

    def bend(t: int, q: Array) -> Array:
        waves = 2 * np.pi * (q[..., ::-1] / (0.8 * min(size)) + 1.5 * t / max(1, frames - 1))
        return WOBBLE * max(size) * wobbles * np.sin(waves)

    def forward(t: int, p: Array) -> Array:
        matrix, centre = pose(t)
        q = (p - centre) @ np.linalg.inv(matrix).T
        return np.asarray(q + bend(t, q))

    def backward(t: int, q: Array) -> Array:
        matrix, centre = pose(t)
        stiff = q
        for _ in range(60):  # the waves are long enough for this to contract
            stiff = q - bend(t, stiff)
        return stiff @ matrix.T + centre

    return forward, backward


def _opacity(q: Array, size: tuple[int, int], t: int, frames: int) -> Array:
    """(H, W): 1 inside the blob's outline, 0 outside, with an edge of a px."""
    angle = np.arctan2(q[..., 1], q[..., 0])
    radius = 0.3 * min(size) * (1 + 0.12 * np.cos(3 * angle) + 0.06 * np.sin(2 * angle))
    scale = 1 + 0.15 * (t / max(1, frames - 1) - 0.5)  # px a unit of the blob's plane
    return np.clip(0.5 + scale * (radius - np.hypot(q[..., 0], q[..., 1])), 0, 1)


def _noise(random: np.random.Generator, width: int, height: int, coarsest: float) -> Array:
    """(height, width) in [0, 1]: smooth noise of octaves, each half as coarse and 0.6 as strong, down to 3 texels."""
    total = np.zeros((height, width))
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float64)
    step, strength = coarsest, 1.0
    while step >= 3:
        nodes = random.random((int(height / step) + 3, int(width / step) + 3, 1))
        at = grid / step
        cell = np.floor(at)
        total += strength * bilinear(nodes, cell + _ease(at - cell))[..., 0]
        step, strength = step / 2, strength * 0.6
    return (total - total.min()) / (total.max() - total.min())


def _ease(x: Array) -> Array:
    return x * x * (3 - 2 * x)


def _landscape(random: np.random.Generator, width: int, height: int, unit: float) -> Array:
    """A mottled green and brown ground with dark round stones; ``unit`` texels are the frame's longer side."""
    rough, tint = _noise(random, width, height, unit / 8), _noise(random, width, height, unit / 4)
    colours = np.array([[0.25, 0.45, 0.2], [0.6, 0.5, 0.35]])
    picture = (colours[0] + tint[..., None] * (colours[1] - colours[0])) * (0.5 + 0.9 * rough[..., None])
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    for _ in range(int(25 * width * height / unit**2) + 1):
        at, radius = random.random(2) * (width, height), unit * random.uniform(0.012, 0.03)
        inside = np.clip(0.5 + 0.7 * (radius - np.hypot(x - at[0], y - at[1])), 0, 1)[..., None]
        picture += inside * (random.uniform(0.1, 0.9) * np.array([0.9, 0.95, 1.0]) - picture)
    return np.clip(picture, 0, 1)


def _pattern(random: np.random.Generator, width: int, height: int, unit: float) -> Array:
    """Orange and blue waves, mottled."""
    rough, bend = _noise(random, width, height, unit / 12), _noise(random, width, height, unit / 5)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (x + 0.6 * y) / (unit / 9) + 5 * bend)
    colours = np.array([[0.9, 0.45, 0.1], [0.15, 0.25, 0.8]])
    return np.clip((colours[0] + wave[..., None] * (colours[1] - colours[0])) * (0.65 + 0.6 * rough[..., None]), 0, 1)


def _plain(random: np.random.Generator, width: int, height: int, unit: float) -> Array:
    """Blue, mottled."""
    rough = _noise(random, width, height, unit / 12)
    return np.clip(np.array([0.15, 0.25, 0.8]) * (0.65 + 0.6 * rough[..., None]), 0, 1)
