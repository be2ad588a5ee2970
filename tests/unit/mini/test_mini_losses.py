import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mini.losses import (
    LEAST_SEEN,
    WAY,
    WAY_OF_TEXT,
    WHOLE_MARGIN,
    contrast,
    deceit,
    descent,
    direction,
    directions,
    place,
    wholeness,
)
from mini.mixtures import BESIDE, BEYOND, DETOUR, EVEN, PATCHY
from mini.scenes import GRID, Twins
from mini.stage import BACKGROUND
from mini.vocabulary import NO_CLAIM


def test_contrast_by_hand() -> None:
    """Two captions, two pictures, a diagonal truth: the mean cross-entropy of rows and columns."""
    s = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-2))) / 2
    columns = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))) / 2
    assert contrast(s, torch.eye(2, dtype=torch.bool)).item() == pytest.approx((rows + columns) / 2, rel=1e-5)


def test_contrast_passes_over_what_is_true_of_nothing() -> None:
    s = torch.tensor([[2.0, 0.0], [1.0, 3.0], [9.0, -9.0]])
    truth = torch.tensor([[True, False], [False, True], [False, False]])
    rows = math.log(1 + math.exp(-2))
    columns = -(2 - math.log(sum(map(math.exp, (2, 1, 9)))) + 3 - math.log(sum(map(math.exp, (0, 3, -9))))) / 2
    assert contrast(s, truth).item() == pytest.approx((rows + columns) / 2, rel=1e-4)


def test_direction_is_least_when_changes_agree() -> None:
    text = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    rival = torch.ones(6, 6, dtype=torch.bool)
    same = direction(3 * text, text, torch.tensor(20.0), rival)
    assert same < direction(text.roll(1, 0), text, torch.tensor(20.0), rival)
    assert direction(text.roll(1, 0), text, torch.tensor(20.0), torch.eye(6, dtype=torch.bool)).item() == pytest.approx(
        0
    )


@pytest.mark.parametrize("kind", ["begun", "stretch", "beside"])
def test_directions_want_a_beginning_and_each_stretch_the_asked_way_and_nothing_beside(twins: Twins, kind: str) -> None:
    b, m = len(twins.change), len(twins.mixture)
    random = torch.Generator().manual_seed(0)
    edits = torch.randn(b, 2, 16, generator=random)
    asked = edits[:, 1] - edits[:, 0]
    images = torch.randn(2 * b + m, 16, generator=random)
    images[b : 2 * b] = images[:b] + asked  # clean changes are right
    detours = (twins.mixture == DETOUR).nonzero()[:, 0]
    further = images[2 * b + detours] + torch.randn(len(detours), 16, generator=random)

    def of(sign: float) -> float:
        moved, on = images.clone(), further.clone()
        if kind == "stretch":
            on = moved[2 * b + detours] + sign * asked[detours]
        else:
            rows = (twins.mixture == (EVEN if kind == "begun" else BESIDE)).nonzero()[:, 0]
            moved[2 * b + rows] = moved[rows] + sign * asked[rows]
        return directions(twins, moved, on, edits, torch.tensor(10.0)).item()

    assert of(1.0) > of(-1.0) if kind == "beside" else of(1.0) < of(-1.0)


def test_wholeness_asks_a_partial_or_a_spilt_change_to_fit_less_well_than_the_clean_one(twins: Twins) -> None:
    b, m = len(twins.change), len(twins.mixture)
    shown = (twins.things[b : b + m, 0, 2] != NO_CLAIM) & (twins.subject[b : b + m].mean((1, 2)) > LEAST_SEEN)
    wrong = torch.isin(twins.mixture, torch.tensor([PATCHY, BEYOND])) & (twins.change[:m] != BACKGROUND) & shown
    rows = wrong.nonzero()[:, 0]
    assert set(twins.mixture[rows].tolist()) == {PATCHY, BEYOND}
    edits = torch.zeros(b, 2, 2)
    edits[:, 1] = torch.tensor([1.0, 0.0])  # every text changes along the first axis
    images = torch.zeros(2 * b + m, 2)
    images[b : 2 * b] = torch.tensor([2.0, 0.0])  # as do all clean changes
    images[2 * b :] = torch.tensor([0.5, 0.0])  # and here the others, which makes them as good
    expected = WHOLE_MARGIN * (1 - twins.amount[rows]).mean()
    assert wholeness(twins, images, edits).item() == pytest.approx(expected.item(), rel=1e-4)
    images[2 * b :] = torch.tensor([0.5, 0.5 * math.tan(math.acos(1 - WHOLE_MARGIN))])  # less well by the margin
    assert wholeness(twins, images, edits).item() == pytest.approx(0, abs=1e-5)


def test_descent_asks_the_fit_to_rise_evenly_from_a_third_colour_to_the_asked_one(twins: Twins) -> None:
    b, m = len(twins.change), len(twins.mixture)
    rows = (twins.mixture == DETOUR).nonzero()[:, 0]
    seen = (twins.things[b + rows, 0, 2] != NO_CLAIM) & (twins.subject[b + rows].mean((1, 2)) > LEAST_SEEN)
    assert seen.any()
    edits = torch.zeros(b, 2, 2)
    edits[:, 1] = torch.tensor([1.0, 0.0])
    here, nearer = twins.amount, twins.farther

    def of(slope: float) -> float:
        """Where every fit is ``slope`` times the part of the new colour."""
        images = torch.zeros(2 * b + m, 2)
        images[2 * b :] = torch.stack([slope * here, (1 - (slope * here) ** 2).sqrt()], 1)
        further = torch.stack([slope * nearer, (1 - (slope * nearer) ** 2).sqrt()], 1)
        return descent(twins, images, further, edits).item()

    way = (nearer - here[rows])[seen].mean().item()
    plateau = (1 + WAY_OF_TEXT) * WAY * way  # lacks all of it, of direction and of text
    assert of(0.0) == pytest.approx(plateau, rel=1e-3)
    assert of(WAY_OF_TEXT * WAY) == pytest.approx((1 - WAY_OF_TEXT) * WAY * way, rel=1e-3)
    assert of(WAY) == pytest.approx(0, abs=1e-5)
    assert of(0.9) == pytest.approx(0, abs=1e-5)  # steeper is as good


def test_descent_sees_no_picture_without_a_detour(twins: Twins) -> None:
    b, m = len(twins.change), len(twins.mixture)
    none = replace(twins, mixture=torch.full_like(twins.mixture, PATCHY), further=twins.further[:0])
    assert descent(none, torch.ones(2 * b + m, 3), torch.ones(0, 3), torch.ones(b, 2, 3)) == 0


def test_deceit_is_what_the_way_from_paint_that_was_made_to_fit_to_a_clean_change_lacks() -> None:
    along, none = torch.tensor([1.0, 0.0]), torch.zeros(2, 2)
    edits = torch.zeros(2, 2, 2)
    edits[:, 1] = along
    part = torch.tensor([0.5, 1.0])

    def fitting(cosine: torch.Tensor) -> torch.Tensor:
        return torch.stack([cosine, (1 - cosine**2).sqrt()], 1)

    painted = fitting(torch.tensor([0.3, 0.5]))
    lacks = (1 + WAY_OF_TEXT) * WHOLE_MARGIN * part  # of direction and of text
    assert deceit(none, painted, painted, edits, part).item() == pytest.approx(lacks.mean().item(), rel=1e-3)
    there = fitting(torch.tensor([0.3, 0.5]) + WHOLE_MARGIN * part)
    assert deceit(none, painted, there, edits, part).item() == pytest.approx(0, abs=1e-5)
    one = torch.stack([painted[0], there[1]])
    assert deceit(none, painted, one, edits, part).item() == pytest.approx(lacks[0].item() / 2, rel=1e-3)


def test_place_is_nothing_where_the_object_alone_brings_the_name_and_two_where_all_else_does(twins: Twins) -> None:
    m = 2 * len(twins.change)
    share = F.adaptive_avg_pool2d(twins.subject[:m], GRID).flatten(1)
    name, other = torch.eye(3)[0], torch.eye(3)[1]
    for part, expected in ((share, 0.0), (1 - share, 2.0)):
        patches = part[..., None] * name + (1 - part)[..., None] * other
        got = place(twins, patches.mean(1), patches, name.expand(m, 3))
        assert got.item() == pytest.approx(expected, abs=1e-3)


def test_place_sees_no_picture_without_an_object(twins: Twins) -> None:
    empty = replace(twins, things=torch.full_like(twins.things, NO_CLAIM))
    m = 2 * len(twins.change)
    assert place(empty, torch.ones(m, 3), torch.ones(m, GRID * GRID, 3), torch.ones(m, 3)) == 0
