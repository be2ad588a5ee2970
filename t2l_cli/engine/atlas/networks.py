"""The networks of Layered Neural Atlases (Kasten et al., TOG 2021), with the layout of their published code."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from t2l_cli.errors import RequestError

WIDTH = 256
FOREIGN = "this is not a Layered Neural Atlases checkpoint"


class ImplicitNetwork(nn.Module):
    """Linear layers with ReLU between them and tanh at the end: (N, n_in) -> (N, n_out) in [-1, 1].

    ``frequencies``: if positive, the first layer gets sin and cos of 2^j pi x for j = 0, 1, ..., frequencies - 1,
    instead of x. ``skips``: the layers whose input is concatenated with that of the first layer.
    """

    def __init__(self, n_in: int, n_out: int, layers: int, frequencies: int = 0, skips: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.frequencies, self.skips = frequencies, skips
        encoded = n_in * 2 * frequencies or n_in
        sizes_in = [encoded] + [WIDTH + (encoded if i in skips else 0) for i in range(1, layers)]
        sizes_out = [WIDTH] * (layers - 1) + [n_out]
        self.hidden = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes_in, sizes_out, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_in) -> (N, n_out)."""
        x = self._encoded(x)
        h = x
        for i, layer in enumerate(self.hidden):
            h = torch.relu(h) if i else h
            h = layer(torch.cat([h, x], 1) if i in self.skips else h)
        return torch.tanh(h)

    def _encoded(self, x: Tensor) -> Tensor:
        if not self.frequencies:
            return x
        waves = [f(2.0**j * math.pi * x) for j in range(self.frequencies) for f in (torch.sin, torch.cos)]
        return torch.cat(waves, 1)


class NeuralAtlas(nn.Module):
    """The four networks. Locations are (N, 3), x, y and t from ``normalised``; results are in LNA's ranges."""

    # attribute -> (key in the checkpoint, network)
    KEYS = {  # noqa: RUF012  # a table, never changed
        "mapping1": "model_F_mapping1_state_dict",
        "mapping2": "model_F_mapping2_state_dict",
        "alpha": "model_F_alpha_state_dict",
        "atlas": "F_atlas_state_dict",
    }

    def __init__(self) -> None:
        super().__init__()
        self.mapping1 = ImplicitNetwork(3, 2, 6)
        self.mapping2 = ImplicitNetwork(3, 2, 4)
        self.alpha = ImplicitNetwork(3, 1, 8, frequencies=5)
        self.atlas = ImplicitNetwork(2, 3, 8, frequencies=10, skips=(4, 7))

    @classmethod
    def from_state(cls, state: Mapping[str, Mapping[str, Tensor]]) -> NeuralAtlas:
        """The networks from a checkpoint's dictionary. RequestError names the first entry that does not fit."""
        networks = cls().requires_grad_(False)
        for name, key in cls.KEYS.items():
            network, given = getattr(networks, name), state.get(key)
            if not isinstance(given, Mapping):
                raise RequestError(f"{FOREIGN}: it has no {key}.")
            for part, own in network.state_dict().items():
                value = given.get(part)
                if not isinstance(value, Tensor):
                    raise RequestError(f"{FOREIGN}: {key} has no {part}.")
                if value.shape != own.shape:
                    raise RequestError(f"{FOREIGN}: {key}'s {part} is {tuple(value.shape)}, not {tuple(own.shape)}.")
                if not value.isfinite().all():
                    raise RequestError(f"the checkpoint is broken: {key}'s {part} holds NaN or infinity.")
            if len(given) != len(network.state_dict()):
                raise RequestError(f"{FOREIGN}: {key} has {len(given)} parts, not {len(network.state_dict())}.")
            network.load_state_dict(given)
        return networks

    def foreground_uv(self, xyt: Tensor) -> Tensor:
        """Foreground coordinates (N, 2) in [0, 1] of the locations (N, 3)."""
        uv: Tensor = 0.5 * self.mapping1(xyt) + 0.5
        return uv

    def background_uv(self, xyt: Tensor) -> Tensor:
        """Background coordinates (N, 2) in [-1, 0] of the locations (N, 3)."""
        uv: Tensor = 0.5 * self.mapping2(xyt) - 0.5
        return uv

    def opacity(self, xyt: Tensor) -> Tensor:
        """Foreground opacity (N,) in [0.001, 0.991] at the locations (N, 3)."""
        alpha: Tensor = 0.99 * 0.5 * (self.alpha(xyt)[:, 0] + 1) + 0.001
        return alpha

    def colour(self, uv: Tensor) -> Tensor:
        """Colour (N, 3) in [0, 1] at atlas coordinates (N, 2); both layers share this network."""
        rgb: Tensor = 0.5 * (self.atlas(uv) + 1)
        return rgb

    def reconstruct(self, xyt: Tensor) -> Tensor:
        """The video's colours (N, 3) in [0, 1] at the locations (N, 3) (LNA, Eq. 1)."""
        a = self.opacity(xyt)[:, None]
        return a * self.colour(self.foreground_uv(xyt)) + (1 - a) * self.colour(self.background_uv(xyt))


def normalised(x: Tensor, y: Tensor, t: Tensor, size: tuple[int, int], frames: int) -> Tensor:
    """Locations (N, 3) of pixels x, y (integers, without half-pixel offset) in frame t of a video of ``size`` = (w, h).

    x and y are divided by half the longer side, t by half of ``frames``, the number of frames in training.
    """
    half = max(size) / 2
    return torch.stack([x / half - 1, y / half - 1, t / (frames / 2) - 1], -1)
