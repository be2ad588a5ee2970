"""The losses of mini's training: contrast, direction, wholeness, descent, deceit, place, and heads for patches."""

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

WHOLE_MARGIN = 0.4  # required gain in cosine from no change to a whole one, or from one all outside to a clean one
WAY = 0.5  # required gain in cosine, for the direction, from a third colour or blotches to the target
WAY_OF_TEXT = 0.4  # required gain for the text alone, as a part of that for the direction
NEAREST = 0.2  # minimum part of the way from deceiving paint to the target
SHORT = 0.1  # a smaller part of the way has a direction that is mostly noise
LEAST_SEEN = 0.02  # minimum part of the picture that an object must cover to count as visible


def contrast(similarity: Tensor, positive: Tensor) -> Tensor:
    """InfoNCE with several positives, in both directions; rows and columns without a positive do not count.

    similarity: (T, N) logits. positive: (T, N) bool.
    """

    def one_way(logits: Tensor, p: Tensor) -> Tensor:
        some = p.any(1)
        share = p[some].float()
        return -((F.log_softmax(logits[some], 1) * share).sum(1) / share.sum(1)).mean()

    return 0.5 * (one_way(similarity, positive) + one_way(similarity.T, positive.T))


def direction(image: Tensor, text: Tensor, scale: Tensor, rival: Tensor) -> Tensor:
    """InfoNCE between changes of pictures (N, D) and of texts (B, D); the first B of the pictures match the texts.

    Only pairs marked in ``rival`` (N, B) compete; the pictures from B on match no text.
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
    """The direction loss between changes of pictures and the texts of their edits.

    images: (N, D) and further: (K, D), in the order of ``twins``. edits: (B, 2, D), texts before and after. Besides the
    clean changes, half-transparent ones (as at the beginning of an edit) and the next stretch of a detour must point in
    the text's direction. The same change beside the object, or with too coarse a texture, is a negative.
    """
    # 1. The rows of each kind of change.
    b, device = len(twins.change), images.device
    goal = torch.where(
        twins.change == BACKGROUND,
        twins.backgrounds[b : 2 * b, 0],
        twins.things[b : 2 * b, 0, :2].gather(1, (twins.change == TEXTURE).long()[:, None])[:, 0],
    )
    goal = goal + 50 * twins.change  # one number per kind of change and its target
    rows = (_shown(twins)[b : 2 * b] | (twins.change == BACKGROUND)).nonzero()[:, 0]
    mixtures = rows[rows < len(twins.mixture)]
    begun = mixtures[twins.mixture[mixtures] == EVEN]
    astray = mixtures[(twins.mixture[mixtures] == BESIDE) | (twins.mixture[mixtures] == COARSE)]
    detours = (twins.mixture == DETOUR).nonzero()[:, 0]
    stretch = (torch.isin(detours, rows) & (twins.farther - twins.amount[detours] > SHORT)).nonzero()[:, 0]
    # 2. Before and after, the matches first and the negatives last.
    source = torch.cat([rows, begun, detours[stretch] + 2 * b, astray])
    target = torch.cat([rows + b, begun + 2 * b, len(images) + stretch, astray + 2 * b])
    asked = torch.cat([rows, begun, detours[stretch]])
    # 3. Changes with the same target do not compete.
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
    """(N,) bool: whether the first object is there and large enough to be visible."""
    return (twins.things[:, 0, 2] != NO_CLAIM) & (twins.subject.mean((1, 2)) > LEAST_SEEN)


def wholeness(twins: Twins, images: Tensor, edits: Tensor) -> Tensor:
    """Hinge loss: a change on a part of the object, or beyond its edge, must fit its text less well than the clean one.

    images: (N, D), in the order of ``twins``. edits: (B, 2, D), texts before and after. Mean over these changes. If an
    incomplete change fitted as well as the clean one, an edit would have no reason to go on or to stay inside.
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
    """Hinge loss: on its way to the target, a change must fit its text better in proportion to the way covered.

    images: (N, D) and further: (K, D), in the order of ``twins``. edits: (B, 2, D), texts before and after. Mean over
    the detours. An edit that has become gray would get stuck if everything that is not yet red fitted "red" equally
    badly; a blot would get stuck if everything without a pattern fitted "dotted" equally badly.
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
    """Hinge loss: a picture must fit its text better when adversarial paint is blended into the clean change. Mean.

    before, painted, nearer: embeddings (K, D) of pictures before the change, with the paint of ``attacks.fooled``, and
    at ``part`` (K,) of the way from that paint to the clean change. edits: (K, 2, D), texts before and after.
    """
    asked, way = edits[:, 1], WHOLE_MARGIN * part
    turn = _short(nearer - before, painted - before, asked - edits[:, 0], way)
    return turn + _short(nearer, painted, asked, WAY_OF_TEXT * way)


def _short(nearer: Tensor, here: Tensor, aim: Tensor, way: Tensor | float) -> Tensor:
    """Mean of max(0, ``way`` - gain), where gain is cos(nearer, aim) - cos(here, aim); nearer, here, aim: (K, D)."""
    gain = F.cosine_similarity(nearer, aim, dim=-1, eps=1e-4) - F.cosine_similarity(here, aim, dim=-1, eps=1e-4)
    return F.relu(way - gain).mean()


def place(twins: Twins, embeddings: Tensor, patches: Tensor, names: Tensor) -> Tensor:
    """One minus the correlation between the relevancy of each patch for the object's name and its part of the object.

    embeddings: (N, D), the mean over P of patches, (N, P, D). names: (M, D), of the first M pictures. The relevancy is
    gradient . patch, as in ``t2l_cli.engine.relevancy``. The correlation is over the patches of a picture; the result,
    0 to 2, is the mean over the pictures that show the object.
    """
    m = len(names)
    share = F.adaptive_avg_pool2d(twins.subject[:m], GRID).flatten(1)
    shown = _shown(twins)[:m]
    if not shown.any():
        return embeddings.new_zeros(())
    e, t = F.normalize(embeddings[:m][shown], dim=-1), F.normalize(names[shown], dim=-1)
    gradient = t - (t * e).sum(1, keepdim=True) * e  # of the cosine, except for its length
    brought = (patches[:m][shown] @ gradient[..., None])[..., 0]
    share = share[shown]
    return (1 - F.cosine_similarity(brought, share - share.mean(1, keepdim=True), dim=1, eps=1e-4)).mean()


@dataclass(frozen=True)
class _Paint:
    rows: Tensor  # (K,) scenes
    painted: Tensor  # (K, 3, px, px) with adversarial coarse paint
    nearer: Tensor  # (K, 3, px, px), a part of the way from there to the clean change
    part: Tensor  # (K,), this part


def _paint(student: Student, twins: Twins, edits: Tensor, steps: int, dice: Dice) -> _Paint | None:
    """The attack on a lesson's texture changes; None if it has none."""
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
    """The losses of a lesson, by name.

    ``half``: show only half of each picture's patches; then there is no wholeness, descent, place or deceit.
    ``attack``: number of steps in which paint is optimised to deceive the student; 0: no such paint.
    """
    # 1. Embed the texts and the pictures.
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
    # 2. The losses of the embeddings.
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
    # 3. The losses of the heads.
    labels = twins.patches if keep is None else twins.patches.gather(1, keep[..., None].expand(-1, -1, 3))
    out["patches"] = _heads_loss(student.patch_heads, patches, labels)
    alone = torch.where((twins.things[:, 1, 2] == NO_CLAIM)[:, None], twins.things[:, 0], NO_CLAIM)
    out["scene"] = _heads_loss(student.scene_heads, patches.mean(1), alone)
    return out
