"""What mini is trained to make small: contrast, direction, wholeness, descent, deceit, place, and heads for patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mini.attacks import attackable, fooled
from mini.captions import truth
from mini.lessons import Lesson
from mini.mixtures import BESIDE, BEYOND, COARSE, DETOUR, EVEN, PATCHY
from mini.painting import Dice
from mini.scenes import GRID, Twins
from mini.stage import BACKGROUND, TEXTURE
from mini.student import Student
from mini.vocabulary import NO_CLAIM

WHOLE_MARGIN = 0.4  # in cosine, from no change at all to a whole one, or from one that is all beside to a clean one
WAY = 0.5  # in cosine, of the direction from a third colour, or from blotches, to what is asked
WAY_OF_TEXT = 0.4  # part of it that the text alone is to gain
NEAREST = 0.2  # part of the way from deceiving paint to what is asked
SHORT = 0.1  # part of the way whose direction is mostly noise
LEAST_SEEN = 0.02  # part of the picture from which an object counts as shown


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


def directions(twins: Twins, images: Tensor, further: Tensor, edits: Tensor, scale: Tensor) -> Tensor:
    """The direction loss of embedded pictures, (N, D) and (K, D) further ones, and of their edits' texts (B, 2, D).

    Changes that have only begun, half transparent, are to point the same way, for an edit begins so, and the next
    stretch of a detour likewise; the same change beside the object is not what was asked.
    """
    b, device = len(twins.change), images.device
    goal = torch.where(
        twins.change == BACKGROUND,
        twins.backgrounds[b : 2 * b, 0],
        twins.things[b : 2 * b, 0, :2].gather(1, (twins.change == TEXTURE).long()[:, None])[:, 0],
    )
    goal = goal + 50 * twins.change  # one number for each kind of change and its aim
    rows = (_shown(twins)[b : 2 * b] | (twins.change == BACKGROUND)).nonzero()[:, 0]
    mixtures = rows[rows < len(twins.mixture)]
    begun = mixtures[twins.mixture[mixtures] == EVEN]
    astray = mixtures[(twins.mixture[mixtures] == BESIDE) | (twins.mixture[mixtures] == COARSE)]
    detours = (twins.mixture == DETOUR).nonzero()[:, 0]
    stretch = (torch.isin(detours, rows) & (twins.farther - twins.amount[detours] > SHORT)).nonzero()[:, 0]
    source = torch.cat([rows, begun, detours[stretch] + 2 * b, astray])
    target = torch.cat([rows + b, begun + 2 * b, len(images) + stretch, astray + 2 * b])
    asked = torch.cat([rows, begun, detours[stretch]])
    rival = torch.cat(
        [
            (goal[asked, None] != goal[None, asked]) | torch.eye(len(asked), dtype=torch.bool, device=device),
            (twins.change[asked] != BACKGROUND)[None].expand(len(astray), -1),
        ]
    )
    images = torch.cat([images, further])
    change, text = images[target] - images[source], (edits[:, 1] - edits[:, 0])[asked]
    return direction(change, text, scale, rival)


def _shown(twins: Twins) -> Tensor:
    """(N,) bool: the first object is there and large enough to be seen."""
    return (twins.things[:, 0, 2] != NO_CLAIM) & (twins.subject.mean((1, 2)) > LEAST_SEEN)


def wholeness(twins: Twins, images: Tensor, edits: Tensor) -> Tensor:
    """By how much a change on a part, or one spilt over the edge, fits its text's direction too well, beside the clean.

    images: (N, D), in the order of ``twins``. edits: (B, 2, D), texts before and after. Mean over these changes.
    One that points as well as the whole and clean one leaves an edit without a reason to go on or to keep inside.
    """
    b, m = len(twins.change), len(twins.mixture)
    wrong = ((twins.mixture == PATCHY) | (twins.mixture == BEYOND)) & (twins.change[:m] != BACKGROUND)
    rows = (wrong & _shown(twins)[b : b + m]).nonzero()[:, 0]
    if not len(rows):
        return images.new_zeros(())
    text = edits[rows, 1] - edits[rows, 0]
    clean = F.cosine_similarity(images[rows + b] - images[rows], text, dim=-1, eps=1e-4)
    fit = F.cosine_similarity(images[rows + 2 * b] - images[rows], text, dim=-1, eps=1e-4)
    return F.relu(WHOLE_MARGIN * (1 - twins.amount[rows]) - (clean - fit)).mean()


def descent(twins: Twins, images: Tensor, further: Tensor, edits: Tensor) -> Tensor:
    """How much less than evenly a change fits better on its way, mean over the detours.

    images: (N, D) and further: (K, D), in the order of ``twins``. edits: (B, 2, D), texts before and after. An edit
    that has once become gray has nowhere to go if all that is not yet red fits "red" equally badly; nor has one that is
    a blot if all that is no pattern yet fits "dotted" equally.
    """
    b, m = len(twins.change), len(twins.mixture)
    rows = (twins.mixture == DETOUR).nonzero()[:, 0]
    seen = _shown(twins)[b : b + m][rows]
    if not seen.any():
        return images.new_zeros(())
    rows, on = rows[seen], further[seen]
    before, between, asked = images[rows], images[rows + 2 * b], edits[rows, 1]
    way = WAY * (twins.farther[seen] - twins.amount[rows])
    turn = _short(on - before, between - before, asked - edits[rows, 0], way)
    return turn + _short(on, between, asked, WAY_OF_TEXT * way)


def deceit(before: Tensor, painted: Tensor, nearer: Tensor, edits: Tensor, part: Tensor) -> Tensor:
    """How much less than asked a picture fits better when paint that was made to fit gives way to a clean change, mean.

    before, painted, nearer: embeddings (K, D) of pictures before the change, with the paint of ``attacks.fooled``, and
    from that paint on ``part`` (K,) of the way to the clean change. edits: (K, 2, D), texts before and after.
    """
    asked, way = edits[:, 1], WHOLE_MARGIN * part
    turn = _short(nearer - before, painted - before, asked - edits[:, 0], way)
    return turn + _short(nearer, painted, asked, WAY_OF_TEXT * way)


def _short(nearer: Tensor, here: Tensor, aim: Tensor, way: Tensor | float) -> Tensor:
    """By how much ``nearer`` (K, D) fits ``aim`` (K, D) less well than ``here`` fits it and ``way`` in cosine, mean."""
    gain = F.cosine_similarity(nearer, aim, dim=-1, eps=1e-4) - F.cosine_similarity(here, aim, dim=-1, eps=1e-4)
    return F.relu(way - gain).mean()


def place(twins: Twins, embeddings: Tensor, patches: Tensor, names: Tensor) -> Tensor:
    """How little each patch's part in the similarity of picture and name tells where the first object is, 0 to 2.

    embeddings: (N, D), the mean over P of patches, (N, P, D). names: (M, D), of the first M pictures. One minus the
    correlation, over a picture's patches, of grad . patch (as in Clip.relevancy) and the object's part of the patch;
    mean over the pictures that show some of it.
    """
    m = len(names)
    share = F.adaptive_avg_pool2d(twins.subject[:m], GRID).flatten(1)
    shown = _shown(twins)[:m]
    if not shown.any():
        return embeddings.new_zeros(())
    e, t = F.normalize(embeddings[:m][shown], dim=-1), F.normalize(names[shown], dim=-1)
    gradient = t - (t * e).sum(1, keepdim=True) * e  # of the cosine, but for its length
    brought = (patches[:m][shown] @ gradient[..., None])[..., 0]
    share = share[shown]
    return (1 - F.cosine_similarity(brought, share - share.mean(1, keepdim=True), dim=1, eps=1e-4)).mean()


@dataclass(frozen=True)
class _Paint:
    rows: Tensor  # (K,) scenes
    painted: Tensor  # (K, 3, px, px) with coarse paint that was made to fit
    nearer: Tensor  # the same, further on the way to the clean change
    part: Tensor  # (K,) of that way


def _paint(student: Student, twins: Twins, edits: Tensor, steps: int, dice: Dice) -> _Paint | None:
    """The attack on a lesson's texture changes, None where it has none."""
    b, rows = len(edits), attackable(twins)
    rows = rows[_shown(twins)[b + rows]]
    if not len(rows):
        return None
    before, clean, subject = twins.images[rows], twins.images[b + rows], twins.subject[b + rows]
    asked = (edits[rows, 1] - edits[rows, 0]).detach()
    painted = fooled(lambda x: student.see(x, None)[0], before, subject, asked, steps, dice)
    part = dice.uniform(len(rows), low=NEAREST)
    return _Paint(rows, painted, painted.lerp(clean, part[:, None, None, None]), part)


def losses(
    student: Student, lesson: Lesson, half: bool, generator: torch.Generator, attack: int = 0
) -> dict[str, Tensor]:
    """The losses of a lesson; ``half`` shows half of each picture's patches: nothing then of wholeness, place, deceit.

    ``attack``: steps in which paint learns to deceive the student, 0 for no such paint.
    """
    twins = lesson.twins
    n, k, device = len(twins.images), len(twins.further), twins.images.device
    flat = [t for edit in lesson.edits for t in edit]
    read = student.read([*lesson.texts, *flat, *lesson.names])
    captions, edits, names = torch.split(read, [len(lesson.texts), len(flat), len(lesson.names)])
    edits = edits.reshape(-1, 2, edits.shape[1])
    keep, shown = None, [twins.images]
    if half:
        keep = torch.rand(n, GRID * GRID, generator=generator, device=device).argsort(1)[:, : GRID * GRID // 2]
    else:
        shown.append(twins.further)
    paint = None if half or not attack else _paint(student, twins, edits, attack, Dice(generator))
    if paint is not None:
        shown += [paint.painted, paint.nearer]
    images, patches = student.see(torch.cat(shown), keep)
    images, further, attacked, patches = images[:n], images[n : n + k], images[n + k :], patches[:n]
    positive = truth(lesson.claims, twins.things, twins.backgrounds)
    out = {
        "contrast": contrast(
            student.clip.logit_scale.exp() * F.normalize(captions, dim=-1) @ F.normalize(images, dim=-1).T, positive
        )
    }
    out["direction"] = directions(twins, images, further, edits, student.direction_scale.exp())
    if keep is None:
        out["whole"] = wholeness(twins, images, edits)
        out["descent"] = descent(twins, images, further, edits)
        out["place"] = place(twins, images, patches @ student.clip.visual.proj, names)
    if paint is not None:
        painted, nearer = attacked.chunk(2)
        out["deceit"] = deceit(images[paint.rows], painted, nearer, edits[paint.rows], paint.part)
    labels = twins.patches if keep is None else twins.patches.gather(1, keep[..., None].expand(-1, -1, 3))
    out["patches"] = _heads_loss(student.patch_heads, patches, labels)
    alone = torch.where((twins.things[:, 1, 2] == NO_CLAIM)[:, None], twins.things[:, 0], NO_CLAIM)
    out["scene"] = _heads_loss(student.scene_heads, patches.mean(1), alone)
    return out
