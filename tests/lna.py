"""A checkpoint of the published Layered Neural Atlases code, made here: its networks fitted to a video of known truth.

Coordinates, opacity and colours are regressed to the truth directly, with the code's own optimizer (one Adam over the
four networks); what is saved is laid out as its evaluation writes it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from t2l_cli.config import LayerName
from t2l_cli.engine.atlas.networks import NeuralAtlas, normalised
from tests.truth import TruthVideo, bilinear, make_truth

STEPS, BATCH, RATE = 140, 256, 3e-3
CONFIG: dict[str, Any] = {  # as published, shortened to what is about the networks and the video
    "results_folder_name": "results",
    "maximum_number_of_frames": 70,
    "resx": 768,
    "resy": 432,
    "iters_num": 400000,
    "samples_batch": 10000,
    "data_folder": "data/truth",
    "uv_mapping_scale": 0.8,
    "positional_encoding_num_alpha": 5,
    "number_of_channels_atlas": 256,
    "number_of_layers_atlas": 8,
    "number_of_channels_alpha": 256,
    "number_of_layers_alpha": 8,
    "number_of_channels_mapping1": 256,
    "number_of_layers_mapping1": 6,
    "number_of_channels_mapping2": 256,
    "number_of_layers_mapping2": 4,
    "positional_encoding_num_atlas": 10,
    "use_positional_encoding_mapping1": False,
    "use_positional_encoding_mapping2": False,
}


@cache
def fitted() -> tuple[TruthVideo, NeuralAtlas, torch.optim.Adam]:
    """A small video, networks that show it, and their optimizer; made once a process, in some ten seconds."""
    truth = make_truth((96, 54), 12, density=1.0, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = NeuralAtlas()
        optimizer = _train(networks, truth)
    return truth, networks.eval().requires_grad_(False), optimizer


def plane(truth: TruthVideo, name: LayerName, q: np.ndarray[Any, np.dtype[np.float64]]) -> Tensor:
    """Where the texels ``q`` (N, 2) of a layer lie in LNA's plane by the truth: (N, 2), float64.

    Each layer is centred in its quarter; a px of the frame is 0.8 / longer side, as uv_mapping_scale 0.8 means it.
    """
    height, width = truth.alpha.shape[1:]
    middle = np.array(truth.texture[name].shape[1::-1]) / 2
    return torch.from_numpy(0.8 / max(width, height) * (q - middle) + (0.5 if name == "foreground" else -0.5))


def _train(networks: NeuralAtlas, truth: TruthVideo) -> torch.optim.Adam:
    groups = (networks.mapping1, networks.mapping2, networks.alpha, networks.atlas)
    optimizer = torch.optim.Adam([{"params": list(group.parameters())} for group in groups], lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.1)
    random = np.random.default_rng(0)
    frames, height, width = truth.alpha.shape
    for _ in range(STEPS):
        t, y, x = (random.integers(0, n, BATCH) for n in (frames, height, width))
        at = normalised(*(torch.from_numpy(k) for k in (x, y, t)), (width, height), frames).float()
        alpha = torch.from_numpy(truth.alpha[t, y, x]).float()
        loss = binary_cross_entropy(networks.opacity(at), alpha)
        places, colours, weights = [], [], []
        maps = {"foreground": networks.foreground_uv, "background": networks.background_uv}
        for name, share in (("foreground", alpha), ("background", torch.ones_like(alpha))):
            q = truth.uv[name][t, y, x]
            place = plane(truth, name, q).float()
            loss = loss + 100 * ((maps[name](at) - place).square().sum(1) * (0.02 + share)).mean()
            places.append(place[::2])  # the dearest network sees every second one
            colours.append(torch.from_numpy(bilinear(truth.texture[name], q[::2])).float())
            weights.append(0.02 + share[::2])
        error = (networks.colour(torch.cat(places)) - torch.cat(colours)).square().sum(1)
        loss = loss + (error * torch.cat(weights)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return optimizer


def state_of(networks: NeuralAtlas, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """What the published code saves; without ``optimizer`` only what is needed."""
    state: dict[str, Any] = {
        "F_atlas_state_dict": networks.atlas.state_dict(),
        "iteration": 399000,
        "model_F_mapping1_state_dict": networks.mapping1.state_dict(),
        "model_F_mapping2_state_dict": networks.mapping2.state_dict(),
        "model_F_alpha_state_dict": networks.alpha.state_dict(),
    }
    if optimizer is None:
        del state["iteration"]
    else:
        state["optimizer_all_state_dict"] = optimizer.state_dict()
    return state


def write_checkpoint(
    folder: Path, state: dict[str, Any], video: tuple[int, int, int] | None = None, **config: Any
) -> Path:
    """Write ``folder``/checkpoint and, for ``video`` = (frames, width, height), config.json; returns the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "checkpoint"
    torch.save(state, path)
    if video is not None:
        numbers = dict(zip(("maximum_number_of_frames", "resx", "resy"), video, strict=True))
        (folder / "config.json").write_text(json.dumps(CONFIG | numbers | config, indent=4))
    return path
