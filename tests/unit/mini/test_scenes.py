import torch

from mini.mixtures import BESIDE, BEYOND, COARSE, DETOUR, FAINTEST, TOO_FEW
from mini.painting import PX, Canvas, Dice
from mini.scenes import GRID, WHOLE, Twins, draw
from mini.stage import BACKGROUND, COLOUR, PRESENCE, TEXTURE, attributes, set_stage
from mini.vocabulary import COLOURS, NO_CLAIM, NOUNS, OTHER_SHAPE, SCREEN, TEXTURES

PALETTE = torch.tensor(list(COLOURS.values())).float() / 255


def halves(twins: Twins) -> tuple[torch.Tensor, torch.Tensor]:
    n = len(twins.change)
    return twins.images[:n], twins.images[n : 2 * n]


def test_pictures_are_pictures(twins: Twins) -> None:
    assert twins.images.shape[1:] == (3, PX, PX)
    assert twins.images.isfinite().all()
    assert twins.images.min() >= 0
    assert twins.images.max() <= 1
    assert twins.patches.shape == (len(twins.images), GRID * GRID, 3)


def test_labels_stay_in_the_vocabulary(twins: Twins) -> None:
    assert twins.things[..., 0].max() < len(COLOURS)
    assert twins.things[..., 1].max() < len(TEXTURES)
    assert twins.things[..., 2].max() <= OTHER_SHAPE == len(NOUNS)
    assert twins.backgrounds[:, 1].max() <= SCREEN
    assert min(twins.things.min(), twins.backgrounds.min()) >= NO_CLAIM


def test_twins_differ_where_the_change_is_and_nowhere_else(twins: Twins) -> None:
    before, after = halves(twins)
    n = len(twins.change)
    moved = (before - after).abs().amax(1)
    outside = twins.subject[:n] < 1e-3
    for i, kind in enumerate(twins.change.tolist()):
        if kind in (COLOUR, TEXTURE, PRESENCE):  # a one-pixel blur may carry the change over the outline
            far = torch.nn.functional.max_pool2d(1 - outside[i].float()[None], 5, 1, 2)[0] == 0
            assert not far.any() or moved[i][far].max() < 0.02
        else:
            assert kind == BACKGROUND
            assert twins.backgrounds[i, 0] != twins.backgrounds[n + i, 0]
            assert torch.equal(twins.things[i], twins.things[n + i])


def test_a_plain_object_has_the_colour_that_is_claimed(twins: Twins) -> None:
    """The mean colour inside is nearest to the named one, of 13, in most scenes."""
    right = total = 0
    for i in range(2 * len(twins.change)):
        colour, texture, noun = twins.things[i, 0].tolist()
        inside = twins.subject[i] > 0.9
        if noun == NO_CLAIM or texture != 0 or inside.sum() < 80:
            continue
        mean = twins.images[i][:, inside].mean(1)
        right += int((PALETTE - mean).norm(dim=1).argmin() == colour)
        total += 1
    assert total > 10
    assert right / total > 0.6


def test_of_a_mixture_the_changed_attribute_is_not_claimed(twins: Twins) -> None:
    n = len(twins.change)
    mixed = twins.things[2 * n :, 0]
    for i, kind in enumerate(twins.change[: len(mixed)].tolist()):
        if kind in (BACKGROUND, PRESENCE) or twins.mixture[i] == BESIDE:
            continue
        seen = {twins.things[i, 0, kind].item(), twins.things[n + i, 0, kind].item(), NO_CLAIM}
        assert mixed[i, kind].item() in seen
        assert mixed[i, 2] == twins.things[i, 0, 2]
    changed = (twins.change[: len(mixed)] == TEXTURE).long()
    assert (mixed.gather(1, changed[:, None]) == NO_CLAIM).any()


def test_blotches_are_no_texture_and_stay_on_the_object(canvas: Canvas) -> None:
    twins = draw(canvas, Dice(torch.Generator().manual_seed(6)), 40, pairs=0.0, mixtures=1.0)
    n, m = len(twins.change), len(twins.mixture)
    rows = (twins.mixture == COARSE).nonzero()[:, 0]
    assert len(rows)
    assert (twins.change[rows] == TEXTURE).all()
    assert (twins.things[2 * n + rows, 0, 1] == NO_CLAIM).all()
    assert torch.equal(twins.things[2 * n + rows, 0, 0], twins.things[rows, 0, 0])
    moved = (twins.images[2 * n : 2 * n + m] - twins.images[:m]).abs().amax(1)
    for i in rows.tolist():
        far = torch.nn.functional.max_pool2d((twins.subject[i] > 1e-3).float()[None], 5, 1, 2)[0] == 0
        assert not far.any() or moved[i][far].max() < 0.02


def test_a_change_beside_the_object_leaves_the_object(twins: Twins) -> None:
    n = len(twins.change)
    rows = ((twins.mixture == BESIDE) & (twins.change[: len(twins.mixture)] != PRESENCE)).nonzero()[:, 0].tolist()
    assert rows
    moved = (twins.images[2 * n :] - twins.images[: len(twins.mixture)]).abs().amax(1)
    for i in rows:
        assert torch.equal(twins.things[2 * n + i], twins.things[i])
        deep = torch.nn.functional.max_pool2d(1 - (twins.subject[i] > 0.999).float()[None], 5, 1, 2)[0] == 0
        assert not deep.any() or moved[i][deep].max() < 0.02
    assert max(moved[i].max().item() for i in rows) > 0.1


def test_a_spilt_change_has_all_of_the_object_and_says_how_much_lies_beside(canvas: Canvas) -> None:
    twins = draw(canvas, Dice(torch.Generator().manual_seed(8)), 60, pairs=0.0, mixtures=1.0, askew=0.0)
    n, m = len(twins.change), len(twins.mixture)
    rows = (twins.mixture == BEYOND).nonzero()[:, 0].tolist()
    assert len(rows) > 5
    assert (twins.change[rows] != BACKGROUND).all()
    after, spilt = twins.images[n : n + m], twins.images[2 * n :]
    for i in rows:
        deep = torch.nn.functional.max_pool2d(1 - (twins.subject[i] > 0.999).float()[None], 5, 1, 2)[0] == 0
        assert not deep.any() or (spilt[i] - after[i]).abs().amax(0)[deep].max() < 0.02
        assert 0 < twins.amount[i] <= 1
        claimed = twins.things[2 * n + i, 0]
        assert torch.equal(claimed, twins.things[n + i, 0]) == (twins.amount[i].item() >= WHOLE)
    assert (twins.backgrounds[2 * n :][rows] == NO_CLAIM).all()
    moved = torch.stack([(spilt[i] - after[i]).abs().mean() for i in rows])
    clean = twins.amount[rows] > 0.97
    assert moved[~clean].mean() > 0.02


def detours_of(twins: Twins, change: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The scenes whose ``change`` is on its way, and of these ``further`` and ``farther``."""
    every = (twins.mixture == DETOUR).nonzero()[:, 0]
    on = twins.change[every] == change
    return every[on], twins.further[on], twins.farther[on]


def away_from(subject: torch.Tensor) -> torch.Tensor:
    """1 where (K, px, px) masks and two pixels around them are empty, else 0."""
    return -torch.nn.functional.max_pool2d(-(subject < 1e-3).float()[:, None], 5, 1, 2)[:, 0]


def test_a_detour_is_a_whole_object_between_two_colours_and_nears_the_new_one(canvas: Canvas) -> None:
    twins = draw(canvas, Dice(torch.Generator().manual_seed(10)), 80, pairs=0.0, mixtures=1.0, askew=0.0, detours=0.6)
    n = len(twins.change)
    rows, further, farther = detours_of(twins, COLOUR)
    assert len(rows) > 8
    way, after = twins.images[2 * n + rows], twins.images[n + rows]
    assert ((way - after).abs().amax(1) * away_from(twins.subject[rows])).max() < 0.02
    claimed = twins.things[2 * n + rows, 0]
    whole = twins.amount[rows] >= WHOLE
    assert torch.equal(claimed[:, 0] == NO_CLAIM, ~whole)
    assert torch.equal(claimed[whole], twins.things[n + rows, 0][whole])
    distance = ((way - after).abs().mean(1) * twins.subject[rows]).sum((1, 2)) / twins.subject[rows].sum((1, 2))
    assert distance[twins.amount[rows] > 0.8].mean() < 0.4 * distance[twins.amount[rows] < 0.4].mean()
    assert further.shape == way.shape
    nearer = ((further - after).abs().mean(1) * twins.subject[rows]).sum((1, 2)) / twins.subject[rows].sum((1, 2))
    assert (farther > twins.amount[rows]).all()
    assert (nearer < distance + 1e-4).float().mean() > 0.9  # grain and the lens are the same in both


def test_a_texture_on_its_way_is_no_texture_yet_and_becomes_the_new_one(canvas: Canvas) -> None:
    twins = draw(canvas, Dice(torch.Generator().manual_seed(12)), 80, pairs=0.0, mixtures=1.0, askew=0.0, detours=0.9)
    n = len(twins.change)
    assert torch.isin(twins.change[(twins.mixture == DETOUR).nonzero()[:, 0]], torch.tensor([COLOUR, TEXTURE])).all()
    rows, further, farther = detours_of(twins, TEXTURE)
    shown = twins.things[n + rows, 0, 2] != NO_CLAIM
    rows, further, farther = rows[shown], further[shown], farther[shown]
    assert len(rows) > 5
    assert (twins.things[n + rows, 0, 1] > 0).all()  # none becomes plain
    assert (twins.amount[rows] >= FAINTEST).all()
    claimed = twins.things[2 * n + rows, 0]
    whole = twins.amount[rows] >= WHOLE
    assert torch.equal(claimed[:, 1] == NO_CLAIM, ~whole)
    assert torch.equal(claimed[:, 0], twins.things[rows, 0, 0])  # the colour is what it was
    way, after = twins.images[2 * n + rows], twins.images[n + rows]
    assert ((way - after).abs().amax(1) * away_from(twins.subject[rows])).max() < 0.02
    left, less = ((p - after).abs().mean((1, 2, 3)) for p in (way, further))
    assert (farther > twins.amount[rows]).all()
    assert (less < left + 1e-4).float().mean() > 0.9
    assert (less / left.clamp(min=1e-4)).median() < 0.9


def test_a_coarser_texture_has_fewer_edges_and_the_rest_stays(canvas: Canvas) -> None:
    n = 24
    dice = Dice(torch.Generator().manual_seed(13))
    stage, _, _ = set_stage(canvas, dice, n, pairs=0.0, askew=0.0, wild=0.0)
    striped = attributes(dice, n, stage, (1.0, 0.0, 0.0)).textured(
        torch.ones(n, dtype=torch.bool), TEXTURES.index("striped")
    )
    rows = torch.arange(n) < n // 2
    bare = [(torch.zeros(n, 3, 1, 1), torch.zeros(n, 1, 1, 1))] * 2
    fine, coarse = stage.picture(striped, bare), stage.coarser(rows, TOO_FEW).picture(striped, bare)
    assert torch.equal(fine[~rows], coarse[~rows])
    outside = stage.objects[0].mask == 0
    assert torch.equal((fine * outside)[rows], (coarse * outside)[rows])
    edges = [(p.diff(dim=2).abs().mean((1, 2, 3)) + p.diff(dim=3).abs().mean((1, 2, 3)))[rows] for p in (coarse, fine)]
    assert (edges[0] < edges[1]).float().mean() > 0.7  # an object's outline and shadows have edges, too
    assert edges[0].mean() < 0.9 * edges[1].mean()


def test_detours_come_on_request(canvas: Canvas) -> None:
    twins = draw(canvas, Dice(torch.Generator().manual_seed(11)), 20, mixtures=1.0)
    assert not (twins.mixture == DETOUR).any()
    assert len(twins.further) == len(twins.farther) == 0


def test_wild_scenes_have_grounds_without_a_name(canvas: Canvas) -> None:
    tame, wild = (draw(canvas, Dice(torch.Generator().manual_seed(9)), 20, wild=part) for part in (0.0, 0.8))
    assert (tame.backgrounds[:40] != NO_CLAIM).all()
    named = wild.backgrounds[:40, 0] != NO_CLAIM
    assert (wild.backgrounds[:40][named, 1] == SCREEN).all()


def test_an_object_appears_on_the_green_screen(twins: Twins) -> None:
    n = len(twins.change)
    rows = (twins.change == PRESENCE).nonzero()[:, 0]
    assert len(rows)
    assert (twins.things[rows, 0] == NO_CLAIM).all()
    assert (twins.things[n + rows, 0] != NO_CLAIM).all()
    assert (twins.backgrounds[rows, 1] == SCREEN).all()


def test_the_same_dice_draw_the_same_scenes(canvas: Canvas) -> None:
    a, b = (draw(canvas, Dice(torch.Generator().manual_seed(11)), 6) for _ in range(2))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.things, b.things)
    other = draw(canvas, Dice(torch.Generator().manual_seed(12)), 6)
    assert not torch.equal(a.images, other.images)
