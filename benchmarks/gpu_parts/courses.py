"""One training in progress, in one way of computing it: its time, operations and memory a step."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import common
import measure
import torch

from gpu_parts.run import ERROR, Row, Value
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.edit import Edit
from t2l_cli.engine.optimize import Step
from t2l_cli.engine.runtime import Runtime

Make = Callable[[Clip, Runtime], Edit]


@dataclass(frozen=True)
class Way:
    """A way to compute: the engine's runtime, whether float32 products may be TF32, whether it is the straight way."""

    name: str
    runtime: Runtime
    tf32: bool = True
    straight: bool = False


class Course:
    """A training of the edit that ``make`` makes, in one ``way``.

    seconds: a step, of each block. done: steps in the blocks. setup, warm_seconds: of preparing, of the first steps.
    flops: of a step, where counted. peak: GiB in use for it at most, without what others hold; on a CPU of the process.
    """

    def __init__(self, make: Make, clip_name: str, way: Way) -> None:
        """Prepare the edit with a CLIP of its own."""
        self.way, self.device = way, way.runtime.device
        self.seconds: list[float] = []
        self.done, self.flops, self.warm_seconds, self.peak = 0, 0.0, 0.0, 0.0
        others = measure.memory_in_use(self.device)
        measure.forget_peak(self.device)
        start = time.perf_counter()
        with measure.products(way.tf32):
            clip, self.weights = common.clip_at_hand(clip_name, way.runtime)
            self.edit = make(clip, way.runtime)
            self.steps = common.straight_steps(self.edit) if way.straight else iter(self.edit)
        measure.wait(self.device)
        self.setup = time.perf_counter() - start
        self._note_peak(others)
        self.rest = measure.memory_in_use(self.device) - others

    def warm(self, n: int, count: bool = True) -> None:
        """Take ``n`` steps that are not timed one by one; ``count`` the operations of all but the first.

        The first looks at the un-augmented pair too.
        """
        others = measure.memory_in_use(self.device) - self.rest
        measure.forget_peak(self.device)
        start = time.perf_counter()
        counted = max(1, n - 1) if count else 0
        self._take(n - counted)
        if counted:
            self.flops = measure.flops(lambda: self._take(counted)) / counted
        measure.wait(self.device)
        self.warm_seconds += time.perf_counter() - start
        self._note_peak(others)
        self.rest = measure.memory_in_use(self.device) - others

    def block(self, n: int) -> None:
        """Take ``n`` steps and the time for them, without waiting for the device in between."""
        measure.wait(self.device)
        others = measure.memory_in_use(self.device) - self.rest
        measure.forget_peak(self.device)
        start = time.perf_counter()
        self._take(n)
        measure.wait(self.device)
        self.seconds.append((time.perf_counter() - start) / n)
        self.done += n
        self._note_peak(others)

    def probe(self) -> float:
        """Seconds of one step that does not count."""
        self.block(1)
        self.done -= 1
        return self.seconds.pop()

    @property
    def step(self) -> float:
        """Seconds a step: the median of the blocks."""
        return statistics.median(self.seconds)

    def figures(self, whole: int = 0) -> dict[str, Value]:
        """What was measured; with the time of ``whole`` steps, extrapolated."""
        figures: dict[str, Value] = {
            "a step, ms": 1000 * self.step,
            "blocks, ms a step": f"{1000 * min(self.seconds):.1f} to {1000 * max(self.seconds):.1f}",
            "steps timed": self.done,
        }
        if whole:
            figures["all steps, extrapolated, s"] = whole * self.step
        figures |= {"set-up, s": self.setup, "warm-up, s": self.warm_seconds, "peak memory, GiB": self.peak}
        if self.flops:
            figures |= {
                "TFLOP a step": self.flops / measure.TERA,
                "TFLOP/s": self.flops / measure.TERA / self.step,
            }
        return figures

    def _take(self, n: int) -> None:
        with measure.products(self.way.tf32):
            for _ in range(n):
                if self.way.runtime.compiler:
                    torch.compiler.cudagraph_mark_step_begin()
                step = next(self.steps)
                if isinstance(step, Step) and step.note:  # it went on in another way than the one to be measured
                    raise RuntimeError(step.note)

    def _note_peak(self, others: float) -> None:
        self.peak = max(self.peak, measure.peak_memory(self.device) - others)


def guarded(name: str, work: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows of ``work``; if it fails, the row ``name`` says so. What comes after it has the device's memory back."""
    figures: dict[str, Value] = {}
    try:
        for row in work():
            figures = row.figures if row.name == name else figures
            yield row
    except Exception as error:
        yield Row(name, figures | {ERROR: f"{type(error).__name__}: {error}"[:300]})
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
