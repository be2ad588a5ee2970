"""Silhouettes for mini's pictures: outlines defined in code, bent at random, and inflated to a relief.

``ShapeBank`` holds, for every silhouette, a signed distance (positive inside) and the normals of a pillow of its shape;
a scene samples both under an affine map. Coordinates are in [-1, 1], with y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from mini.vocabulary import NOUNS, OTHER_SHAPE

SIDE = 96  # px of a stored silhouette
_SUPERSAMPLE = 4

Points = NDArray[np.float64]  # (N, 2)
Rng = np.random.Generator


def _ellipse(cx: float, cy: float, rx: float, ry: float, n: int = 64) -> Points:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1)


def _polygon(*xy: float) -> Points:
    """The corners, with points added along the edges so that bending the plane bends the edges: (N, 2)."""
    corners = np.array(xy, dtype=np.float64).reshape(-1, 2)
    steps = np.linspace(0, 1, 12, endpoint=False)[None, :, None]
    return (corners[:, None] * (1 - steps) + np.roll(corners, -1, 0)[:, None] * steps).reshape(-1, 2)


def _star(tips: int, inner: float) -> Points:
    angle = np.arange(2 * tips) * np.pi / tips
    radius = np.where(np.arange(2 * tips) % 2 == 0, 0.85, inner)
    return _polygon(*np.stack([radius * np.sin(angle), -radius * np.cos(angle)], 1).ravel())


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3 / 20, -(y + 2) / 20], 1)


def _profile(radii: list[float]) -> Points:
    """The outline of a body of revolution (vase, bottle), from its radii, top to bottom: (N, 2)."""
    y = np.linspace(-0.8, 0.8, len(radii))
    fine = np.linspace(-0.8, 0.8, 40)
    r = np.interp(fine, y, radii)
    r = np.convolve(np.pad(r, 2, mode="edge"), np.ones(5) / 5, "valid")
    return np.concatenate([np.stack([r, fine], 1), np.stack([-r, fine], 1)[::-1]])


def _radial(rng: Rng, base: float = 0.62, wobble: float = 0.24) -> Points:
    k = np.arange(2, 7)
    a, b = rng.normal(size=5) / k * wobble * 1.6, rng.uniform(0, 2 * np.pi, 5)
    t = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    r = base * np.clip(1 + (a * np.cos(k * t[:, None] + b)).sum(1), 0.35, 1.45)
    return np.stack([r * np.cos(t), r * np.sin(t)], 1)


def _many_sided(rng: Rng) -> Points:
    angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 9)))
    radius = rng.uniform(0.45, 0.9, len(angle))
    return _polygon(*np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel())


Outline = list[tuple[Points, bool]]  # (contour, filled), drawn in order; False cuts a hole


def _solid(*contours: Points) -> Outline:
    return [(c, True) for c in contours]


def _cup(rng: Rng) -> Outline:
    foot = rng.uniform(0.24, 0.44)
    body = _polygon(-0.55, -0.55, 0.4, -0.55, foot - 0.05, 0.6, -foot - 0.1, 0.6)
    return [(_ellipse(0.46, -0.05, 0.32, 0.34), True), (_ellipse(0.46, -0.05, 0.18, 0.2), False), (body, True)]


def _car(rng: Rng) -> Outline:
    roof = rng.uniform(0.25, 0.45)
    body = _polygon(
        -0.9, 0.3, -0.9, -0.02, -0.5, -0.08, -0.3, -0.12 - roof, 0.3, -0.12 - roof, 0.55, -0.08, 0.88, 0.02, 0.9, 0.3
    )
    return _solid(body, _ellipse(-0.5, 0.32, 0.19, 0.19), _ellipse(0.5, 0.32, 0.19, 0.19))


def _bird(rng: Rng) -> Outline:
    wing = rng.uniform(0.3, 0.65)
    return _solid(
        _ellipse(0, 0.1, 0.5, 0.3), _ellipse(0.48, -0.2, 0.22, 0.22), _polygon(0.62, -0.3, 0.94, -0.16, 0.62, -0.06),
        _polygon(-0.35, 0, -0.92, -0.18, -0.85, 0.2, -0.4, 0.28), _polygon(-0.2, 0.05, 0.2, 0, -0.25, -wing),
        _polygon(-0.06, 0.3, 0, 0.3, 0, 0.72, -0.06, 0.72), _polygon(0.1, 0.3, 0.16, 0.3, 0.16, 0.72, 0.1, 0.72),
    )  # fmt: skip


def _cat(rng: Rng) -> Outline:
    ear = rng.uniform(0.55, 0.8)
    if rng.random() < 0.5:  # a face
        ears = _polygon(-0.6, 0.05, -0.56, -ear, -0.08, -0.35), _polygon(0.6, 0.05, 0.56, -ear, 0.08, -0.35)
        return _solid(_ellipse(0, 0.12, 0.64, 0.54), *ears)
    head = _ellipse(0.05, -0.38, 0.3, 0.26)
    ears = _polygon(-0.22, -0.42, -0.2, -0.85, 0.08, -0.58), _polygon(0.32, -0.42, 0.3, -0.85, 0.02, -0.58)
    tail = _polygon(-0.3, 0.6, -0.75, 0.5, -0.85, 0.05, -0.72, 0.05, -0.62, 0.4, -0.3, 0.45)
    return _solid(head, _ellipse(0, 0.3, 0.42, 0.52), *ears, tail)


def _flower(rng: Rng) -> Outline:
    n = int(rng.integers(5, 8))
    angle = np.arange(n) * 2 * np.pi / n
    petals = [_ellipse(0.42 * math.cos(a), 0.42 * math.sin(a), 0.3, 0.3) for a in angle]
    return _solid(_ellipse(0, 0, 0.34, 0.34), *petals)


def _tree(rng: Rng) -> Outline:
    trunk = _polygon(-0.1, 0.2, 0.1, 0.2, 0.12, 0.85, -0.12, 0.85)
    if rng.random() < 0.4:
        return _solid(trunk, _polygon(0, -0.85, 0.55, 0.3, -0.55, 0.3))
    return _solid(
        trunk, _ellipse(0, -0.3, 0.5, 0.5), _ellipse(-0.35, -0.02, 0.32, 0.32), _ellipse(0.35, -0.02, 0.32, 0.32)
    )


def _apple(rng: Rng) -> Outline:
    stem = _polygon(-0.03, -0.5, -0.02, -0.82, 0.1, -0.85, 0.05, -0.5)
    return _solid(_ellipse(-0.26, 0.06, 0.42, 0.56), _ellipse(0.26, 0.06, 0.42, 0.56), stem)


def _vase(rng: Rng) -> Outline:
    belly, neck = rng.uniform(0.4, 0.62), rng.uniform(0.14, 0.26)
    return _solid(_profile([neck + 0.12, neck, neck + 0.06, belly, belly, belly * 0.7, 0.24]))


def _fish(rng: Rng) -> Outline:
    fat = rng.uniform(0.28, 0.42)
    tail, fin = (
        _polygon(-0.3, 0, -0.85, -0.4, -0.72, 0, -0.85, 0.4),
        _polygon(-0.1, -fat * 0.8, 0.35, -fat * 0.7, 0, -fat - 0.25),
    )
    return _solid(_ellipse(0.15, 0, 0.6, fat), tail, fin)


def _boat(rng: Rng) -> Outline:
    hull = _polygon(-0.85, 0.3, 0.85, 0.3, 0.5, 0.72, -0.55, 0.72)
    mast = _polygon(-0.05, -0.8, 0.03, -0.8, 0.03, 0.35, -0.05, 0.35)
    return _solid(hull, mast, _polygon(0.06, -0.75, 0.7, 0.2, 0.06, 0.2), _polygon(-0.1, -0.5, -0.55, 0.2, -0.1, 0.2))


def _ring(rng: Rng) -> Outline:
    hole = rng.uniform(0.36, 0.52)
    return [(_ellipse(0, 0, 0.8, 0.8), True), (_ellipse(0, 0, hole, hole), False)]


def _other(rng: Rng) -> Outline:
    """A silhouette that no noun of the vocabulary names."""
    pick = rng.integers(4)
    if pick == 0:
        return _solid(_radial(rng))
    if pick == 1:
        return _solid(_many_sided(rng))
    if pick == 2:
        return _solid(_profile(list(rng.uniform(0.12, 0.7, 6))))
    return _solid(*(_ellipse(*rng.uniform(-0.4, 0.4, 2), *rng.uniform(0.2, 0.5, 2)) for _ in range(4)))


_DRAWERS: dict[str, Callable[[Rng], Outline]] = {
    "ball": lambda rng: _solid(_ellipse(0, 0, 0.8, 0.8)),
    "box": lambda rng: _solid(_polygon(-0.68, -0.68, 0.68, -0.68, 0.68, 0.68, -0.68, 0.68)),
    "triangle": lambda rng: _solid(_polygon(0, -0.8, 0.8, 0.62, -0.8, 0.62)),
    "star": lambda rng: _solid(_star(5, rng.uniform(0.3, 0.42))),
    "ring": _ring,
    "heart": lambda rng: _solid(_heart()),
    "cup": _cup,
    "vase": _vase,
    "cat": _cat,
    "bird": _bird,
    "fish": _fish,
    "car": _car,
    "boat": _boat,
    "apple": _apple,
    "flower": _flower,
    "tree": _tree,
}


def _bend(points: Points, rng: Rng, amount: float) -> Points:
    """``points`` displaced by a smooth random field: two low-frequency waves per coordinate."""
    out = points.copy()
    for axis in range(2):
        for _ in range(2):
            k, phase = rng.normal(size=2) * 2.2, rng.uniform(0, 2 * np.pi)
            out[:, axis] += amount * np.sin(points @ k + phase)
    return out


def silhouette(noun: int, rng: Rng, bend: float = 0.05) -> NDArray[np.bool_]:
    """Draw one silhouette: a mask (SIDE, SIDE). ``noun``: an index of NOUNS, or OTHER_SHAPE for a nameless shape."""
    outline = _other(rng) if noun == OTHER_SHAPE else _DRAWERS[NOUNS[noun]](rng)
    big = SIDE * _SUPERSAMPLE
    image = Image.new("L", (big, big), 0)
    draw = ImageDraw.Draw(image)
    wave = rng.integers(2**31)
    for contour, filled in outline:
        bent = _bend(contour, np.random.default_rng(wave), bend)
        draw.polygon([((x * 0.5 + 0.5) * big, (y * 0.5 + 0.5) * big) for x, y in bent], fill=255 if filled else 0)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)) > 127


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    from scipy.ndimage import distance_transform_edt  # a training dependency only

    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    distance: NDArray[np.float32] = ((inside - outside) / (SIDE / 2)).astype(np.float32)
    return distance


def _inflate(masks: Tensor, rounds: int = 250) -> Tensor:
    """Normals (N, 3, S, S) of a pillow over each mask (N, 1, S, S), of height sqrt(h) with nabla^2 h = -1 (Poisson)."""
    kernel = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])[None, None] / 4
    height = torch.zeros_like(masks)
    for _ in range(rounds):
        height = (F.conv2d(height, kernel, padding=1) + (2 / SIDE) ** 2 / 4 * 4) * masks
    height = height.clamp(min=0).sqrt() * 1.4
    dx = F.pad(height[..., :, 2:] - height[..., :, :-2], (1, 1, 0, 0)) * SIDE / 4
    dy = F.pad(height[..., 2:, :] - height[..., :-2, :], (0, 0, 1, 1)) * SIDE / 4
    return F.normalize(torch.cat([-dx.clamp(-3, 3), -dy.clamp(-3, 3), torch.ones_like(dx)], 1), dim=1)


class ShapeBank:
    """Many bent copies of every silhouette.

    ``maps`` (N, 4, SIDE, SIDE): signed distance in units of half a side, then the unit normal.
    """

    def __init__(self, masks: NDArray[np.bool_], nouns: list[int], device: torch.device | str = "cpu") -> None:
        """``masks``: (N, SIDE, SIDE). ``nouns``: an index of NOUNS or OTHER_SHAPE per mask, equal ones adjacent."""
        distance = torch.from_numpy(np.stack([_signed_distance(m) for m in masks]))[:, None]
        normals = _inflate(torch.from_numpy(masks).float()[:, None])
        self.maps = torch.cat([distance, normals], 1).to(device)
        rows = torch.tensor(nouns, device=device)
        every = torch.arange(OTHER_SHAPE + 1, device=device)
        self._count = (rows[None] == every[:, None]).sum(1)
        self._first = (rows[None] == every[:, None]).long().argmax(1)

    @classmethod
    def drawn(cls, seed: int, copies: int = 10, others: int = 80, device: torch.device | str = "cpu") -> ShapeBank:
        """Draw ``copies`` silhouettes of each noun, each bent differently, and ``others`` without a noun."""
        rng = np.random.default_rng(seed)
        nouns = [n for n in range(len(NOUNS)) for _ in range(copies)] + [OTHER_SHAPE] * others
        masks = []
        for noun in nouns:
            mask = silhouette(noun, rng)
            while not 0.08 < mask.mean() < 0.75:
                mask = silhouette(noun, rng)
            masks.append(mask)
        return cls(np.stack(masks), nouns, device)

    def pick(self, nouns: Tensor, uniform: Tensor) -> Tensor:
        """Rows of ``maps`` (B,), one per noun (B,), chosen by ``uniform`` (B,) in [0, 1)."""
        return self._first[nouns] + (uniform * self._count[nouns]).long()
