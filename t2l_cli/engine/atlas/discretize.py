"""From LNA's networks to an Atlas: textures at a resolution R, cropped to the part in use (supplement, section 3.1).

Texel i stands for the network coordinate i / R in the foreground, and i / R - 1 in the background.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import RESOLUTION
from t2l_cli.engine.atlas.mapping import reconstruct, usual_step
from t2l_cli.engine.atlas.model import OPAQUE, Atlas, AtlasLayer, VideoIdentity, used_texels
from t2l_cli.engine.atlas.networks import NeuralAtlas, normalised
from t2l_cli.engine.atlas.quality import psnr
from t2l_cli.engine.runtime import memory_guard
from t2l_cli.errors import RequestError
from t2l_cli.progress import Tick

CHUNK = 2**17  # locations evaluated at a time: some 150 MB of activations
MAX_TEXELS = 100_000_000
MARGIN = 30  # px of the frames around the opaque foreground, for its soft outline (supplement, section 3.1)
VISIBLE = 0.5 / 255  # opacity below which a pixel rounds to 0
MAX_GAP = 32  # maximum texels between two neighbouring pixels for the texels between them to count as in use
_OFFSET = {"foreground": 0.0, "background": -1.0}


class Discretization:
    """Evaluates the networks into an Atlas. Iterate it for progress; ``result()`` then returns the Atlas.

    Raises RequestError if the resolution is out of range or gives too many texels, DeviceMemoryError if an accelerator
    runs out of memory.
    """

    def __init__(
        self,
        networks: NeuralAtlas,
        video: VideoIdentity,
        resolution: int = RESOLUTION,
        device: torch.device | str = "cpu",
        trained_frames: int | None = None,
    ) -> None:
        if not 16 <= resolution <= 16_000:
            raise RequestError(f"--resolution must be between 16 and 16000, not {resolution}.")
        self.device, self.trained_frames = torch.device(device), trained_frames or video.frames
        with memory_guard(self.device):
            self.networks = networks.to(self.device).eval()
        self.video, self.resolution = video, resolution
        self._atlas: Atlas | None = None
        self._steps = self._work()

    def __iter__(self) -> Iterator[Tick]:
        return self._steps

    def result(self) -> Atlas:
        """The atlas; does any remaining work first."""
        for _ in self._steps:
            pass
        assert self._atlas is not None
        return self._atlas

    def network_frame(self, t: int) -> Tensor:
        """Frame ``t`` as the networks reconstruct it, (3, H, W) in [0, 1]."""
        rgb = self._evaluate(self.networks.reconstruct, self._locations(t))
        return rgb.T.reshape(3, self.video.height, self.video.width)

    def _work(self) -> Iterator[Tick]:
        video = self.video
        shape = (video.frames, video.height, video.width)
        uv = {name: torch.empty(*shape, 2) for name in _OFFSET}
        alpha = torch.empty(shape)
        # 1. Coordinates and opacity of every pixel.
        maps = {"foreground": self.networks.foreground_uv, "background": self.networks.background_uv}
        for t in range(video.frames):
            at = self._locations(t)
            alpha[t] = self._evaluate(self.networks.opacity, at).reshape(shape[1:])
            for name, mapping in maps.items():
                where = self._evaluate(mapping, at) - _OFFSET[name]
                uv[name][t] = (where * self.resolution).reshape(*shape[1:], 2)
            yield Tick(t, video.frames, "coordinates")
        # 2. Textures; both sizes are checked before the first is evaluated.
        boxes = {name: _box(name, uv[name], alpha) for name in _OFFSET}
        layers = {}
        for k, name in enumerate(_OFFSET):
            layers[name] = self._layer(name, uv[name], alpha if name == "foreground" else 1 - alpha, *boxes[name])
            yield Tick(k, len(_OFFSET), "textures")
        atlas = Atlas(layers["foreground"], layers["background"], alpha, video)
        # 3. Comparison with the networks' own frames.
        figures = []
        chosen = sorted({0, video.frames // 2, video.frames - 1})
        for k, t in enumerate(chosen):
            figures.append(round_trip(atlas, self.network_frame(t), t))
            yield Tick(k, len(chosen), "comparison")
        origin = {
            "maker": "layered-neural-atlases",
            "resolution": self.resolution,
            "networks_psnr": round(min(figures), 2),  # dB, the minimum over three frames
        }
        self._atlas = dataclasses.replace(atlas, origin=origin)

    def _layer(self, name: str, uv: Tensor, share: Tensor, low: Tensor, size: tuple[int, int]) -> AtlasLayer:
        """Evaluate the texture of ``size`` = (height, width) whose first texel is ``low``; shifts ``uv`` in place.

        uv: (T, H, W, 2) texels. share: (T, H, W). low: (2,), texels (x, y).
        """
        height, width = size
        x = (torch.arange(width) + low[0]) / self.resolution + _OFFSET[name]
        y = (torch.arange(height) + low[1]) / self.resolution + _OFFSET[name]
        rows = max(1, CHUNK // width)
        texture = torch.empty(3, height, width)
        for top in range(0, height, rows):
            grid = torch.cartesian_prod(y[top : top + rows], x).flip(1)
            texture[:, top : top + rows] = self._evaluate(self.networks.colour, grid).T.reshape(3, -1, width)
        uv -= low
        return AtlasLayer(texture, uv, _in_use(uv, share, size))

    def _locations(self, t: int) -> Tensor:
        video = self.video
        y, x = torch.meshgrid(torch.arange(video.height), torch.arange(video.width), indexing="ij")
        time = torch.full_like(x, t).flatten()
        return normalised(x.flatten(), y.flatten(), time, (video.width, video.height), self.trained_frames)

    def _evaluate(self, function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
        with torch.no_grad(), memory_guard(self.device):
            return torch.cat([function(part.to(self.device)).cpu() for part in torch.split(at, CHUNK)])


def _box(name: str, uv: Tensor, alpha: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The bounding box of the layer's texels: its minimum (2,), (x, y), and its (height, width), each at least 2.

    The background counts at every pixel. The foreground counts at pixels with an opacity above OPAQUE (if there are
    none, above 0.5; if there are none, everywhere), plus the visible part of its soft outline within MARGIN.
    RequestError if the texture would have more than MAX_TEXELS.
    """
    levels = (OPAQUE, 0.5, -1.0) if name == "foreground" else (-1.0,)
    least = next(level for level in levels if (alpha > level).any())
    low, high = _extent(uv, alpha, least)
    if least > 0:
        margin = MARGIN * _usual_step(uv, alpha)
        soft_low, soft_high = _extent(uv, alpha, VISIBLE)
        low, high = torch.maximum(low - margin, soft_low), torch.minimum(high + margin, soft_high)
    low, high = low.floor(), high.ceil()
    width, height = (max(2, int(side) + 1) for side in (high - low).tolist())
    if width * height > MAX_TEXELS:
        raise RequestError(f"the {name} atlas would have {width} x {height} texels; choose a lower --resolution.")
    return low, (height, width)


def _extent(uv: Tensor, alpha: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """The minimum and maximum coordinates, (2,) each, of the pixels whose opacity is above ``least``."""
    own = [at[opacity > least] for at, opacity in zip(uv, alpha, strict=True)]
    own = [at for at in own if len(at)]
    return torch.stack([at.amin(0) for at in own]).amin(0), torch.stack([at.amax(0) for at in own]).amax(0)


def _usual_step(uv: Tensor, share: Tensor) -> float:
    """``usual_step`` of the pixels that the layer owns, in the frame that shows most of it; 0 if there are none."""
    t = int((share > 0.5).sum((1, 2)).argmax())
    return usual_step(uv[t], share[t] > 0.5)


def _in_use(uv: Tensor, share: Tensor, size: tuple[int, int]) -> Tensor:
    """(H_a, W_a) bool: the texels that frames show, including those between neighbouring pixels some texels apart."""
    used = used_texels(uv, share, size)
    radius = min(MAX_GAP, math.ceil(_usual_step(uv, share))) // 2
    # morphological closing by half a step: it fills holes and keeps outlines
    return -_grown(-_grown(used.float(), radius), radius) > 0.5


def _grown(picture: Tensor, radius: int) -> Tensor:
    """(H, W): the maximum within ``radius`` along both axes."""
    side = 2 * radius + 1
    across = F.max_pool2d(picture[None], (1, side), 1, (0, radius))
    return F.max_pool2d(across, (side, 1), 1, (radius, 0))[0]


def round_trip(atlas: Atlas, frame: Tensor, t: int) -> float:
    """PSNR, in dB, of frame ``t`` reconstructed from the atlas, against ``frame`` (3, H, W)."""
    return psnr(reconstruct(atlas, t), frame)
