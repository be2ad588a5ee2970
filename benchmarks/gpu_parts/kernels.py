"""Where the time of a photo's step goes on the device: the kernels that take most of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from gpu_parts.courses import Course
from gpu_parts.jobs import own_way, photo_job
from gpu_parts.run import Row, Task, Value

MOST = 15  # kernels that are shown
LONGEST = 90  # characters of a kernel's name


def kernels(task: Task) -> Iterator[Row]:
    """The longest kernels of a step, beside the step by the clock without the profiler."""
    n = task.sizes.profiled
    course = Course(photo_job(task.sizes).make, task.sizes.clip, own_way(task.device))
    course.warm(task.sizes.warm, count=False)
    course.block(n)
    on_cuda = course.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as profiler:
        course.block(n)
    found = sorted(
        (
            (event.key, event.count, _seconds(event, on_cuda))
            for event in profiler.key_averages()
            if _counts(event, on_cuda)
        ),
        key=lambda one: -one[2],
    )
    busy = sum(seconds for _, _, seconds in found)
    clock = n * course.seconds[0]
    yield Row("a step by the clock", _figures(n, clock, clock))
    yield Row("all kernels" if on_cuda else "all operations", _figures(n, busy, clock, sum(c for _, c, _ in found)))
    for name, count, seconds in found[:MOST]:
        yield Row(name[:LONGEST], _figures(n, seconds, clock, count))


def _figures(n: int, seconds: float, clock: float, count: int | None = None) -> dict[str, Value]:
    """Of ``n`` steps that took ``clock`` seconds: what ``seconds`` and ``count`` calls are for one."""
    calls: Value = "" if count is None else count / n
    return {"ms a step": 1000 * seconds / n, "part of the step, %": 100 * seconds / clock, "calls a step": calls}


def _counts(event: Any, on_cuda: bool) -> bool:
    """Kernels and copies on CUDA; not the operations and marks around them, which have the same time once more."""
    return not on_cuda or (event.device_type == DeviceType.CUDA and not event.is_user_annotation)


def _seconds(event: Any, on_cuda: bool) -> float:
    return float(event.self_device_time_total if on_cuda else event.self_cpu_time_total) / 1e6
