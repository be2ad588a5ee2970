"""Score mini on held-out draws:  python -m mini.score [weights.safetensors]

Silhouettes, noise and scenes differ from those in training (another seed). Prints the table of docs/mini.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from mini.painting import Canvas, Dice
from mini.scenes import Twins, draw
from mini.stage import BACKGROUND, COLOUR
from mini.student import MEAN, STD
from mini.vocabulary import COLOUR_NAMES, NO_CLAIM, NOUNS, OTHER_SHAPE, SCREEN, TEXTURES
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.relevancy import relevancy
from t2l_cli.weights.mini import load
from t2l_cli.weights.registry import MINI_WEIGHTS

HELD_OUT_SEED = 999


class Examiner:
    """One model's normalised embeddings of a held-out batch, and of any text."""

    def __init__(self, model: CLIP, tokenizer: SimpleTokenizer, twins: Twins) -> None:
        self.model, self.tokenizer, self.twins = model, tokenizer, twins
        self.images = self.see(twins.images)

    @torch.no_grad()
    def see(self, images: Tensor) -> Tensor:
        """Normalised embeddings (N, D) of pictures (N, 3, px, px)."""
        mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
        parts = [self.model.encode_image((chunk - mean) / std) for chunk in torch.split(images, 64)]
        return F.normalize(torch.cat(parts), dim=-1)

    @torch.no_grad()
    def read(self, texts: list[str]) -> Tensor:
        """Normalised embeddings (T, D) of T texts; repeated texts are embedded once."""
        once = list(dict.fromkeys(texts))
        embedded = F.normalize(self.model.encode_text(self.tokenizer(once)), dim=-1)
        return embedded[torch.tensor([once.index(t) for t in texts])]

    def choice(self, texts: list[list[str]], truth: Tensor, rows: Tensor) -> tuple[float, int]:
        """The part of ``rows`` whose picture is nearest to the true one of its K ``texts[row]``; and their number."""
        flat = self.read([t for i in rows.tolist() for t in texts[i]])
        candidates = flat.reshape(len(rows), -1, flat.shape[1])
        best = torch.einsum("nd,nkd->nk", self.images[rows], candidates).argmax(1)
        return (best == truth[rows]).float().mean().item(), len(rows)


def _rows(mask: Tensor) -> Tensor:
    return mask.nonzero()[:, 0]


def scores(model: CLIP, tokenizer: SimpleTokenizer, scenes: int = 300) -> dict[str, tuple[float, int, str]]:
    """Per test: the part of right answers, the number of cases, and the chance level."""
    twins = draw(Canvas(HELD_OUT_SEED), Dice(torch.Generator().manual_seed(HELD_OUT_SEED)), scenes, pairs=0.0)
    exam = Examiner(model, tokenizer, twins)
    first = twins.things[:, 0]
    clean = torch.arange(len(first)) < scenes  # twins before the change
    nouns = [NOUNS[n] if 0 <= n < OTHER_SHAPE else "object" for n in first[:, 2].tolist()]
    shown = clean & (first[:, 2] != NO_CLAIM)
    out: dict[str, tuple[float, int, str]] = {}

    def test(name: str, names: tuple[str, ...], form: str, truth: Tensor, rows: Tensor) -> None:
        texts = [[form.format(word=w, noun=n) for w in names] for n in nouns]
        part, count = exam.choice(texts, truth, _rows(rows))
        out[name] = (part, count, f"1 in {len(names)}")

    test("object colour", COLOUR_NAMES, "a {word} {noun}", first[:, 0], shown)
    test(
        "object colour, unnamed shape",
        COLOUR_NAMES,
        "a {word} object",
        first[:, 0],
        shown & (first[:, 2] == OTHER_SHAPE),
    )
    test("object texture", TEXTURES, "a {word} {noun}", first[:, 1], shown)
    test("object texture, textured only", TEXTURES, "a {word} {noun}", first[:, 1], shown & (first[:, 1] > 0))
    test("noun", NOUNS, "a {word}", first[:, 2], shown & (first[:, 2] < OTHER_SHAPE))
    named = clean & (twins.backgrounds[:, 0] != NO_CLAIM) & (twins.backgrounds[:, 1] != SCREEN)
    test("background colour", COLOUR_NAMES, "a {word} background", twins.backgrounds[:, 0], named)
    out["direction of a colour edit"] = _direction(exam, scenes, nouns)
    out["colour edit gains all the way from gray"] = _descent(exam, scenes, nouns)
    out["whole edit above a partial one"] = _whole(exam, scenes, nouns)
    out["relevancy of its noun peaks on the object"] = _peaks(exam, _rows(shown), nouns)
    return out


def _direction(exam: Examiner, scenes: int, nouns: list[str]) -> tuple[float, int, str]:
    """Does the change of the picture point to the right one among all colour changes of the text?"""
    rows = _rows((exam.twins.change == COLOUR) & (exam.twins.things[:scenes, 0, 2] != NO_CLAIM))
    delta = F.normalize(exam.images[rows + scenes] - exam.images[rows], dim=-1)
    target = exam.read([f"{c} {nouns[i]}" for i in rows.tolist() for c in COLOUR_NAMES]).reshape(
        len(rows), len(COLOUR_NAMES), -1
    )
    neutral = exam.read([nouns[i] for i in rows.tolist()])
    best = torch.einsum("nd,nkd->nk", delta, F.normalize(target - neutral[:, None], dim=-1)).argmax(1)
    right = best == exam.twins.things[rows + scenes, 0, 0]
    return right.float().mean().item(), len(rows), f"1 in {len(COLOUR_NAMES)}"


def _descent(exam: Examiner, scenes: int, nouns: list[str]) -> tuple[float, int, str]:
    """Does the change fit its text better after each quarter of the way from a gray object to the target colour?"""
    twins = exam.twins
    asked = twins.things[scenes : 2 * scenes, 0, 0]
    hueless = torch.tensor([COLOUR_NAMES.index(c) for c in ("gray", "black", "white")])
    rows = _rows((twins.change == COLOUR) & (twins.things[:scenes, 0, 2] != NO_CLAIM) & ~torch.isin(asked, hueless))
    after, mask = twins.images[rows + scenes], twins.subject[rows, None]
    gray = after.lerp(after.mean(1, keepdim=True), mask)
    text = F.normalize(
        exam.read([f"{COLOUR_NAMES[asked[i]]} {nouns[i]}" for i in rows.tolist()])
        - exam.read([nouns[i] for i in rows.tolist()]),
        dim=-1,
    )
    way = [exam.see(gray.lerp(after, part / 4)) - exam.images[rows] for part in range(5)]
    fit = torch.stack([(F.normalize(change, dim=-1) * text).sum(1) for change in way])
    return (fit.diff(dim=0) > 0).all(0).float().mean().item(), len(rows), "1 in 16"


def _whole(exam: Examiner, scenes: int, nouns: list[str]) -> tuple[float, int, str]:
    """Is the text after the edit nearer to the whole edit than to the mixture?"""
    m = len(exam.twins.images) - 2 * scenes
    torn = (exam.twins.things[2 * scenes :, 0, 0] == NO_CLAIM) & (exam.twins.things[:m, 0, 2] != NO_CLAIM)
    rows = _rows(torn & (exam.twins.change[:m] != BACKGROUND))
    texts = exam.read([f"{COLOUR_NAMES[exam.twins.things[scenes + i, 0, 0]]} {nouns[i]}" for i in rows.tolist()])
    whole = (exam.images[rows + scenes] * texts).sum(1)
    part = (exam.images[rows + 2 * scenes] * texts).sum(1)
    return (whole > part).float().mean().item(), len(rows), "1 in 2"


def _peaks(exam: Examiner, rows: Tensor, nouns: list[str]) -> tuple[float, int, str]:
    """Is the maximum of the noun's relevancy map on the object? Chance level: the object's mean part of the picture."""
    clip = Clip(exam.model, exam.tokenizer)
    masks = exam.twins.subject[rows] > 0.5
    hits = 0
    for i, mask in zip(rows.tolist(), masks, strict=True):
        found = F.interpolate(relevancy(clip, exam.twins.images[i, None], nouns[i]), size=mask.shape, mode="area")
        hits += int(mask.flatten()[found.argmax()])
    return hits / len(rows), len(rows), f"{masks.float().mean().item():.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Score mini on held-out draws.")
    parser.add_argument("weights", type=Path, nargs="?", default=MINI_WEIGHTS)
    table = scores(*load(parser.parse_args().weights))
    print("| test | right | cases | chance |\n| --- | --- | --- | --- |")
    for name, (part, count, chance) in table.items():
        print(f"| {name} | {part:.2f} | {count} | {chance} |")


if __name__ == "__main__":
    main()
