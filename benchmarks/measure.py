"""What the benchmarks share to measure by: time, floating-point operations and memory. It needs torch alone."""

from __future__ import annotations

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

TERA = 1e12


@dataclass(frozen=True)
class Row:
    """One line of a table: what, its time (s) and its counted floating-point operations."""

    name: str
    seconds: float
    flops: float


@contextlib.contextmanager
def products(tf32: bool) -> Iterator[None]:
    """Products and convolutions of float32 in TF32, or in full."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, the median of five."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = torch.rand(2, side, side, device=device, dtype=dtype)
    seconds = median_seconds({"": lambda: a @ b}, device, 5, time.perf_counter)[""]
    return float(2 * side**3 / seconds)


def median_seconds(
    works: Mapping[str, Callable[[], object]], device: torch.device, repeat: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each, taken in turns: a machine that slows down slows all of them. The first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeat + 1):
        for name, work in works.items():
            wait(device)
            start = clock()
            work()
            wait(device)
            seconds[name].append(clock() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def wait(device: torch.device) -> None:
    """Wait until ``device`` has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def flops(work: Callable[[], object]) -> float:
    """Floating-point operations of ``work``, a multiplication and an addition counted as two."""
    torch.backends.mha.set_fastpath_enabled(False)  # without gradient torch takes a kernel that the counter misses
    with FlopCounterMode(display=False) as counter:
        work()
    torch.backends.mha.set_fastpath_enabled(True)
    return float(counter.get_total_flops())


def forget_peak(device: torch.device) -> None:
    """Begin to measure peak memory anew, where that can be done."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def memory_in_use(device: torch.device) -> float:
    """GiB that CUDA's allocator has handed out; 0 on other devices."""
    return torch.cuda.memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def peak_memory(device: torch.device) -> float:
    """GiB: of CUDA's allocator since ``forget_peak``, or of this process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
