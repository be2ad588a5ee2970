"""Train mini:  python -m t2l_cli.mini.train --steps 2000 --seed 1 --out mini.safetensors

and refine what that gave:  ... --start mini.safetensors --steps 400 --seed 2 --lr 5e-4 --out whole.safetensors
and again:  ... --start whole.safetensors --steps 400 --seed 3 --lr 5e-4 --place 1 --out placed.safetensors
and again:  ... --start placed.safetensors --steps 500 --seed 4 --lr 1e-3 --place 1 --out refined.safetensors

Contrast: captions against pictures with the exact table of which is true of which, twins and mixtures
being each other's hard negatives. Direction: the difference of twins' embeddings against the difference of their texts,
which is what an edit descends on. At first also heads, thrown away afterwards, that read colour, texture and noun off
the patches; when refining, wholeness instead: of a change on a part of the object, the direction is to fit less well,
the smaller the part. --place adds where an object is: its patches alone are to bring the similarity with its name.

Each step draws its own pictures from (seed, step), and the rate is constant before it decays: a run can be interrupted
and goes on from its checkpoint, also with a new number of steps, as if it had never stopped.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2l_cli.mini.captions import Captioner, Claim, truth
from t2l_cli.mini.model import load, save
from t2l_cli.mini.painting import Canvas, Dice
from t2l_cli.mini.scenes import BACKGROUND, BESIDE, COARSE, EVEN, GRID, PATCHY, TEXTURE, Twins, draw
from t2l_cli.mini.student import Student, optimisers
from t2l_cli.mini.vocabulary import NO_CLAIM, Thing

LR = 2e-3
SCENES = 48  # a step: twice that many pictures, and half as many mixtures
WARMUP = 100  # steps
DECAY_FROM = 0.6  # part of the run with a constant rate
ALL_PATCHES_FROM = 0.5  # before that, each picture shows half of its patches
SOFTEST, SHARPEST = 0.0, (3.4, 2.7)  # log of the inverse temperatures: a sharper model is harder to descend on
WHOLE_WEIGHT = 5.0  # when refining
WHOLE_MARGIN = 0.4  # in cosine, from no change at all to a whole one
AVERAGE_FROM = 0.85  # the saved weights are a running mean from there on


@dataclass(frozen=True)
class Lesson:
    """A step's pictures and what is said of them."""

    twins: Twins
    texts: list[str]
    claims: Tensor  # (T, 8)
    edits: list[tuple[str, str]]  # one a scene: texts before and after
    names: list[str]  # what the first object may be called, one for each picture before and after


def lesson(canvas: Canvas, seed: int, step: int, scenes: int = SCENES) -> Lesson:
    """Draw and describe step ``step`` of run ``seed``."""
    device = canvas.noise.device
    dice = Dice(torch.Generator(device).manual_seed(seed * 1_000_003 + step))
    twins = draw(canvas, dice, scenes)
    captioner = Captioner(random.Random(seed * 1_000_003 + step))
    facts = [
        ([Thing(*t) for t in things], (b[0], b[1]))
        for things, b in zip(twins.things.tolist(), twins.backgrounds.tolist(), strict=True)
    ]
    claims: list[Claim] = []
    for i, fact in enumerate(facts[: 2 * scenes]):
        full = captioner.full(*fact)
        claims += [full, captioner.partial(*fact)]
        if i % 4 == 0:
            claims.append(captioner.swapped(full))
    claims = [*(c for c in claims if c != Claim()), Claim()]  # one caption is true of all: "photo"
    edits = []
    for i, kind in enumerate(twins.change.tolist()):
        (a, a_back), (b, b_back) = facts[i], facts[scenes + i]
        edits.append(captioner.change((a[0], a_back), (b[0], b_back), kind))
    rows = torch.tensor([c.row() for c in claims], device=device)
    texts = [captioner.text(c) for c in claims]
    names = [captioner.name(things) for things, _ in facts[: 2 * scenes]]
    return Lesson(twins, texts, rows, edits, names)


def contrast(similarity: Tensor, positive: Tensor) -> Tensor:
    """InfoNCE with several positives, (T, N) both ways; rows and columns without one do not count."""

    def one_way(logits: Tensor, p: Tensor) -> Tensor:
        some = p.any(1)
        share = p[some].float()
        return -((F.log_softmax(logits[some], 1) * share).sum(1) / share.sum(1)).mean()

    return 0.5 * (one_way(similarity, positive) + one_way(similarity.T, positive.T))


def direction(image: Tensor, text: Tensor, scale: Tensor, rival: Tensor) -> Tensor:
    """InfoNCE between changes of pictures (N, D) and of texts (B, D), B of the N in the texts' order.

    Only pairs marked in ``rival`` (N, B) compete; the pictures from B on are nobody's match.
    """
    logits = scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    logits = logits.masked_fill(~rival, -torch.inf)
    target = torch.arange(len(text), device=logits.device)
    return 0.5 * (F.cross_entropy(logits[: len(text)], target) + F.cross_entropy(logits.T, target))


def _heads_loss(heads: nn.ModuleDict, features: Tensor, labels: Tensor) -> Tensor:
    total = features.new_zeros(())
    for k, head in enumerate(heads.values()):
        y = labels[..., k].flatten()
        if (y >= 0).any():
            total = total + F.cross_entropy(head(features).flatten(0, -2), y, ignore_index=NO_CLAIM)
    return total


def _directions(student: Student, twins: Twins, images: Tensor, edits: Tensor) -> Tensor:
    """The direction loss of embedded pictures (N, D) and of their edits' texts (B, 2, D).

    Changes that have only begun, half transparent, are to point the same way, for an edit begins so; the same change
    beside the object is not what was asked.
    """
    b, device = len(twins.change), images.device
    goal = torch.where(
        twins.change == BACKGROUND,
        twins.backgrounds[b : 2 * b, 0],
        twins.things[b : 2 * b, 0, :2].gather(1, (twins.change == TEXTURE).long()[:, None])[:, 0],
    )
    goal = goal + 50 * twins.change  # one number for each kind of change and its aim
    seen = (twins.subject[:b].mean((1, 2)) > 0.02) & (twins.things[b : 2 * b, 0, 2] != NO_CLAIM)
    rows = (seen | (twins.change == BACKGROUND)).nonzero()[:, 0]
    mixtures = rows[rows < len(twins.mixture)]
    begun = mixtures[twins.mixture[mixtures] == EVEN]
    astray = mixtures[(twins.mixture[mixtures] == BESIDE) | (twins.mixture[mixtures] == COARSE)]
    source = torch.cat([rows, begun, astray])
    target = torch.cat([rows + b, begun + 2 * b, astray + 2 * b])
    asked = torch.cat([rows, begun])
    rival = torch.cat(
        [
            (goal[asked, None] != goal[None, asked]) | torch.eye(len(asked), dtype=torch.bool, device=device),
            (twins.change[asked] != BACKGROUND)[None].expand(len(astray), -1),
        ]
    )
    change, text = images[target] - images[source], (edits[:, 1] - edits[:, 0])[asked]
    return direction(change, text, student.direction_scale.exp(), rival)


def wholeness(twins: Twins, images: Tensor, edits: Tensor) -> Tensor:
    """By how much a change on a part fits its text's direction too well, beside the whole one.

    images: (N, D), in the order of ``twins``. edits: (B, 2, D), texts before and after. Mean over the partial changes.
    A partial edit that points as well as a whole one leaves an edit without a reason to go on.
    """
    b, m = len(twins.change), len(twins.mixture)
    torn = ((twins.mixture == PATCHY) & (twins.change[:m] != BACKGROUND)).nonzero()[:, 0]
    if not len(torn):
        return images.new_zeros(())
    text = edits[torn, 1] - edits[torn, 0]
    whole = F.cosine_similarity(images[torn + b] - images[torn], text, dim=-1)
    part = F.cosine_similarity(images[torn + 2 * b] - images[torn], text, dim=-1, eps=1e-4)
    return F.relu(WHOLE_MARGIN * (1 - twins.amount[torn]) - (whole - part)).mean()


def place(twins: Twins, embeddings: Tensor, patches: Tensor, names: Tensor) -> Tensor:
    """How little each patch's part in the similarity of picture and name tells where the first object is, 0 to 2.

    embeddings: (N, D), the mean over P of patches, (N, P, D). names: (M, D), of the first M pictures. One minus the
    correlation, over a picture's patches, of grad . patch (as in Clip.relevancy) and the object's part of the patch;
    mean over the pictures that show some of it.
    """
    m = len(names)
    share = F.adaptive_avg_pool2d(twins.subject[:m], GRID).flatten(1)
    shown = (twins.things[:m, 0, 2] != NO_CLAIM) & (share.mean(1) > 0.02)
    if not shown.any():
        return embeddings.new_zeros(())
    e, t = F.normalize(embeddings[:m][shown], dim=-1), F.normalize(names[shown], dim=-1)
    gradient = t - (t * e).sum(1, keepdim=True) * e  # of the cosine, but for its length
    brought = (patches[:m][shown] @ gradient[..., None])[..., 0]
    share = share[shown]
    return (1 - F.cosine_similarity(brought, share - share.mean(1, keepdim=True), dim=1, eps=1e-4)).mean()


def losses(student: Student, lesson: Lesson, half: bool, generator: torch.Generator) -> dict[str, Tensor]:
    """The losses of a lesson; ``half`` shows each picture's patches by half."""
    twins = lesson.twins
    n, device = len(twins.images), twins.images.device
    keep = (
        torch.rand(n, GRID * GRID, generator=generator, device=device).argsort(1)[:, : GRID * GRID // 2]
        if half
        else None
    )
    images, patches = student.see(twins.images, keep)
    flat = [t for edit in lesson.edits for t in edit]
    read = student.read([*lesson.texts, *flat, *lesson.names])
    captions, edits, names = torch.split(read, [len(lesson.texts), len(flat), len(lesson.names)])
    edits = edits.reshape(-1, 2, edits.shape[1])
    positive = truth(lesson.claims, twins.things, twins.backgrounds)
    out = {
        "contrast": contrast(
            student.clip.logit_scale.exp() * F.normalize(captions, dim=-1) @ F.normalize(images, dim=-1).T, positive
        )
    }
    out["direction"] = _directions(student, twins, images, edits)
    out["whole"] = wholeness(twins, images, edits)
    if keep is None:
        out["place"] = place(twins, images, patches @ student.clip.visual.proj, names)
    labels = twins.patches if keep is None else twins.patches.gather(1, keep[..., None].expand(-1, -1, 3))
    out["patches"] = _heads_loss(student.patch_heads, patches, labels)
    alone = torch.where((twins.things[:, 1, 2] == NO_CLAIM)[:, None], twins.things[:, 0], NO_CLAIM)
    out["scene"] = _heads_loss(student.scene_heads, patches.mean(1), alone)
    return out


def rate(step: int, steps: int) -> float:
    """Factor on the rate: warm-up, constant, then linear to 2 %."""
    left = (steps - step) / (steps * (1 - DECAY_FROM))
    return min(1.0, (step + 1) / WARMUP, max(0.02, left))


@dataclass
class _Run:
    student: Student
    optimisers: list[torch.optim.Optimizer]
    average: dict[str, Tensor] | None = None
    step: int = 0

    def save(self, path: Path) -> None:
        state = {
            "student": self.student.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "average": self.average,
            "step": self.step,
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.student.load_state_dict(state["student"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.average, self.step = state["average"], state["step"]


def train(
    run: _Run, canvas: Canvas, steps: int, seed: int, refine: bool = False, place_weight: float = 0.0
) -> Iterator[dict[str, float]]:
    """Run to ``steps``; after each step yields its losses.

    refine: what can be seen is known already, wholeness is learnt in its place, and by ``place_weight`` place.
    """
    student = run.student
    base = [o.defaults["lr"] for o in run.optimisers]  # not the groups' own, which a checkpoint has decayed
    while run.step < steps:
        part, factor = run.step / steps, rate(run.step, steps)
        for optimiser, lr in zip(run.optimisers, base, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = lr * factor
        generator = torch.Generator(canvas.noise.device).manual_seed(seed + 7919 * run.step)
        terms = losses(student, lesson(canvas, seed, run.step), part < ALL_PATCHES_FROM and not refine, generator)
        loss = terms["contrast"] + terms["direction"]
        if refine:
            loss = loss + WHOLE_WEIGHT * terms["whole"] + place_weight * terms["place"]
        else:
            help_ = 0.2 + 0.8 * factor  # the heads' labels teach most at the beginning
            loss = loss + help_ * (terms["patches"] + 0.4 * terms["scene"])
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
        if part >= AVERAGE_FROM:
            state = student.clip_state()
            run.average = (
                state
                if run.average is None
                else {k: v.lerp(state[k], 0.02) if v.is_floating_point() else v for k, v in run.average.items()}
            )
        yield {k: v.item() for k, v in terms.items()}


def main() -> None:
    """Train, from the checkpoint beside --out if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("mini.safetensors"))
    parser.add_argument("--start", type=Path, help="trained weights to refine")
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--place", type=float, default=0.0, help="weight of where the object is, when refining")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    student = Student() if args.start is None else Student.of(load(args.start)[0])
    student.to(args.device)
    run = _Run(student, optimisers(student, args.lr))
    checkpoint = args.out.with_suffix(".ckpt")
    if checkpoint.exists():
        run.restore(checkpoint)
    canvas = Canvas(args.seed, device=args.device)
    start, first = time.perf_counter(), run.step
    smooth: dict[str, float] = {}
    for terms in train(run, canvas, args.steps, args.seed, args.start is not None, args.place):
        smooth = {k: 0.97 * smooth.get(k, v) + 0.03 * v for k, v in terms.items()}
        if run.step % 25 == 0:
            pace = (time.perf_counter() - start) / (run.step - first)
            print(
                f"{run.step}/{args.steps} {pace:.2f} s/step  " + "  ".join(f"{k} {v:.3f}" for k, v in smooth.items()),
                flush=True,
            )
        if run.step % 100 == 0:
            run.save(checkpoint)
    save(run.average or student.clip_state(), student.token_ids.cpu(), args.out)
    print(f"wrote {args.out} after {(time.perf_counter() - start) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
