"""What one training step costs, beside its parts alone and the straight way, in one run on one machine.

    python benchmarks/step.py --size 256x384 --views 16 --clip ViT-B-32 --random-weights
    python benchmarks/step.py --size 128x192 --views 4 --clip mini

The parts are what no implementation of Eq. 2 can leave out: the generator forward and backward, CLIP forward and
backward on the views of the composite and of the green-screen picture, CLIP forward on the views of the source, and the
tokens of both pictures for the structure term. Their sum is the arithmetic floor at the rate that this machine reaches.
A step may cost at most 1.15 times as much: the rest is views, losses and the optimiser.

The straight way looks at every picture of every term by itself, as the published code does: 4 n views forward and 3 n
backward. Its losses must be the same to 1e-4 for the same draws, and a step of ours at least 1.3 times as fast.

Every step here is at full size (the random crop and scaling of the internal dataset are off), so that steps are alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import common
import measure
import torch
from measure import TERA, Row
from torch import Tensor

from t2l_cli.config import AugmentConfig, EditConfig, OptimConfig, ViewConfig
from t2l_cli.engine.clip import STRUCTURE_LONG_SIDE
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.runtime import resolve
from t2l_cli.engine.views import ViewParams, make_views

MOST = 1.15  # sums of its parts that a step may cost
LEAST = 1.3  # steps of ours that a straight one must cost
SAME = 1e-4  # relative difference of the losses


def main() -> None:
    """Measure and print."""
    args = _arguments()
    runtime = resolve(args.device, args.precision)
    torch.manual_seed(0)
    clip = common.clip_of(args.clip, args.random_weights, runtime)
    picture, config = common.smooth_picture(args.size), _config(args)
    edit, straight = (PhotoEdit(picture, clip, config, runtime) for _ in range(2))
    straight_steps = common.straight_steps(straight)
    steps = iter(edit)
    next(steps), next(straight_steps)  # the first has the un-augmented pair beside it
    off = common.difference(edit, straight)
    measure.forget_peak(runtime.device)
    next(steps)
    memory = measure.peak_memory(runtime.device)
    parts = _parts(edit, args.views)
    works = {"one step": lambda: next(steps), "one straight step": lambda: next(straight_steps), **parts}
    clock = time.process_time if args.cpu_seconds else time.perf_counter
    seconds = measure.median_seconds(works, runtime.device, args.steps, clock)
    views, *rows = (Row(name, seconds[name], measure.flops(work)) for name, work in parts.items())
    floor = Row("sum of the parts", sum(p.seconds for p in rows), sum(p.flops for p in rows))
    step = Row("one step", seconds["one step"], floor.flops)
    slow = Row("one straight step", seconds["one straight step"], floor.flops + sum(p.flops for p in rows[1:2]) / 2)
    print(f"{args.clip}, {args.views} views of {clip.view_size(edit.size)}, picture {edit.size}")
    print(f"{runtime.device}, CLIP in {runtime.dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    _print_table([*rows, floor, step, views, slow], "CPU s" if args.cpu_seconds else "time, s")
    print(f"step / sum of the parts: {step.seconds / floor.seconds:.2f} (asked: at most {MOST})")
    print(f"straight step / step: {slow.seconds / step.seconds:.2f} (asked: at least {LEAST})")
    print(f"largest relative difference of a loss, same draws: {off:.1e} (asked: at most {SAME:.0e})")
    print(f"peak memory of a step: {memory:.2f} GiB ({'CUDA' if runtime.device.type == 'cuda' else 'process'})")


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
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "fp16", "bf16"])
    parser.add_argument("--cpu-seconds", action="store_true", help="for a busy machine, with OMP_NUM_THREADS=1")
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    height, width = text.lower().split("x")
    return int(height), int(width)


def _config(args: argparse.Namespace) -> EditConfig:
    """All terms of Eq. 2 and the bootstrap, steps of one size."""
    return EditConfig(
        prompts=("crochet swan",),
        roi="swan",
        size=min(args.size),
        views=ViewConfig(n_views=args.views),
        augment=AugmentConfig(crop=(1.0, 1.0), scale=(1.0, 1.0)),
        optim=OptimConfig(steps=args.steps + 4),
    )


def _parts(edit: PhotoEdit, n: int) -> dict[str, Callable[[], None]]:
    """The views, which are no part of the floor, and then its parts."""
    clip, generator, source = edit.clip, edit.generator, edit.runtime.formatted(edit.canvas)
    device, size = edit.runtime.device, clip.view_size(edit.size)
    views = torch.rand(2 * n, 3, *size, device=device)
    whole = torch.rand(1, 3, *clip.view_size(edit.size, STRUCTURE_LONG_SIDE), device=device)
    params = ViewParams.draw(ViewConfig(n_views=n), edit.size, torch.Generator().manual_seed(0))

    def paint() -> None:
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


def _both_ways(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    leaf = x.detach().clone().requires_grad_()

    def work() -> None:
        leaf.grad = None
        torch.autograd.backward(function(leaf).mean())

    return work


def _forward(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    def work() -> None:
        with torch.no_grad():
            function(x)

    return work


def _print_table(rows: list[Row], unit: str) -> None:
    print(f"\n{'':42}{unit:>10}{'TFLOP':>10}{'TFLOP/s':>10}")
    for row in rows:
        counted = f"{row.flops / TERA:10.3f}{row.flops / TERA / row.seconds:10.3f}" if row.flops / TERA > 5e-4 else ""
        print(f"{row.name:42}{row.seconds:10.3f}{counted}")
    print()


if __name__ == "__main__":
    main()
