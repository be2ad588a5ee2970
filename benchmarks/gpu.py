"""All that a GPU is needed for, in one command that ends in time by itself.

    python benchmarks/gpu.py --output DIR
    python benchmarks/gpu.py --output DIR --only photo,layer --minutes 4
    python benchmarks/gpu.py --output DIR --toy                  (all of it, tiny, on a CPU)

It writes gpu.json and gpu.md (the tables) and pictures into DIR, anew after every figure. The parts come in the order
of their weight; each has its share of the time and a process of its own. A part that fails or uses up its time keeps
what it has, and the next one begins. CLIP has its published weights if they are on this machine, else random ones of
the same size: no figure of time or memory depends on them. Linux only. Exit code 1 if a part failed, 2 if none can run.
"""

from __future__ import annotations

import time

START = time.monotonic()

import argparse  # noqa: E402 - the clock starts before anything is loaded
import contextlib  # noqa: E402
import dataclasses  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import shlex  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

sys.path.insert(1, str(Path(__file__).parents[1]))  # t2l_cli need not be installed

from gpu_parts import machine  # noqa: E402
from gpu_parts.report import JSON_NAME, MARKDOWN_NAME, Report, cell  # noqa: E402
from gpu_parts.run import Outcome, Part, Row, Task, Value, can_load, end, in_background, run_all  # noqa: E402
from gpu_parts.sizes import FULL, TOY, Sizes  # noqa: E402

CLOSING = 5.0  # s that are kept for the end
PATIENCE = 60.0  # s in which the device must answer
MACHINE = Part("machine", "The machine", "gpu_parts.machine:look", 1.0)
NAMES = ("photo", "layer", "gradients", "trainings", "formats", "kernels", "mapping", "fit", "compiled")


def main() -> int:
    """Measure, write and print."""
    args = _arguments()
    # In the parts' parent nothing may use CUDA, so the question whether there is a GPU is put to the driver.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")  # warm-up is what a first run takes
    logging.disable(logging.WARNING)  # open_clip's, that random weights are random
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    args.output.mkdir(parents=True, exist_ok=True)
    outcomes = [_checked(part) for part in _parts(args.sizes) if part.name in args.only]
    about = _about(args)
    _say(_needs(about["missing"], outcomes))
    report = Report(args.output, about, outcomes)
    report.write()
    if all(outcome.status == "cannot run" for outcome in outcomes):
        return 2
    if args.sizes.channels:
        _narrow(args.sizes.channels)
    device = _device(args)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.npy"
        task = Task(args.sizes, device, START + 60 * args.minutes - CLOSING, args.output, video)
        drawing = None
        if any(o.part.name == "fit" and o.status == "waiting" for o in outcomes):
            drawing = in_background(_draw, args.sizes, video)  # it takes half a minute: beside the other parts
        try:
            found = _measure(report, task)
        finally:
            if drawing:
                end(drawing)
    if not found:
        return 2
    print(report.markdown())
    _say(f"{args.output / JSON_NAME}, {args.output / MARKDOWN_NAME}")
    return int(not all(outcome.whole for outcome in outcomes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for what is found")
    parser.add_argument("--minutes", type=float, default=8.0, help="the whole ends within so many (default: 8)")
    parser.add_argument("--only", metavar="PART,...", help=f"some parts of: {', '.join(NAMES)}")
    parser.add_argument("--device", help="default: cuda, or cpu with --toy")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, to try the command itself")
    parser.add_argument("--clip", help="open_clip ViT, or mini; default: ViT-B-32")
    parser.add_argument("--commit", help="of this code, where git cannot tell")
    args = parser.parse_args()
    args.only = args.only.split(",") if args.only else NAMES
    if unknown := set(args.only) - set(NAMES):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    args.sizes = TOY if args.toy else FULL
    if args.clip:
        args.sizes = dataclasses.replace(args.sizes, clip=args.clip)
    return args


def _parts(sizes: Sizes) -> list[Part]:
    """All parts, with what the issue asks of them."""
    (height, width), (rows, columns), (fit_rows, fit_columns) = sizes.picture, sizes.frame, sizes.fit_frame
    whole, memory, ratio = "all steps, extrapolated, s", "peak memory, GiB", "times ours"
    photo: dict[str, Value] = {whole: "10, at most 20", memory: "at most 5.6 (6 GB)", ratio: "at least 6"}
    layer: dict[str, Value] = {whole: "60, at most 90", memory: "at most 5.6 (6 GB)", ratio: "at least 6"}
    fit: dict[str, Value] = {"time, s": "at most 180", memory: "at most 9.3 (10 GB)"}
    video = f"{sizes.frames} frames of"
    return [  # shares: seconds of eight minutes
        Part("photo", f"A photo's training, {height} x {width} px", "gpu_parts.jobs:photo", 55, photo),
        Part("layer", f"A layer's training, {video} {rows} x {columns} px", "gpu_parts.jobs:layer", 80, layer),
        Part("gradients", "CLIP's precision: the gradient of a step", "gpu_parts.precision:gradients", 35),
        Part("trainings", "CLIP's precision: short trainings", "gpu_parts.precision:trainings", 50),
        Part("formats", "A photo's step by precision and memory format", "gpu_parts.jobs:formats", 40),
        Part("kernels", "A photo's step by kernels", "gpu_parts.kernels:kernels", 20),
        Part("mapping", f"Mapping back, {video} {rows} x {columns} px", "gpu_parts.mapping:mapping", 15),
        Part("fit", f"fit-atlas, {video} {fit_rows} x {fit_columns} px", "gpu_parts.fit:fit", 85, fit),
        # Last: compiling takes longest, and least is known about it.
        Part("compiled", "A photo's step, compiled", "gpu_parts.jobs:compiled", 90),
    ]


def _about(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": args.commit or machine.commit(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": args.minutes,
        "toy": args.toy,
        "sizes": dataclasses.asdict(args.sizes),
        "missing": machine.missing(),
    }


def _checked(part: Part) -> Outcome:
    """A part that waits, or one that says why it cannot run here."""
    missing = can_load(part)
    return Outcome(part, "cannot run", missing) if missing else Outcome(part)


def _needs(missing: list[str], outcomes: list[Outcome]) -> str:
    """In one line: what of t2l's needs is missing, and what that means."""
    if not missing:
        return "all packages that t2l needs are here"
    cannot, can = ([o.part.name for o in outcomes if (o.status == "cannot run") is x] for x in (True, False))
    said = {"missing here": missing, "cannot run": cannot, "runs": can}
    return "; ".join(f"{what}: {', '.join(names) or 'none'}" for what, names in said.items())


def _measure(report: Report, task: Task) -> bool:
    """Look at the machine, then run the parts; every row is written and told. False where there is no such device."""
    for start in ("fork", "spawn"):
        look, task = Outcome(MACHINE), dataclasses.replace(task, start=start)
        brief = dataclasses.replace(task, until=min(task.until, time.monotonic() + PATIENCE))
        run_all([look], brief, lambda *_: None)
        if look.status == "done":
            break
        _say(f"{start}: the device does not answer: {look.error}")
    report.machine = {row.name: row.figures[""] for row in look.rows.values()}
    _say(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    if look.status != "done":
        for outcome in report.outcomes:
            outcome.status, outcome.error = "cannot run", outcome.error or look.error
        report.write()
        return False

    def news(outcome: Outcome, row: Row | None) -> None:
        report.write()
        seconds = f"{time.monotonic() - START:6.1f} s  {outcome.part.name}"
        if row is None:
            _say(f"{seconds}: {outcome.status} {outcome.error}".rstrip())
        else:
            _say(f"{seconds}: {row.name}: {', '.join(f'{k} {cell(v)}' for k, v in row.figures.items())}")

    run_all(report.outcomes, task, news)
    return True


def _device(args: argparse.Namespace) -> str:
    return args.device or ("cpu" if args.toy else "cuda")


def _narrow(channels: int) -> None:
    with contextlib.suppress(ImportError):  # then no part that has a generator runs
        import common

        common.narrow(channels)


def _draw(sizes: Sizes, path: Path) -> None:
    """Draw the video of the fit into ``path``, which appears when it is whole."""
    import generated
    import numpy as np

    height, width = sizes.fit_frame
    fresh = path.with_suffix(".new.npy")
    np.save(fresh, generated.moving((width, height), max(4, sizes.frames)))
    fresh.rename(path)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
