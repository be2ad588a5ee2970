"""What the fit learns: two textures, where each pixel of each frame lies on them, and the foreground's opacity.

Plain PyTorch on three small ideas: pictures are sums of levels, each twice as coarse as the one before; a mapping is a
known matrix a frame plus a small linear correction plus a control grid over (time, y, x); everything can be rendered
at a part of the working size, where only the coarser levels take part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2l_cli.engine.motion.camera import Array, apply
from t2l_cli.engine.motion.flow import pixel_centres

Size = tuple[int, int]
COARSER = 3  # levels of a picture beyond the coarsest that is rendered
UNIT = 8.0  # px that a mapping's parameter of 1 moves a point by (a linear one: at the frame's left and right edge)
MAX_TEXTURE = 8192  # texels along a side


class Pyramid(nn.Module):
    """Pictures (N, C, h, w) as a sum of levels; level k has 1 / 2^k of the size."""

    def __init__(self, n: int, channels: int, size: Size, levels: int) -> None:
        super().__init__()
        self.sizes = [level_size(size, k) for k in range(levels)]
        self.levels = nn.ParameterList([nn.Parameter(torch.zeros(n, channels, *s)) for s in self.sizes])

    def forward(self, level: int = 0, index: Tensor | None = None) -> Tensor:
        """The sum of ``level`` and all coarser ones, at its size; of the pictures ``index``."""
        total: Tensor | None = None
        for k in range(len(self.levels) - 1, level - 1, -1):
            own = self.levels[k] if index is None else self.levels[k][index]
            total = own if total is None else own + resize(total, self.sizes[k])
        assert total is not None
        return total

    @torch.no_grad()
    def show(self, pictures: Tensor, level: int) -> None:
        """Change ``level`` so that the sum there is ``pictures`` (N, C, h, w) of its size."""
        self.levels[level].add_(pictures - self(level))


class Mapping(nn.Module):
    """From frames to reference px: known ``matrices`` (T, 3, 3), corrected by what is learned. ``size``: (h, w) px."""

    base: Tensor

    def __init__(self, matrices: Array, size: Size, grid: tuple[int, int, int], centre: tuple[float, float]) -> None:
        """``grid``: control points over (time, y, x). ``centre``: of the layer, in reference px."""
        super().__init__()
        self.size = size
        self.register_buffer("base", torch.from_numpy(matrices).float())
        self.register_buffer("centre", torch.tensor(centre))
        self.linear = nn.Parameter(torch.zeros(len(matrices), 6))
        self.grid = nn.Parameter(torch.zeros(1, 2, *grid))

    def displacement(self) -> Tensor:
        """(T, 2, gh, gw) px: the control points of every frame."""
        size = (len(self.base), self.grid.shape[-2], self.grid.shape[-1])
        fine = F.interpolate(self.grid, size=size, mode="trilinear", align_corners=True)
        return fine[0].transpose(0, 1) * UNIT

    def forward(self, index: Tensor, size: Size, displacement: Tensor | None = None) -> Tensor:
        """(B, h, w, 2) reference px of the pixel centres of the frames ``index``, seen at ``size`` = (h, w)."""
        points = pixel_centres(size, self.base.device)
        points = (points + 0.5) * points.new_tensor([self.size[1] / size[1], self.size[0] / size[0]]) - 0.5
        placed = apply(self.base[index], points)
        own = self.linear[index]
        offset = (placed - self.get_buffer("centre")) / (self.size[1] / 2)
        linear = torch.einsum("bhwj,bij->bhwi", offset, own[:, :4].reshape(-1, 2, 2)) + own[:, None, None, 4:]
        control = (self.displacement() if displacement is None else displacement)[index]
        bent = F.interpolate(control, size=size, mode="bicubic", align_corners=True)
        return placed + UNIT * linear + bent.permute(0, 2, 3, 1)


class LayerField(nn.Module):
    """One layer: its mapping and its texture, which covers ``box`` = (left, top, right, bottom) reference px."""

    def __init__(
        self,
        matrices: Array,
        size: Size,
        grid: tuple[int, int, int],
        box: tuple[float, ...],
        density: float,
        levels: int,
    ) -> None:
        """``density``: texels along a reference px, lowered where the texture would be too large."""
        super().__init__()
        left, top, right, bottom = box
        self.origin, self.extent = (left, top), (right - left, bottom - top)
        self.density = min(density, MAX_TEXTURE / (max(self.extent) + 1))
        self.mapping = Mapping(matrices, size, grid, ((left + right) / 2, (top + bottom) / 2))
        self.texture = Pyramid(1, 3, self.texture_size(), levels + COARSER)

    def texture_size(self, finer: float = 1.0) -> Size:
        """(H_a, W_a) of the texture, ``finer`` times as dense."""
        width, height = (max(4, math.ceil(e * self.density * finer) + 1) for e in self.extent)
        return height, width

    def uv(self, coordinates: Tensor, size: Size) -> Tensor:
        """Texels (x, y) of reference px ``coordinates`` (..., 2) on the texture, stored at ``size`` (H_a, W_a)."""
        whole = self.texture_size()
        texel = (coordinates - coordinates.new_tensor(self.origin)) * self.density
        return (texel + 0.5) * texel.new_tensor([size[1] / whole[1], size[0] / whole[0]]) - 0.5


class Field(nn.Module):
    """The whole model of a video. ``foreground`` is None where nothing but the camera moves."""

    def __init__(
        self, background: LayerField, foreground: LayerField | None, frames: int, size: Size, levels: int
    ) -> None:
        super().__init__()
        self.background, self.foreground, self.size = background, foreground, size
        self.opacity = Pyramid(frames, 1, size, levels + COARSER - 1) if foreground else None

    def layers(self) -> Iterator[LayerField]:
        """Background, then foreground if there is one."""
        yield self.background
        if self.foreground is not None:
            yield self.foreground

    def alpha(self, index: Tensor, level: int = 0) -> Tensor:
        """(B, 1, h, w): opacity of the foreground in the frames ``index`` at a level's size."""
        if self.opacity is None:
            return torch.zeros(len(index), 1, *level_size(self.size, level), device=index.device)
        return torch.sigmoid(self.opacity(level, index))


def level_size(size: Size, level: int) -> Size:
    """``size`` at 1 / 2^level."""
    return max(2, math.ceil(size[0] / 2**level)), max(2, math.ceil(size[1] / 2**level))


def resize(x: Tensor, size: Size) -> Tensor:
    """``x`` (N, C, h, w) at ``size``, bilinear."""
    return x if tuple(x.shape[-2:]) == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def back_project(values: Tensor, weight: Tensor, uv: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Add what ``sample`` reads back onto the texels it came from: (C, H_a, W_a) sums and (H_a, W_a) weights.

    values: (C, N); weight: (N,); uv: (N, 2) texels. The transpose of bilinear reading.
    """
    grid = ((uv + 0.5) * uv.new_tensor([2 / size[1], 2 / size[0]]) - 1)[None, None]
    weight = weight * (grid.abs() <= 1).all(-1)[0, 0]  # beyond the border the nearest texel must not pile it up
    weighted = torch.cat([values * weight, weight[None]])[None, :, None]
    texels = torch.zeros(1, weighted.shape[1], *size, device=uv.device)
    with torch.enable_grad():  # splatting is sampling's transpose, which is what its gradient computes
        seen = F.grid_sample(texels.requires_grad_(), grid, padding_mode="border", align_corners=False)
    (total,) = torch.autograd.grad(seen, texels, weighted)
    total = total[0]
    return total[:-1], total[-1]
