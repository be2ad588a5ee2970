"""fit-atlas on a generated video of the published method's size: time a stage, memory, quality."""

from __future__ import annotations

import time
from collections.abc import Iterator

import measure
import numpy as np
import torch
from torch import Tensor

from gpu_parts.run import Row, Task, Value
from t2l_cli.config import FitConfig
from t2l_cli.engine.atlas.model import VideoIdentity
from t2l_cli.engine.atlas.networks import NeuralAtlas, normalised
from t2l_cli.engine.fit.fit import AtlasFit
from t2l_cli.settings import FIT

BATCH, STEPS = 10_000, 400_000  # of the published training
TIMED = 20  # steps of it that are measured
PART = 0.8  # of the time, for the fit's steps; the rest is for the atlas, its quality and the published way


def fit(task: Task) -> Iterator[Row]:
    """The stages of a fit, the whole, and one step of Layered Neural Atlases beside it."""
    frames = torch.from_numpy(_drawn(task)).permute(0, 3, 1, 2).contiguous()
    height, width = frames.shape[-2:]
    config = FIT.configure({"device": task.device}, task.sizes.fit_preset)
    device = torch.device(task.device)
    measure.forget_peak(device)
    fitting = AtlasFit(frames, config, VideoIdentity(len(frames), width, height))
    yield from _stages(fitting, task, config)
    if task.sizes.layered_neural_atlas:
        seconds = lna_step_seconds(device, (width, height), len(frames))
        figures: dict[str, Value] = {"a step, ms": 1000 * seconds, "steps in all": STEPS, "time, s": STEPS * seconds}
        yield Row(f"Layered Neural Atlases, {BATCH} px a step: extrapolated", figures)


def _drawn(task: Task) -> np.ndarray:
    """The video (T, H, W, 3), once it is drawn."""
    while task.video is None or not task.video.exists():
        if task.left() <= 0:
            raise TimeoutError("the video was not drawn in time")
        time.sleep(0.1)
    return np.asarray(np.load(task.video))


def _stages(fitting: AtlasFit, task: Task, config: FitConfig) -> Iterator[Row]:
    """Time of each stage, of the atlas then made, of the whole; extrapolated where time is too short for all steps."""
    device = torch.device(task.device)
    until = time.monotonic() + PART * task.left()
    begin = time.perf_counter()
    stage, first, since, last = "", 0, begin, begin
    done, n = 0, 1
    for step in fitting:
        if step.stage != stage:
            if stage:
                yield _row(stage, last - since, done - first, n)
            stage, first, since = step.stage, step.i, last
        last, done, n = time.perf_counter(), step.i + 1, step.n
        if fitting.ready and (time.monotonic() > until or done == task.sizes.fit_steps):
            break
    measure.wait(device)
    last = time.perf_counter()
    yield _row(stage, last - since, done - first, n)
    fitting.result()
    making = time.perf_counter() - last
    yield Row("atlas made", {"time, s": making})
    missing = (n - done) * (last - since) / (done - first)
    name = f"the whole fit, {config.visits} visits"
    if missing:
        name += f", extrapolated from {done} of {n} steps, by the rate of {stage}"
    whole: dict[str, Value] = {
        "time, s": last - begin + making + missing,
        "peak memory, GiB": measure.peak_memory(device),
    }
    yield Row(name, whole)
    yield Row(name, whole | {"PSNR, dB": fitting.quality().psnr})


def _row(stage: str, seconds: float, steps: int, n: int) -> Row:
    return Row(stage, {"time, s": seconds, "steps": steps, "steps in all": n, "a step, ms": 1000 * seconds / steps})


def lna_step_seconds(device: torch.device, size: tuple[int, int], frames: int) -> float:
    """Seconds that one step of the published training takes: the median of ``TIMED``.

    Its colours and their gradients need the reconstruction at a pixel and at its neighbours, its rigidity both mappings
    at two more points, its flow terms mappings and opacity at the matched pixel of the next frame.
    """
    networks = NeuralAtlas().to(device)
    optimizer = torch.optim.Adam(networks.parameters(), lr=1e-4)
    limit = torch.tensor([size[0] - 1.0, size[1] - 1.0, frames - 1.0], device=device)

    def step() -> None:
        where = torch.rand(BATCH, 3, device=device) * limit
        optimizer.zero_grad()
        _lna_loss(networks, where.round(), size, frames).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()

    return measure.median_seconds({"": step}, device, TIMED, time.perf_counter)[""]


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
