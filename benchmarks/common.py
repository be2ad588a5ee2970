"""What the benchmarks share: a CLIP without a download, the straight way to Eq. 2, time, operations and memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import open_clip
import torch
import torch.nn.functional as F
from madgrad import MADGRAD
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from t2l_cli.engine.clip import Clip
from t2l_cli.engine.edit import Edit
from t2l_cli.engine.losses import (
    bootstrap_loss,
    cosine_loss,
    directional_loss,
    screen_loss,
    sparsity_loss,
    structure_loss,
)
from t2l_cli.engine.objective import Example, Objective
from t2l_cli.engine.optimize import learning_rate
from t2l_cli.engine.runtime import Runtime
from t2l_cli.engine.views import make_views
from t2l_cli.weights.loading import load_clip

TERA = 1e12


@dataclass(frozen=True)
class Row:
    """One line of a table: what, its time (s) and its counted floating-point operations."""

    name: str
    seconds: float
    flops: float


def clip_of(name: str, random_weights: bool, runtime: Runtime) -> Clip:
    """The CLIP ``name``; with ``random_weights`` of the same size, without a download."""
    if random_weights:
        model, tokenizer = open_clip.create_model(name), open_clip.get_tokenizer(name)
    else:
        loaded = load_clip(name)
        model, tokenizer = loaded.model, loaded.tokenizer
    return Clip(model, tokenizer, runtime.device, runtime.dtype)


def smooth_picture(size: tuple[int, int]) -> Tensor:
    """A random smooth picture (3, H, W) in [0, 1]."""
    return F.interpolate(torch.rand(1, 3, 9, 12), size=size, mode="bilinear")[0]


class StraightObjective(Objective):
    """Eq. 2 as one reads it: every picture of every term is looked at and embedded by itself, as in the published code.

    With n views: 4 n views forward and 3 n backward, where ``Objective`` needs 3 n and 2 n.
    """

    def _terms(self, example: Example, bootstrap: float) -> dict[str, Tensor]:
        weights, texts, layer = self.weights, example.texts, example.layer
        composite = layer.over(example.source)
        with torch.no_grad():
            source, source_structure = self._embed(example.source, example), self.structure(example.source)
        terms = {
            "cosine": cosine_loss(self._embed(composite, example), texts.target, weights.distance),
            "direction": directional_loss(self._embed(composite, example), source, texts.direction),
            "screen": weights.screen
            * screen_loss(self._embed(layer.over_green(), example), texts.screen, weights.distance),
            "structure": weights.structure * structure_loss(source_structure, self.structure(composite)),
            "sparsity": weights.sparsity * sparsity_loss(layer.alpha, weights.l1),
        }
        if example.relevancy is not None:
            terms["bootstrap"] = weights.bootstrap * bootstrap * bootstrap_loss(layer.alpha, example.relevancy)
        return terms

    def _embed(self, picture: Tensor, example: Example) -> Tensor:
        size = self.clip.view_size((picture.shape[-2], picture.shape[-1]))
        return self.clip.embed_images(make_views(picture, example.views, size))


def straight_steps(edit: Edit) -> Iterator[dict[str, float]]:
    """``edit``'s training in the straight way: parameter by parameter, and every loss is read at every step."""
    edit.objective = StraightObjective(edit.clip, edit.config.weights)
    config, random = edit.config.optim, edit._run._random  # the stream that ours draws from, for the same draws
    optimizer = MADGRAD(
        edit.generator.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    for i in range(config.steps):
        optimizer.param_groups[0]["lr"] = learning_rate(config, i)
        optimizer.zero_grad()
        losses = edit.losses(edit.generator, random, i)
        losses.total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        yield {name: term.item() for name, term in losses.terms.items()}


def difference(ours: Edit, straight: Edit, draws: int = 2) -> float:
    """The largest relative difference of a term of both objectives, for the same pictures and the same draws."""
    apart = []
    for seed in range(draws):
        with torch.no_grad():
            a, b = (
                edit.losses(ours.generator, torch.Generator().manual_seed(seed), 1).terms for edit in (ours, straight)
            )
        apart += [(a[name] - b[name]).abs() / b[name].abs().clamp(min=1e-12) for name in b]
    return torch.stack(apart).max().item()  # NaN, if there is one


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


def peak_memory(device: torch.device) -> float:
    """GiB: of CUDA's allocator since ``forget_peak``, or of this process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
