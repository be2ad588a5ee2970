"""What a batch costs beside its jobs: the time between jobs, the driver, Ray's start; and photos per hour.

    python benchmarks/batch.py --jobs 10000 --photos 5 --steps 10

prints the tables of docs/performance.md. Times are of the clock, so that a busy machine counts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
from PIL import Image

from t2l_cli.jobs.batch.batch import Batch, BatchRequest
from t2l_cli.jobs.batch.ray_workers import RayWorkers
from t2l_cli.jobs.batch.work import Desk, Here, Outcome, Task, Workers
from t2l_cli.jobs.photo import PhotoJob
from t2l_cli.progress import Reporter, Show, Silent

PROMPT = "red ball"


class NoOp(Desk):
    """A desk whose jobs do nothing."""

    def do(self, task: Task, reporter: Reporter) -> Outcome:
        """Nothing."""
        return Outcome(task.name, fingerprint="0", worker=self.who)


class NobodyAtWork(Here):
    """This process, doing nothing."""

    def run(self, tasks: Iterable[Task | None], reporter: Reporter, show: Show) -> Generator[Outcome, None, None]:
        """Every task is done at once."""
        desk = NoOp()
        return (desk.do(task, reporter) for task in tasks if task is not None)


@contextlib.contextmanager
def noted() -> Iterator[dict[str, float]]:
    """Within the context: when each job, by its output, is about to take its first step."""
    times: dict[str, float] = {}
    prepare = PhotoJob.prepare

    def prepared(job: PhotoJob) -> None:
        prepare(job)
        times[job.output.name] = time.monotonic()

    with mock.patch.object(PhotoJob, "prepare", prepared):
        yield times


def memory() -> float:
    """Of this process, in MB."""
    return float(psutil.Process().memory_info().rss) / 1e6


def driver(folder: Path, n: int, workers: Callable[[], Workers]) -> dict[str, float]:
    """The driver's cost of ``n`` jobs that do nothing: seconds of planning, ms per job, MB early and late."""
    (folder / "many").mkdir(exist_ok=True)
    for i in range(n):
        (folder / f"many/{i:05d}.png").touch()
    with tempfile.TemporaryDirectory(dir=folder) as out:
        request = BatchRequest(output=out, sources=(str(folder / "many"),), prompts=(PROMPT,), values={"clip": "mini"})
        batch = Batch(request, workers=workers)
        began = time.monotonic()
        planned = len(batch.jobs)
        planning = time.monotonic() - began
        early = since = 0.0
        for ended, _ in enumerate(batch, 1):
            if ended == planned // 10:
                early, since = memory(), time.monotonic()
        each = 1000 * (time.monotonic() - since) / (planned - planned // 10)
        again = time.monotonic()
        assert batch.run().status == "done"
        return {"planning": planning, "each": each, "early": early, "late": memory(), "again": time.monotonic() - again}


def photos(folder: Path, n: int) -> Path:
    """Photos of 320 x 240 px: a ball of another grey in each."""
    (folder / "photos").mkdir(exist_ok=True)
    y, x = np.mgrid[:240, :320]
    for i in range(n):
        inside = ((x - 160) ** 2 + (y - 120) ** 2 < 70**2)[..., None]
        rgb = np.where(inside, 90 + 5 * i, 200).repeat(3, -1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"photos/{i}.png")
    return folder / "photos"


def edits(folder: Path, n: int, steps: int, **more: Any) -> tuple[list[float], list[float]]:
    """Edit ``n`` photos with mini: seconds from a job's end to the next one's first step, and when each job ended."""
    values = {"clip": "mini", "preset": "draft", "matte": "off", "steps": steps, "device": "cpu"}
    with tempfile.TemporaryDirectory(dir=folder) as out:
        request = BatchRequest(output=out, sources=(str(photos(folder, n)),), prompts=(PROMPT,), values=values, **more)
        ends, names = [], []
        with noted() as ready:
            for entry in Batch(request):
                assert entry.error is None, entry.error
                ends.append(time.monotonic())
                names.append(entry.output)
    gaps = [ready[name] - end for name, end in zip(names[1:], ends, strict=False) if name in ready]
    return gaps, ends


def ray_start() -> float:
    """Seconds until an embedded Ray's first worker is ready."""
    began = time.monotonic()
    task = Task("x", "edit-image", "{}", {})
    with RayWorkers(workers=1, desk=NoOp) as workers:
        next(iter(workers.run([task], Silent(), lambda tick: None)))
        return time.monotonic() - began


def per_hour(ends: list[float]) -> float:
    """Jobs per hour, from the first one's end on."""
    return 3600 * (len(ends) - 1) / (ends[-1] - ends[0])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000, help="that do nothing")
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HOME"] = name  # Ray writes a token there
        here = driver(folder, asked.jobs, NobodyAtWork)
        print(f"{asked.jobs} no-op jobs, in this process: {here}", flush=True)
        start = ray_start()
        print(f"embedded Ray, until its first worker is ready: {start:.1f} s", flush=True)
        ray = driver(folder, asked.jobs, lambda: RayWorkers(workers=1, desk=NoOp))
        print(f"{asked.jobs} no-op jobs, one of Ray's workers: {ray}", flush=True)
        gaps, ends = edits(folder, asked.photos, asked.steps, threads=1)
        one = per_hour(ends)
        print(f"mini: between jobs {max(gaps):.2f} s at most, {one:.0f} photos/h with one worker", flush=True)
        _, ends = edits(folder, 2 * asked.photos, asked.steps, workers=2, threads=1)
        two = per_hour(ends[1:])
        print(f"{two:.0f} photos/h with two of Ray's workers", flush=True)
        print(
            "\n| workers | jobs of a minute per hour, on paper | the driver's share of its time |\n| --- | --- | --- |"
        )
        for n in (1, 2, 8, 64, 1000):
            busy = n * ray["each"] / 60_000
            print(f"| {n:,} | {min(60 * n, 3_600_000 / ray['each']):,.0f} | {100 * min(busy, 1):.2g} % |")


if __name__ == "__main__":
    main()
