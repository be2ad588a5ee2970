"""Clips: time and memory of a training step and of mapping back, beside the arithmetic floor.

    python benchmarks/video.py --size 144 240 --frames 16 --steps 3 --map-size 432 768 --atlas 2000 --map-frames 20

The floor of a step: its passes through generator and CLIP, each timed alone in the same run. The floor of mapping back:
one bilinear sampling of four channels a frame and layer, and reading and writing the frame once.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import time
from collections.abc import Callable

import torch

from t2l_cli import mini
from t2l_cli.config import OptimConfig, layer_config
from t2l_cli.engine.atlas.mapping import Mapper, sample
from t2l_cli.engine.atlas.model import Atlas, AtlasLayer, ClipIdentity, used_texels
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.video import LayerEdit


def synthetic(size: tuple[int, int], frames: int, texels: int) -> tuple[Atlas, torch.Tensor]:
    """An atlas of ``texels`` a side whose frames slide over it, and its clip (T, 3, H, W) uint8."""
    random = torch.Generator().manual_seed(0)
    height, width = size
    texture = torch.rand(3, texels // 20 + 1, texels // 20 + 1, generator=random)
    texture = torch.nn.functional.interpolate(texture[None], size=(texels, texels), mode="bilinear")[0]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    scale = 0.8 * texels / max(size)
    grid = torch.stack([x, y], -1) * scale
    uv = torch.stack([grid + t * 0.15 * texels / frames for t in range(frames)])
    blob = (((x - width / 2) / (0.3 * width)) ** 2 + ((y - height / 2) / (0.3 * height)) ** 2 < 1).float()
    alpha = blob.expand(frames, -1, -1).contiguous()
    layers = [AtlasLayer(texture, uv, used_texels(uv, share, (texels, texels))) for share in (alpha, 1 - alpha)]
    atlas = Atlas(layers[0], layers[1], alpha, ClipIdentity(frames, width, height, 24.0))
    clip = torch.stack([(sample(texture[None], uv[t : t + 1])[0] * 255).round().to(torch.uint8) for t in range(frames)])
    return atlas, clip


def timed(work: Callable[[], object], repeat: int = 3) -> float:
    """Seconds of the fastest of ``repeat`` calls."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def step_times(edit: LayerEdit, steps: int) -> tuple[float, float]:
    """Seconds a step, and of its parts alone: the generator twice, then CLIP with and without gradient."""
    iterator = iter(edit)
    next(iterator)
    start = time.perf_counter()
    for _ in range(steps):
        next(iterator)
    step = (time.perf_counter() - start) / steps
    seen = edit._draw(torch.Generator().manual_seed(0))
    picture, views = seen.frames[:1], edit.config.views.n_views
    looked = torch.rand(views, 3, *edit.clip.view_size((picture.shape[-2], picture.shape[-1])))

    def paint() -> None:
        edit.generator(edit.formatted(picture)).sum().backward()

    def look(gradient: bool) -> None:
        with torch.set_grad_enabled(gradient):
            out = edit.clip.embed_images(looked.clone().requires_grad_(gradient)).sum()
        if gradient:
            out.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    examples = len(seen.frames) + 1
    return step, 2 * timed(paint) + examples * (2 * timed(lambda: look(True)) + timed(lambda: look(False)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Time a step of a clip's layer, and mapping back.")
    parser.add_argument("--size", type=int, nargs=2, default=(144, 240), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--map-size", type=int, nargs=2, default=(432, 768), metavar=("H", "W"))
    parser.add_argument("--map-frames", type=int, default=20)
    parser.add_argument("--atlas", type=int, default=2000, help="texels a side, in mapping back")
    args = parser.parse_args()

    atlas, frames = synthetic(tuple(args.size), args.frames, 2 * min(args.size))
    config = dataclasses.replace(layer_config(("red object",)), roi="object", clip="mini", size=min(args.size))
    config = dataclasses.replace(config, optim=OptimConfig(steps=args.steps + 1, source_every=10_000))
    step, parts = step_times(LayerEdit(frames, atlas, "background", Clip(*mini.load()), config), args.steps)
    print("| a step | its parts alone | ratio |\n| --- | --- | --- |")
    print(f"| {step:.2f} s | {parts:.2f} s | {step / parts:.2f} |\n")

    atlas, frames = synthetic(tuple(args.map_size), args.map_frames, args.atlas)
    random = torch.Generator().manual_seed(0)
    rgba = torch.rand(2, 4, args.atlas, args.atlas, generator=random)
    mapper = Mapper(atlas, *(EditLayer(x[None, :3], x[None, 3:]) for x in rgba))

    def map_all() -> None:
        for t in range(len(frames)):
            mapper.over(frames[t].float() / 255, t)

    def floor() -> None:
        for t in range(len(frames)):
            for name in ("foreground", "background"):
                sample(rgba[:1], atlas.layer(name).uv[t : t + 1])
            frames[t].float().mul(255).to(torch.uint8)

    whole, least = timed(map_all, 2), timed(floor, 2)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("| frames | mapping back | a frame | floor | ratio | peak memory |\n| --- | --- | --- | --- | --- | --- |")
    per = whole / len(frames)
    print(
        f"| {len(frames)} of {args.map_size[1]} x {args.map_size[0]} | {whole:.1f} s | {1000 * per:.0f} ms "
        f"| {least:.1f} s | {whole / least:.2f} | {memory:.1f} GiB |"
    )


if __name__ == "__main__":
    main()
