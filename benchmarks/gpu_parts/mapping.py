"""Mapping back: painted atlas layers over the frames of a video."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import generated
import measure
import torch

from gpu_parts.run import Row, Task, Value
from t2l_cli.engine.atlas.mapping import Mapper
from t2l_cli.engine.atlas.model import Atlas
from t2l_cli.engine.layers import EditLayer


def mapping(task: Task) -> Iterator[Row]:
    """Frames a second with both layers painted all over, from 8 bits to 8 bits, without reading and writing a file."""
    sizes = task.sizes
    atlas, frames = generated.sliding(sizes.frame, sizes.frames, sizes.texels)
    paint = torch.rand(2, 4, *atlas.background.size, generator=torch.Generator().manual_seed(0))
    for name in dict.fromkeys(("cpu", task.device)):
        device = torch.device(name)
        measure.forget_peak(device)
        mapper = Mapper(_on(atlas, device), *(EditLayer(x[None, :3], x[None, 3:]) for x in paint.to(device)))
        seconds = _seconds(mapper, frames, device)
        figures: dict[str, Value] = {
            "frames/s": len(frames) / seconds,
            "a frame, ms": 1000 * seconds / len(frames),
            "peak memory, GiB": measure.peak_memory(device),
        }
        yield Row(f"{name}, {torch.get_num_threads()} threads (as t2l does)" if name == "cpu" else name, figures)


def _seconds(mapper: Mapper, frames: torch.Tensor, device: torch.device) -> float:
    """Of all frames, the second time."""
    for _ in range(2):
        measure.wait(device)
        start = time.perf_counter()
        for t, frame in enumerate(frames):
            mapped = mapper.over(frame.to(device).float() / 255, t)
            (mapped * 255).round().to(torch.uint8).cpu()
        seconds = time.perf_counter() - start
    return seconds


def _on(atlas: Atlas, device: torch.device) -> Atlas:
    layers = {
        name: dataclasses.replace(layer, texture=layer.texture.to(device), uv=layer.uv.to(device))
        for name in ("foreground", "background")
        for layer in (atlas.layer(name),)
    }
    return dataclasses.replace(atlas, alpha=atlas.alpha.to(device), **layers)
