"""What one training step costs, beside the cost of its parts alone, measured in the same run on the same machine.

    python benchmarks/step.py --size 256x384 --views 16 --clip ViT-B-32 --random-weights
    python benchmarks/step.py --size 128x192 --views 4 --clip mini

The parts are what no implementation of Eq. 2 can leave out: the generator forward and backward, CLIP forward and
backward on the views of the composite and of the green-screen picture, CLIP forward on the views of the source, and the
tokens of both pictures for the structure term. Their sum is the arithmetic floor at the rate that this machine reaches.
A step may cost at most 1.25 times as much: the rest is views, losses and the optimiser.

Every step here is at full size (the random crop and scaling of the internal dataset are off), so that steps are alike.
With --straight, what the straightforward reading of the paper costs as well: the views of each picture of each term
embedded anew (the composite once for L_cos and once for L_dir).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from t2l_cli.config import AugmentConfig, EditConfig, OptimConfig, ViewConfig
from t2l_cli.engine.clip import STRUCTURE_LONG_SIDE, Clip
from t2l_cli.engine.image import ImageEdit
from t2l_cli.engine.runtime import Runtime, resolve
from t2l_cli.engine.views import ViewParams, make_views
from t2l_cli.weights.loading import load_clip

ASKED = 1.25  # a step costs at most this many sums of its parts
TERA = 1e12


@dataclass(frozen=True)
class Row:
    """One line of the table: a part, its time (s, median) and its counted floating-point operations."""

    name: str
    seconds: float
    flops: float


def main() -> None:
    """Measure and print."""
    args = _arguments()
    runtime = resolve(args.device, args.precision)
    torch.manual_seed(0)
    clip = _clip(args.clip, args.random_weights, runtime)
    edit = _edit(args.size, args.views, clip, runtime, args.steps)
    steps = iter(edit)
    next(steps), next(steps)  # the first has the un-augmented pair beside it
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runtime.device)
    next(steps)
    memory = _peak_memory(runtime)
    works = {"one step": lambda: next(steps), **_parts(edit, args.views)}
    if args.straight:
        works["straight, its CLIP passes alone"] = _straight(edit, args.views)
    clock = time.process_time if args.cpu_seconds else time.perf_counter
    seconds = _times(works, runtime.device, args.steps, clock)
    rows = [Row(name, seconds[name], _flops(work)) for name, work in works.items() if name != "one step"]
    views, parts, straight = rows[0], rows[1:6], rows[6:]
    floor = Row("sum of the parts", sum(p.seconds for p in parts), sum(p.flops for p in parts))
    step = Row("one step", seconds["one step"], floor.flops)
    height, width = edit.size
    print(
        f"{args.clip}, {args.views} views of {'x'.join(map(str, clip.view_size(edit.size)))}, picture {height}x{width}"
    )
    print(f"{runtime.device}, CLIP in {runtime.dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    _print_table([*parts, floor, step, views, *straight], "CPU s" if args.cpu_seconds else "time, s")
    print(f"step / sum of the parts: {step.seconds / floor.seconds:.2f} (asked: at most {ASKED})")
    for row in straight:
        whole = row.seconds + floor.seconds - parts[1].seconds - parts[2].seconds
        print(
            f"the sum of the parts in the straightforward way: {whole:.3f} s, {whole / step.seconds:.2f} steps of ours"
        )
    print(f"peak memory: {memory / 2**30:.2f} GiB ({'CUDA' if runtime.device.type == 'cuda' else 'process'})")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=_size, default=(256, 384), metavar="HxW", help="picture in training, px")
    parser.add_argument("--views", type=int, default=16, help="views a picture")
    parser.add_argument("--clip", default="ViT-B-32", help="open_clip ViT, or mini")
    parser.add_argument(
        "--random-weights", action="store_true", help="no download: the cost does not depend on weights"
    )
    parser.add_argument("--steps", type=int, default=3, help="timed repetitions of everything")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--cpu-seconds", action="store_true", help="for a busy machine, with OMP_NUM_THREADS=1")
    parser.add_argument("--straight", action="store_true", help="time the straightforward implementation too")
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    height, width = text.lower().split("x")
    return int(height), int(width)


def _clip(name: str, random_weights: bool, runtime: Runtime) -> Clip:
    if random_weights:
        model, tokenizer = open_clip.create_model(name), open_clip.get_tokenizer(name)
    else:
        loaded = load_clip(name)
        model, tokenizer = loaded.model, loaded.tokenizer
    return Clip(model, tokenizer, runtime.device, runtime.dtype)


def _edit(size: tuple[int, int], views: int, clip: Clip, runtime: Runtime, steps: int) -> ImageEdit:
    """An edit of a smooth random picture with all terms of Eq. 2 and the bootstrap on."""
    picture = F.interpolate(torch.rand(1, 3, 9, 12), size=size, mode="bilinear")[0]
    config = EditConfig(
        prompts=("crochet swan",),
        roi="swan",
        size=min(size),
        views=ViewConfig(n_views=views),
        augment=AugmentConfig(crop=(1.0, 1.0), scale=(1.0, 1.0)),
        optim=OptimConfig(steps=steps + 4),
    )
    return ImageEdit(picture, clip, config, runtime)


def _parts(edit: ImageEdit, n: int) -> dict[str, Callable[[], None]]:
    """The views, which are no part of the floor, and then its parts."""
    clip, generator, source = edit.clip, edit.generator, edit.formatted(edit.source)
    device, size = edit.runtime.device, clip.view_size(edit.size)
    views = torch.rand(2 * n, 3, *size, device=device)
    whole = torch.rand(1, 3, *clip.view_size(edit.size, STRUCTURE_LONG_SIDE), device=device)
    params = ViewParams.draw(ViewConfig(n_views=n), edit.size, torch.Generator().manual_seed(0))

    def paint() -> None:
        generator.zero_grad(set_to_none=True)
        torch.autograd.backward(generator(source).mean())

    def look() -> None:
        _both_ways(lambda x: make_views(x, params, size), torch.cat([source, source]))()
        with torch.no_grad():
            make_views(source, params, size)

    return {
        "  of which views (warps, colours)": look,
        "generator, forward and backward": paint,
        f"CLIP, {2 * n} views forward and backward": _both_ways(clip.embed_images, views),
        f"CLIP, {n} views forward": _forward(clip.embed_images, views[:n]),
        "tokens, 1 picture forward and backward": _both_ways(clip.tokens, whole),
        "tokens, 1 picture forward": _forward(clip.tokens, whole),
    }


def _straight(edit: ImageEdit, n: int) -> Callable[[], None]:
    """CLIP on 4 n views forward and 3 n backward, one picture of one term at a time."""
    views = torch.rand(n, 3, *edit.clip.view_size(edit.size), device=edit.runtime.device)
    both_ways, forward = _both_ways(edit.clip.embed_images, views), _forward(edit.clip.embed_images, views)

    def work() -> None:
        for _ in range(3):  # L_cos, L_dir and L_screen
            both_ways()
        forward()  # the source, for L_dir

    return work


def _both_ways(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    leaf = x.detach().clone().requires_grad_()

    def work() -> None:
        leaf.grad = None
        torch.autograd.backward(function(leaf).mean())

    return work


def _forward(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    def work() -> None:
        # Counting wants the single operations; without gradient torch may take a fused kernel that it does not count.
        with torch.set_grad_enabled(_counting):
            function(x.detach().requires_grad_(_counting))

    return work


_counting = False  # whether a FlopCounterMode is on


def _flops(work: Callable[[], object]) -> float:
    global _counting
    _counting = True
    with FlopCounterMode(display=False) as counter:
        work()
    _counting = False
    return float(counter.get_total_flops())


def _times(
    works: Mapping[str, Callable[[], object]], device: torch.device, repeat: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each, taken in turns: a machine that slows down slows all of them. The first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeat + 1):
        for name, work in works.items():
            _wait(device)
            start = clock()
            work()
            _wait(device)
            seconds[name].append(clock() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak_memory(runtime: Runtime) -> int:
    """Bytes: of CUDA's allocator since the timed steps began, or of this process so far."""
    if runtime.device.type == "cuda":
        return torch.cuda.max_memory_allocated(runtime.device)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _print_table(rows: list[Row], unit: str) -> None:
    print(f"\n{'':42}{unit:>10}{'TFLOP':>10}{'TFLOP/s':>10}")
    for row in rows:
        counted = f"{row.flops / TERA:10.3f}{row.flops / TERA / row.seconds:10.3f}" if row.flops / TERA > 5e-4 else ""
        print(f"{row.name:42}{row.seconds:10.3f}{counted}")
    print()


if __name__ == "__main__":
    main()
