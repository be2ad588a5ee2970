"""Train mini:  python -m mini.train --steps 3200 --seed 1 --out base.safetensors
and refine it, five times:  python -m mini.train --start base.safetensors --steps 900 --seed 6 --lr 1e-3

The losses (mini/losses.py):
contrast    captions against pictures, with the exact table of which caption is true of which picture; twins and
            mixtures are each other's hard negatives
direction   the difference of twins' embeddings against the difference of their texts, on which an edit descends
heads       read colour, texture and noun from the patches; discarded afterwards
wholeness   a change on a part of the object, or beyond its edge, must fit less well than a whole one
place       the similarity with the object's name must come from the object's patches
descent     the fit of a colour or texture must rise evenly on the way to it
deceit      adversarial coarse paint must fit a texture less well than the texture itself

The first half of a training shows half of each picture's patches, without wholeness and place. Descent acts where a
lesson has detours, and deceit where there is an attack: in refinements. A refinement ends with the mean of the weights
before and after it, which descends better than either (as in WiSE-FT, Wortsman et al., CVPR 2022).

Each step draws its own pictures from (seed, step). A run that continues from its checkpoint gives the same result as an
uninterrupted one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mini.lessons import lesson
from mini.losses import losses
from mini.painting import Canvas
from mini.student import Student, optimisers, save
from t2l_cli.weights.mini import load

LR = 2e-3
WARMUP = 100  # steps
DECAY_FROM = 0.6  # part of the run after which the learning rate decays
SOFTEST, SHARPEST = 0.0, (3.4, 2.7)  # bounds of the log inverse temperatures: a sharper model is harder to descend on
WEIGHTS = {"contrast": 1.0, "direction": 1.0, "whole": 5.0, "descent": 5.0, "deceit": 5.0, "place": 1.0}
HEADS = {"patches": 1.0, "scene": 0.4}  # fall with the learning rate to a fifth: labels help most at the beginning
KEPT = 0.5  # part of the initial weights in the result of a refinement


@dataclass(frozen=True)
class Course:
    """The course of a run. Parts are parts of the run's steps."""

    mixtures: float  # per scene
    detours: float  # part of the mixtures with a changed colour or texture
    attack: int  # steps in which deceiving paint is optimised
    half_until: float  # the part until which pictures show half of their patches, which costs two thirds of the time
    labels: bool  # whether the losses of the heads count
    average_from: float  # the part from which the saved weights are a running mean
    average_rate: float  # of the running mean


FRESH = Course(0.6, 0.0, 0, 0.5, True, 0.85, 0.02)
REFINEMENT = Course(0.8, 0.8, 8, 0.0, False, 0.7, 0.01)


def rate(step: int, steps: int) -> float:
    """Factor on the learning rate: warm-up, constant, then linear decay to 2 %."""
    left = (steps - step) / (steps * (1 - DECAY_FROM))
    return min(1.0, (step + 1) / WARMUP, max(0.02, left))


def between(a: dict[str, Tensor], b: dict[str, Tensor], part: float) -> dict[str, Tensor]:
    """The weights at ``part`` of the way from ``a`` to ``b``."""
    return {k: v.lerp(b[k], part) if v.is_floating_point() else v for k, v in a.items()}


@dataclass
class TrainingRun:
    """The student and its optimisers in training, which a file can keep."""

    student: Student
    optimisers: list[torch.optim.Optimizer]
    average: dict[str, Tensor] | None = None
    step: int = 0

    def save(self, path: Path) -> None:
        """Write the file completely or not at all."""
        state = {
            "student": self.student.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "average": self.average,
            "step": self.step,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def restore(self, path: Path) -> None:
        """Go on from the file."""
        state = torch.load(path, weights_only=True)
        self.student.load_state_dict(state["student"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.average, self.step = state["average"], state["step"]


def train(
    run: TrainingRun, canvas: Canvas, steps: int, seed: int, course: Course = FRESH
) -> Iterator[dict[str, float]]:
    """Train until ``steps``; yield the losses of each step, by name."""
    student = run.student
    base = [o.defaults["lr"] for o in run.optimisers]  # not the groups' rates, which in a checkpoint have decayed
    while run.step < steps:
        part, factor = run.step / steps, rate(run.step, steps)
        for optimiser, lr in zip(run.optimisers, base, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = lr * factor
        generator = torch.Generator(canvas.noise.device).manual_seed(seed + 7919 * run.step)
        taught = lesson(canvas, seed, run.step, course.mixtures, course.detours)
        terms = losses(student, taught, part < course.half_until, generator, course.attack)
        help_ = 0.2 + 0.8 * factor if course.labels else 0.0
        loss = torch.stack([WEIGHTS.get(k, help_ * HEADS.get(k, 0.0)) * v for k, v in terms.items()]).sum()
        for optimiser in run.optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(student.parameters(), 4.0)
        for optimiser in run.optimisers:
            optimiser.step()
        with torch.no_grad():
            student.clip.logit_scale.clamp_(SOFTEST, SHARPEST[0])
            student.direction_scale.clamp_(SOFTEST, SHARPEST[1])
        run.step += 1
        if part >= course.average_from:
            state = student.clip_state()
            run.average = state if run.average is None else between(run.average, state, course.average_rate)
        yield {k: v.item() for k, v in terms.items()}


def main() -> None:
    """Train; continue from the checkpoint beside --out if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("mini.safetensors"))
    parser.add_argument("--start", type=Path, help="trained weights to refine")
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    student = (Student() if args.start is None else Student.of(load(args.start)[0])).to(args.device)
    before = student.clip_state()
    run = TrainingRun(student, optimisers(student, args.lr))
    checkpoint = args.out.with_suffix(".ckpt")
    if checkpoint.exists():
        run.restore(checkpoint)
    canvas = Canvas(args.seed, device=args.device)
    start, first = time.perf_counter(), run.step
    smooth: dict[str, float] = {}
    for terms in train(run, canvas, args.steps, args.seed, FRESH if args.start is None else REFINEMENT):
        smooth = {k: 0.97 * smooth.get(k, v) + 0.03 * v for k, v in terms.items()}
        if run.step % 25 == 0:
            pace = (time.perf_counter() - start) / (run.step - first)
            print(
                f"{run.step}/{args.steps} {pace:.2f} s/step  " + "  ".join(f"{k} {v:.3f}" for k, v in smooth.items()),
                flush=True,
            )
        if run.step % 100 == 0:
            run.save(checkpoint)
    weights = run.average or student.clip_state()
    if args.start is not None:
        weights = between(weights, before, KEPT)
    save(weights, student.token_ids.cpu(), args.out)
    print(f"wrote {args.out} after {(time.perf_counter() - start) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
