"""The supplement's two jobs beside the straight way, and the ways in which a photo's training can be computed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import common
import generated
import torch

from gpu_parts.courses import Course, Make, Way, guarded
from gpu_parts.run import Row, Task, Value
from gpu_parts.sizes import CUDA_GRAPHS, Sizes
from t2l_cli.config import STILL, EditConfig, video_config
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.runtime import resolve
from t2l_cli.engine.video import VideoEdit

PROMPTS, ROI = ("crochet swan",), "swan"
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class Job:
    """A training: ``steps`` in all, and what makes it."""

    steps: int
    make: Make


def photo_job(sizes: Sizes) -> Job:
    """A photo, of a generated picture."""
    torch.manual_seed(0)
    picture = common.smooth_picture(sizes.picture)
    config = _fitted(EditConfig(PROMPTS, roi=ROI), sizes, min(sizes.picture))
    return Job(config.optim.steps, lambda clip, runtime: PhotoEdit(picture, clip, config, runtime))


def layer_job(sizes: Sizes) -> Job:
    """The background of a video, whose frames slide over a generated atlas."""
    atlas, frames = generated.sliding(sizes.frame, sizes.frames, sizes.texels)
    config = _fitted(dataclasses.replace(video_config(PROMPTS), roi=ROI), sizes, min(sizes.frame))
    make: Make = lambda clip, runtime: VideoEdit(frames, atlas, "background", clip, config, runtime)  # noqa: E731
    return Job(config.optim.steps, make)


def photo(task: Task) -> Iterator[Row]:
    """A photo's training, and the straight way in eager float32 beside it."""
    yield from _headline(task, photo_job(task.sizes))


def layer(task: Task) -> Iterator[Row]:
    """A layer of a video, likewise."""
    yield from _headline(task, layer_job(task.sizes))


def formats(task: Task) -> Iterator[Row]:
    """A photo's training with CLIP in each precision, the generator in each memory format."""
    own = resolve(task.device)
    ways = [
        Way(f"{half}, {form}", dataclasses.replace(own, dtype=dtype, memory_format=layout))
        for half, dtype in HALVES.items()
        for form, layout in FORMATS.items()
    ]
    ways.append(Way("float32, channels_last, no TF32", ways[-2].runtime, tf32=False))
    job = photo_job(task.sizes)
    for i, way in enumerate(ways):
        yield from guarded(way.name, lambda way=way, i=i: _timed(task, job, way, task.left() / (len(ways) - i)))


def compiled(task: Task) -> Iterator[Row]:
    """A photo's training as it is, and compiled; warm-up is counted apart."""
    own = resolve(task.device)
    job = photo_job(task.sizes)
    compilers = task.sizes.compilers
    plain = Way("not compiled", own)
    yield from guarded(plain.name, lambda: _timed(task, job, plain, task.left() / 8))
    for i, name in enumerate(compilers):
        way = Way(name, dataclasses.replace(own, compiler=cuda_graphs if name == CUDA_GRAPHS else name))
        yield from guarded(
            name, lambda way=way, i=i: _compiled(task, job, way, 0.9 * task.left() / (len(compilers) - i))
        )


def cuda_graphs(module: Any, inputs: Any) -> Any:
    """What torch.compile(mode="reduce-overhead") does, as a backend."""
    from torch._inductor import list_mode_options
    from torch._inductor.compile_fx import compile_fx

    return compile_fx(module, inputs, config_patches=list_mode_options("reduce-overhead"))


def own_way(device: str) -> Way:
    """What t2l does on ``device`` when it is not told otherwise."""
    runtime = resolve(device)
    form = next(name for name, layout in FORMATS.items() if layout == runtime.memory_format)
    return Way(f"t2l: CLIP in {str(runtime.dtype).removeprefix('torch.')}, {form}", runtime)


def straight_way(device: str) -> Way:
    """Eager float32 without TF32, channels first; every picture of every term embedded by itself, every loss read."""
    own = resolve(device)
    runtime = dataclasses.replace(own, dtype=torch.float32, memory_format=torch.contiguous_format, check_every=1)
    return Way("the straight way in float32", runtime, tf32=False, straight=True)


def _headline(task: Task, job: Job) -> Iterator[Row]:
    """Blocks of both ways in turns, until the job is done or the time is used; every turn makes the figures better."""
    sizes = task.sizes
    ours = Course(job.make, sizes.clip, own_way(task.device))
    ours.warm(sizes.warm)
    straight = Course(job.make, sizes.clip, straight_way(task.device))
    straight.warm(sizes.warm)
    name = f"{ours.way.name}, {ours.weights}"
    few = _count(straight, task.left() / (1 + sizes.straight_blocks), sizes.block)
    for k in range(sizes.blocks):
        ours.block(sizes.block)
        yield Row(name, ours.figures(job.steps) | {"times ours": 1.0})
        if k < sizes.straight_blocks:
            straight.block(few)
        yield Row(straight.way.name, straight.figures(job.steps) | {"times ours": straight.step / ours.step})
        next_turn = sizes.block * ours.step + (few * straight.step if k + 1 < sizes.straight_blocks else 0.0)
        if next_turn > task.left():
            return


def _timed(task: Task, job: Job, way: Way, seconds: float) -> Iterator[Row]:
    """Blocks of ``way``, of as many steps as ``seconds`` allow."""
    until = time.monotonic() + seconds
    course = Course(job.make, task.sizes.clip, way)
    course.warm(task.sizes.warm)
    yield from _blocks(course, until, task.sizes)


def _compiled(task: Task, job: Job, way: Way, seconds: float) -> Iterator[Row]:
    """A compiled training: first the steps in which every size of picture comes up, then blocks."""
    from torch._dynamo.utils import counters

    until = time.monotonic() + seconds
    torch.compiler.reset()
    torch.compiler.set_stance("default")  # a failed way before this one has switched compiling off
    counters.clear()
    course = Course(job.make, task.sizes.clip, way)
    for i in range(task.sizes.compiled_warm):
        course.warm(1, count=False)
        if i == 0:
            first: dict[str, Value] = {"first step, s": course.warm_seconds}
            yield Row(way.name, first)
        if time.monotonic() > until - seconds / 4:
            break
    for row in _blocks(course, until, task.sizes):
        graphs = counters["stats"]["unique_graphs"]
        yield Row(row.name, first | row.figures | {"warm-up, steps": i + 1, "graphs": graphs})


def _blocks(course: Course, until: float, sizes: Sizes) -> Iterator[Row]:
    few = _count(course, (until - time.monotonic()) / sizes.other_blocks, sizes.block)
    for _ in range(sizes.other_blocks):
        course.block(few)
        yield Row(course.way.name, course.figures())


def _count(course: Course, seconds: float, most: int) -> int:
    """How many of its steps there are ``seconds`` for, from 1 to ``most``."""
    return max(1, min(most, int(seconds / course.probe()))) if most > 1 else 1


def _fitted(config: EditConfig, sizes: Sizes, side: int) -> EditConfig:
    """``config`` at the size of the benchmark."""
    views = dataclasses.replace(config.views, n_views=sizes.views or config.views.n_views)
    augment = STILL if sizes.still else config.augment
    return dataclasses.replace(config, size=side, views=views, augment=augment)
