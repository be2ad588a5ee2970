"""The generator G: a U-Net that maps a picture to its edit layer (supplement, section 1; method, section 2).

It is the only thing that an edit trains. It does not know CLIP, texts or losses.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of LeakyReLU's negative side
# In a picture of one colour every BatchNorm divides by almost 0, and the gradient through all of them overflows.
FLAT = 1e-3  # standard deviation below which a picture counts as one colour
GRAIN = 1 / 255  # amplitude of the faint grain that is then added


class Reflected(torch.autograd.Function):
    """Reflection padding by one pixel, (B, C, H, W) -> (B, C, H + 2, W + 2), in the memory format of its input.

    PyTorch's own kernel for CUDA knows contiguous pictures only: around each padding, forward and backward, the picture
    was copied from channels_last and back. Those copies and the padding took a third of the kernels' time of a step on
    an H100 (docs/performance.md).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Frame ``x`` with the pixels next to its border."""
        framed = F.pad(x, (1, 1, 1, 1))
        framed[..., 0], framed[..., -1] = framed[..., 2], framed[..., -3]
        framed[..., 0, :], framed[..., -1, :] = framed[..., 2, :], framed[..., -3, :]
        return framed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Add the frame's gradient to that of the pixels it shows."""
        grad = grad.clone()
        grad[..., 2, :] += grad[..., 0, :]
        grad[..., -3, :] += grad[..., -1, :]
        grad[..., 2] += grad[..., 0]
        grad[..., -3] += grad[..., -1]
        return grad[..., 1:-1, 1:-1]


class ReflectedConv(nn.Conv2d):
    """A 3 x 3 convolution without bias over a reflected border: it keeps the size (halved, rounded up, at stride 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, 3, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride)); H and W are at least 2."""
        framed: Tensor = Reflected.apply(x)
        return super().forward(framed)


class ConvBlock(nn.Sequential):
    """Convolution of ``kernel`` 3 or 1, BatchNorm, LeakyReLU.

    BatchNorm keeps no running statistics: it always uses those of its input, also at inference, so that the same
    picture gives the same layer. The convolution has no bias, because BatchNorm would cancel it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            ReflectedConv(inputs, outputs, stride) if kernel == 3 else nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, track_running_stats=False),
            nn.LeakyReLU(SLOPE, inplace=True),
        )


class Level(nn.Module):
    """One level of the U-Net, with the deeper levels inside: (B, inputs, H, W) -> (B, channels, H, W).

    ``top``: the level whose features the head reads. Its last 1x1 convolution has a bias and no BatchNorm, as in the
    published code; with BatchNorm the first edit layers would have twice the contrast, and the gradient of a step would
    have another direction.
    """

    def __init__(self, inputs: int, channels: int, skip_channels: int, deeper: nn.Module, top: bool = False) -> None:
        super().__init__()
        self.encode = nn.Sequential(ConvBlock(inputs, channels, 3, stride=2), ConvBlock(channels, channels, 3))
        self.deeper = deeper
        self.skip = ConvBlock(inputs, skip_channels, 1)
        self.decode = nn.Sequential(
            nn.BatchNorm2d(skip_channels + channels, track_running_stats=False),
            ConvBlock(skip_channels + channels, channels, 3),
            nn.Sequential(nn.Conv2d(channels, channels, 1), nn.LeakyReLU(SLOPE, inplace=True))
            if top
            else ConvBlock(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same height and width as ``x``."""
        up = F.interpolate(self.deeper(self.encode(x)), scale_factor=2, mode="bilinear", align_corners=False)
        # an odd side was rounded up when it was halved: enlarged, it is one pixel too long
        both = torch.cat([self.skip(x), centre_crop(up, (x.shape[-2], x.shape[-1]))], dim=1)
        features: Tensor = self.decode(both)
        return features


class Generator(nn.Module):
    """U-Net of ``levels`` encoder levels and a mirrored decoder, ``channels`` wide; 3.1 M parameters by default.

    (B, 3, H, W) in [0, 1] -> (B, 4, H, W) in (0, 1): colour C and opacity alpha, at exactly the input's size. Each side
    must be at least 2^levels + 1 px. Weights are drawn from ``rng`` (default: a fresh one of seed 0), never from global
    random state.
    """

    def __init__(
        self, channels: int = 128, levels: int = 7, skip_channels: int = 4, *, rng: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.min_side = 2**levels + 1
        with torch.random.fork_rng(devices=[]):  # PyTorch draws weights here; they are drawn again below
            body: nn.Module = nn.Identity()
            for level in reversed(range(levels)):
                body = Level(3 if level == 0 else channels, channels, skip_channels, body, top=level == 0)
            self.body = body
            self.head = nn.Conv2d(channels, 4, 1)
        self.colour: Tensor
        self.register_buffer("colour", decorrelated_colour(), persistent=False)
        self._initialise(rng or torch.Generator().manual_seed(0))

    def _initialise(self, rng: torch.Generator) -> None:
        """Draw the weights from ``rng``, in PyTorch's default distribution for convolutions; the head's bias is 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=rng)
                if module.bias is not None:
                    bound = module.weight[0].numel() ** -0.5
                    nn.init.uniform_(module.bias, -bound, bound, generator=rng)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]  # the head is built with a bias

    def forward(self, picture: Tensor) -> Tensor:
        """The edit layer (B, 4, H, W) of ``picture`` (B, 3, H, W): channels 0 to 2 are C, channel 3 is alpha."""
        if min(picture.shape[-2:]) < self.min_side:
            raise ValueError(f"each side must be at least {self.min_side} px, not {tuple(picture.shape[-2:])}")
        raw = self.head(self.body(with_grain(picture)))
        rgb = F.conv2d(raw[:, :3], self.colour[:, :, None, None])
        return torch.sigmoid(torch.cat([rgb, raw[:, 3:]], dim=1))


def with_grain(picture: Tensor) -> Tensor:
    """``picture`` (B, 3, H, W) with a faint, fixed grain if it is of one colour; otherwise unchanged."""
    y, x = (torch.arange(side, dtype=picture.dtype, device=picture.device) for side in picture.shape[-2:])
    noise = 43758.5453 * torch.sin(78.233 * y[:, None] + 12.9898 * x)
    grain = GRAIN * (noise - noise.floor() - 0.5)
    spread = picture.std(dim=(0, 2, 3)).amax()  # of each channel by itself: red is of one colour, too
    return picture + grain * (spread < FLAT)


def centre_crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut the centre of ``size`` = (height, width) out of (B, C, H, W)."""
    top, left = (x.shape[-2] - size[0]) // 2, (x.shape[-1] - size[1]) // 2
    return x[..., top : top + size[0], left : left + size[1]]


def decorrelated_colour() -> Tensor:
    """M (3, 3), which maps decorrelated colours x to RGB, M x (Olah et al., Feature Visualization; Lucid).

    M is the square root of the colour covariance of natural pictures, with its first column (lightness) divided by 1.6,
    then divided by its largest column norm.
    """
    root = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    root[:, 0] /= 1.6
    largest: Tensor = root.norm(dim=0).max()
    return root / largest
