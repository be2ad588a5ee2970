"""The model that is fitted: two textures, the position of each pixel of each frame on them, and the opacity.

Plain PyTorch with three ideas: a picture is a sum of levels, each with half the resolution of the one before; a mapping
is a known matrix per frame plus a small linear correction plus a control grid over (time, y, x); everything can be
rendered at 1 / 2^k of the working size, from the coarser levels alone.
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
COARSER = 3  # additional levels of a picture below the coarsest that is rendered
UNIT = 8.0  # px by which a mapping parameter of 1 moves a point (for a linear one: at the frame's left or right edge)
MAX_TEXTURE = 8192  # maximum texels along a side


class Pyramid(nn.Module):
    """N pictures (N, C, h, w) as sums of levels; level k has 1 / 2^k of the size."""

    def __init__(self, n: int, channels: int, size: Size, levels: int) -> None:
        super().__init__()
        self.sizes = [level_size(size, k) for k in range(levels)]
        self.levels = nn.ParameterList([nn.Parameter(torch.zeros(n, channels, *s)) for s in self.sizes])

    def forward(self, level: int = 0, index: Tensor | None = None) -> Tensor:
        """The sum of ``level`` and all coarser ones, at the size of ``level``: (N, C, h, w).

        ``index``: (B,), the pictures to return; None: all.
        """
        total: Tensor | None = None
        for k in range(len(self.levels) - 1, level - 1, -1):
            own = self.levels[k] if index is None else self.levels[k][index]
            total = own if total is None else own + resize(total, self.sizes[k])
        assert total is not None
        return total

    @torch.no_grad()
    def show(self, pictures: Tensor, level: int) -> None:
        """Change ``level`` so that the sum at it is ``pictures`` (N, C, h, w), which have its size."""
        self.levels[level].add_(pictures - self(level))


class Mapping(nn.Module):
    """Maps px of frames of ``size`` (h, w) to reference px: known ``matrices`` (T, 3, 3) plus a learned correction."""

    base: Tensor

    def __init__(self, matrices: Array, size: Size, grid: tuple[int, int, int], centre: tuple[float, float]) -> None:
        """``grid``: number of control points along (time, y, x). ``centre``: (x, y) of the layer, in reference px."""
        super().__init__()
        self.size = size
        self.register_buffer("base", torch.from_numpy(matrices).float())
        self.register_buffer("centre", torch.tensor(centre))
        self.linear = nn.Parameter(torch.zeros(len(matrices), 6))
        self.grid = nn.Parameter(torch.zeros(1, 2, *grid))

    def displacement(self) -> Tensor:
        """The control points of every frame, (T, 2, gh, gw) px."""
        size = (len(self.base), self.grid.shape[-2], self.grid.shape[-1])
        fine = F.interpolate(self.grid, size=size, mode="trilinear", align_corners=True)
        return fine[0].transpose(0, 1) * UNIT

    def forward(self, index: Tensor, size: Size, displacement: Tensor | None = None) -> Tensor:
        """Reference px (B, h, w, 2) of the pixel centres of the frames ``index`` (B,) at ``size`` = (h, w)."""
        # 1. The known matrices.
        points = pixel_centres(size, self.base.device)  # (h, w, 2)
        points = (points + 0.5) * points.new_tensor([self.size[1] / size[1], self.size[0] / size[0]]) - 0.5
        placed = apply(self.base[index], points)  # (B, h, w, 2)
        # 2. The linear correction of each frame.
        own = self.linear[index]  # (B, 6)
        offset = (placed - self.get_buffer("centre")) / (self.size[1] / 2)
        linear = torch.einsum("bhwj,bij->bhwi", offset, own[:, :4].reshape(-1, 2, 2)) + own[:, None, None, 4:]
        # 3. The control grid.
        control = (self.displacement() if displacement is None else displacement)[index]  # (B, 2, gh, gw)
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
        """``density``: texels per reference px along an axis, lowered if the texture would exceed MAX_TEXTURE."""
        super().__init__()
        left, top, right, bottom = box
        self.origin, self.extent = (left, top), (right - left, bottom - top)
        self.density = min(density, MAX_TEXTURE / (max(self.extent) + 1))
        self.mapping = Mapping(matrices, size, grid, ((left + right) / 2, (top + bottom) / 2))
        self.texture = Pyramid(1, 3, self.texture_size(), levels + COARSER)

    def texture_size(self, finer: float = 1.0) -> Size:
        """(H_a, W_a) of the texture at ``finer`` times its density."""
        width, height = (max(4, math.ceil(e * self.density * finer) + 1) for e in self.extent)
        return height, width

    def uv(self, coordinates: Tensor, size: Size) -> Tensor:
        """Texels (x, y) of reference px ``coordinates`` (..., 2), on the texture at ``size`` = (H_a, W_a)."""
        whole = self.texture_size()
        texel = (coordinates - coordinates.new_tensor(self.origin)) * self.density
        return (texel + 0.5) * texel.new_tensor([size[1] / whole[1], size[0] / whole[0]]) - 0.5


class Field(nn.Module):
    """The whole model of a video. ``foreground`` is None if nothing except the camera moves."""

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
        """Opacity of the foreground, (B, 1, h, w) in [0, 1], in the frames ``index`` (B,) at the size of ``level``."""
        if self.opacity is None:
            return torch.zeros(len(index), 1, *level_size(self.size, level), device=index.device)
        return torch.sigmoid(self.opacity(level, index))


def level_size(size: Size, level: int) -> Size:
    """``size`` times 1 / 2^level, each side rounded up and at least 2."""
    return max(2, math.ceil(size[0] / 2**level)), max(2, math.ceil(size[1] / 2**level))


def resize(x: Tensor, size: Size) -> Tensor:
    """``x`` (N, C, h, w) at ``size``, bilinear, not antialiased."""
    return x if tuple(x.shape[-2:]) == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def back_project(values: Tensor, weight: Tensor, uv: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """The transpose of bilinear sampling: add weighted ``values`` to the texels around their ``uv``.

    values: (C, N); weight: (N,); uv: (N, 2) texels. Returns the weighted sums (C, H_a, W_a) and the sums of the
    weights (H_a, W_a).
    """
    grid = ((uv + 0.5) * uv.new_tensor([2 / size[1], 2 / size[0]]) - 1)[None, None]
    weight = weight * (grid.abs() <= 1).all(-1)[0, 0]  # points beyond the border must not pile up on border texels
    weighted = torch.cat([values * weight, weight[None]])[None, :, None]  # (1, C + 1, 1, N)
    texels = torch.zeros(1, weighted.shape[1], *size, device=uv.device)
    with torch.enable_grad():  # the gradient of sampling computes its transpose
        seen = F.grid_sample(texels.requires_grad_(), grid, padding_mode="border", align_corners=False)
    (total,) = torch.autograd.grad(seen, texels, weighted)
    total = total[0]
    return total[:-1], total[-1]
