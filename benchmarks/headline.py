"""The supplement's two headline jobs, ours and the straight way in float32, side by side on this machine.

    python benchmarks/headline.py --device cuda
    python benchmarks/headline.py --job picture --size 160x160 --views 4 --steps 2    (on a CPU)

picture: 512 x 512, 1000 steps, 16 views (9 minutes on an RTX 6000, says the supplement).
clip: one layer of 70 frames of 432 x 768, 3000 steps, 6 views (60 minutes on an RTX 8000), on an atlas made here.
CLIP is a ViT-B/32 with random weights: speed does not depend on their values.

The straight way is eager float32 (no TF32), channels first; it embeds every picture of every term by itself, steps
parameter by parameter and reads every loss, as the published code does. Both ways draw the same pictures and views.
Steps are measured in turns, after one that warms up; the whole job's time is so many times their mean.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import common
import torch
from common import TERA
from video import synthetic

from t2l_cli.config import EditConfig, OptimConfig, video_config
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.edit import Edit
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.runtime import Runtime, resolve
from t2l_cli.engine.video import VideoEdit

Make = Callable[[Clip, Runtime], Edit]


@dataclass(frozen=True)
class Way:
    """One way to do a job: seconds and counted operations a step, peak memory (GiB)."""

    name: str
    seconds: float
    flops: float
    memory: float


def main() -> None:
    """Measure and print."""
    args = _arguments()
    torch.manual_seed(0)
    runtime = resolve(args.device, args.precision, args.compiler)
    device = runtime.device
    plain = Runtime(device, torch.float32, torch.contiguous_format, check_every=1, compiler="")
    rate = common.matmul_rate(device, runtime.dtype)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, CLIP {args.clip} in {runtime.dtype}, {args.steps} steps measured")
    print(f"matrix products in {runtime.dtype}: {rate / TERA:.3g} TFLOP/s\n")
    print("| job | way | a step | steps/s | whole job | TFLOP a step | TFLOP/s | of matmul | peak memory |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    clips = {way: common.clip_of(args.clip, True, way) for way in (runtime, plain)}
    for job, make, steps in _jobs(args):
        ours, straight = _both(lambda way, make=make: make(clips[way], way), runtime, plain, args.steps)
        for way in (ours, straight):
            speed = way.flops / way.seconds
            print(
                f"| {job} | {way.name} | {way.seconds:.3f} s | {1 / way.seconds:.2f} | {way.seconds * steps:.0f} s "
                f"| {way.flops / TERA:.3f} | {speed / TERA:.3g} | {100 * speed / rate:.0f} % | {way.memory:.2f} GiB |"
            )
        print(f"| {job} | ratio | {straight.seconds / ours.seconds:.2f} | | | | | | |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", choices=["picture", "clip", "both"], default="both")
    parser.add_argument("--steps", type=int, default=100, help="measured steps, of which the whole job is extrapolated")
    parser.add_argument("--size", metavar="HxW", help="picture or frame, px, if not the supplement's")
    parser.add_argument("--views", type=int, help="if not the supplement's")
    parser.add_argument("--frames", type=int, default=70, help="of the clip")
    parser.add_argument("--clip", default="ViT-B-32", help="open_clip ViT")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--compiler", default="", help="backend of torch.compile for ours on CUDA, such as inductor")
    return parser.parse_args()


def _jobs(args: argparse.Namespace) -> Iterator[tuple[str, Make, int]]:
    """Name, maker and steps of the jobs that are asked for."""
    if args.job != "clip":
        height, width = _size(args.size or "512x512")
        config = EditConfig(("crochet swan",), roi="swan")
        picture = common.smooth_picture((height, width))
        short = _config(config, args, min(height, width))
        yield "picture", lambda clip, runtime: PhotoEdit(picture, clip, short, runtime), config.optim.steps
    if args.job != "picture":
        height, width = _size(args.size or "432x768")
        layer = video_config(("crochet swan",))
        atlas, frames = synthetic((height, width), args.frames, 2 * height)
        brief = _config(dataclasses.replace(layer, roi="swan"), args, min(height, width))
        yield (
            "clip",
            lambda clip, runtime: VideoEdit(frames, atlas, "background", clip, brief, runtime),
            layer.optim.steps,
        )


def _config(config: EditConfig, args: argparse.Namespace, size: int) -> EditConfig:
    """``config`` at ``size``, with enough steps to measure; the rate does not change what a step costs."""
    optim = OptimConfig(steps=args.steps + 2)
    views = dataclasses.replace(config.views, n_views=args.views or config.views.n_views)
    return dataclasses.replace(config, size=size, optim=optim, views=views)


def _size(text: str) -> tuple[int, int]:
    height, width = text.lower().split("x")
    return int(height), int(width)


def _both(make: Callable[[Runtime], Edit], runtime: Runtime, plain: Runtime, n: int) -> tuple[Way, Way]:
    """Ours and the straight way: ``n`` steps of each in turns, and the same ones again to count their operations."""
    device = runtime.device

    def begin() -> list[tuple[Iterator[object], Callable[[], contextlib.AbstractContextManager[None]]]]:
        return [(iter(make(runtime)), contextlib.nullcontext), (common.straight_steps(make(plain)), _float32)]

    flops = []
    for steps, precision in begin():
        with precision():
            next(steps)
            flops.append(common.flops(lambda steps=steps: list(itertools.islice(steps, n))) / n)
    seconds, memory = [0.0, 0.0], [0.0, 0.0]
    ways = begin()
    for i in range(n + 1):
        for k, (steps, precision) in enumerate(ways):
            with precision():
                common.wait(device)
                common.forget_peak(device)
                start = time.perf_counter()
                next(steps)
                common.wait(device)
                seconds[k] += time.perf_counter() - start if i else 0.0  # the first one warms up
                memory[k] = max(memory[k], common.peak_memory(device))
    ours, straight = (Way(name, seconds[k] / n, flops[k], memory[k]) for k, name in enumerate(("ours", "straight")))
    return ours, straight


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """Full float32 in products and convolutions."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


if __name__ == "__main__":
    main()
