"""fit-atlas on a clip of the published method's size, 70 frames of 768 x 432: time, peak memory and figures.

    python benchmarks/atlas_large.py --device cuda                  the whole fit, standard preset, and LNA beside it
    python benchmarks/atlas_large.py --device cpu --visits 3 --no-lna     a short fit: its memory on a CPU

Asked: 3 minutes on one H200 and 10 GB there, 16 GB on a CPU. Beside it, unless --no-lna: one step of a straight
implementation of Layered Neural Atlases' networks at its batch of 10,000 pixels, and what 400,000 of them take.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from t2l_cli.config import FIT_PRESETS
from t2l_cli.engine.atlas.model import ClipIdentity
from t2l_cli.engine.atlas.networks import NeuralAtlas, normalised
from t2l_cli.engine.fit.fit import AtlasFit
from t2l_cli.settings import FIT

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.truth import make_truth

BATCH, STEPS = 10_000, 400_000  # of the published training
TIMED = 20  # steps of it that are measured


def main() -> None:
    """Measure and print."""
    args = _arguments()
    device = torch.device(args.device)
    size = (args.width, args.height)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as drawing:  # its memory is not the fit's
        pixels = drawing.submit(draw, size, args.length).result()
    frames = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    config = dataclasses.replace(
        FIT.configure({}, args.preset), device=args.device, **({"visits": args.visits} if args.visits else {})
    )
    start, stage = time.perf_counter(), ""
    fit = AtlasFit(frames, config, ClipIdentity(args.length, *size))
    for step in fit:
        if step.stage != stage:
            stage = step.stage
            print(f"{time.perf_counter() - start:7.1f} s  {stage}, {step.n} steps", flush=True)
    fit.result()
    seconds = time.perf_counter() - start
    print(f"{args.length} frames of {size[0]} x {size[1]}, {args.preset}, {config.visits} visits, {device}")
    print(f"{seconds:.0f} s, atlas made; {memory(device)}")
    print(fit.quality())
    print(f"and judged; {memory(device)}")
    if not args.no_lna:
        one = lna_step_seconds(device, size, args.length)
        print(f"LNA: {1000 * one:.2f} ms a step of {BATCH:,} pixels; {STEPS:,} steps: {one * STEPS / 3600:.1f} h")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--preset", default="standard", choices=list(FIT_PRESETS))
    parser.add_argument("--visits", type=int, help="how often every frame is looked at; default: the preset's")
    parser.add_argument("--length", type=int, default=70)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--height", type=int, default=432)
    parser.add_argument("--no-lna", action="store_true", help="the fit alone")
    return parser.parse_args()


def draw(size: tuple[int, int], frames: int) -> npt.NDArray[np.uint8]:
    """A drawn clip, (T, H, W, 3)."""
    return make_truth(size, frames).frames


def memory(device: torch.device) -> str:
    """The most that was in use so far, in words."""
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cuda = f", {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB of the GPU" if device.type == "cuda" else ""
    return f"peak memory {process:.2f} GiB of the process{cuda}"


def lna_step_seconds(device: torch.device, size: tuple[int, int], frames: int) -> float:
    """Seconds that one step of the published training takes: the median of ``TIMED``.

    Its colours and their gradients need the reconstruction at a pixel and at its neighbours, its rigidity both mappings
    at two more points, its flow terms mappings and opacity at the matched pixel of the next frame.
    """
    networks = NeuralAtlas().to(device)
    optimizer = torch.optim.Adam(networks.parameters(), lr=1e-4)
    limit = torch.tensor([size[0] - 1.0, size[1] - 1.0, frames - 1.0], device=device)
    times = []
    for _ in range(TIMED):
        where = torch.rand(BATCH, 3, device=device) * limit
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        optimizer.zero_grad()
        _lna_loss(networks, where.round(), size, frames).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _lna_loss(networks: NeuralAtlas, where: Tensor, size: tuple[int, int], frames: int) -> Tensor:
    """A loss with the published one's passes through the networks; pixels ``where`` (N, 3), x, y, t."""

    def at(x: float, y: float, t: float) -> Tensor:
        return normalised(where[:, 0] + x, where[:, 1] + y, where[:, 2] + t, size, frames)

    here = networks.reconstruct(at(0, 0, 0))
    across, down = networks.reconstruct(at(1, 0, 0)), networks.reconstruct(at(0, 1, 0))
    loss = here.square().mean() + (across - here).abs().mean() + (down - here).abs().mean()
    for mapping in (networks.foreground_uv, networks.background_uv):
        uv = mapping(at(0, 0, 0))
        jacobian = torch.stack([mapping(at(1, 0, 0)) - uv, mapping(at(0, 1, 0)) - uv], -1)
        loss = loss + (jacobian.transpose(1, 2) @ jacobian).square().mean() + (mapping(at(2, 1, 1)) - uv).abs().mean()
    return loss + (networks.opacity(at(2, 1, 1)) - networks.opacity(at(0, 0, 0))).abs().mean()


if __name__ == "__main__":
    main()
