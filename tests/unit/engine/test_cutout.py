"""The cutout of a thing under a coarse map: its outline is the picture's."""

from __future__ import annotations

import cv2
import pytest
import torch
from torch import Tensor

from t2l_cli.engine.cutout import SEED, SIDE, cutout
from t2l_cli.engine.resize import resized


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> Tensor:
    """(1, 1, h, w): 1 within ``radius`` px of ``centre`` (y, x), else 0."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2).float()[None, None]


def cut(picture: Tensor, relevancy: Tensor) -> Tensor:
    """The cutout, where there must be one."""
    found = cutout(picture, relevancy)
    assert found is not None
    return found


def scene(thing: Tensor, seed: int = 0) -> Tensor:
    """A noisy reddish ``thing`` before a noisy bluish ground: (1, 3, h, w)."""
    red, blue = (torch.tensor(c).view(1, 3, 1, 1) for c in ((0.7, 0.3, 0.2), (0.3, 0.5, 0.7)))
    noise = 0.05 * torch.randn(1, 3, *thing.shape[-2:], generator=torch.Generator().manual_seed(seed))
    return (thing * red + (1 - thing) * blue + noise).clamp(0, 1)


def coarse(thing: Tensor) -> Tensor:
    """What CLIP might say of ``thing``: by 8 patches on the short side, with a peak at its left."""
    h, w = thing.shape[-2:]
    side = min(h, w) // 8
    patches = resized(thing * torch.linspace(1, 0.2, w), (h // side, w // side))
    return resized(patches / patches.max(), (h, w)).clamp(0, 1)


def overlap(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two masks."""
    return float(((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum())


@pytest.mark.parametrize("size", [(129, 129), (160, 213), (400, 320)])
def test_the_cutout_has_the_outline_of_the_thing(size: tuple[int, int]) -> None:
    thing = disc(size, (0.45 * size[0], 0.5 * size[1]), 0.3 * min(size))
    found = cut(scene(thing), coarse(thing))
    assert found.shape == thing.shape
    assert 0 <= found.min() <= found.max() <= 1
    assert overlap(found, thing) > 0.93
    assert overlap(coarse(thing), thing) < 0.85  # the map alone


def test_another_thing_of_the_same_colour_is_left_out() -> None:
    size = (160, 240)
    thing, other = disc(size, (80, 70), 40), disc(size, (80, 195), 25)
    found = cut(scene(thing + other), coarse(thing))
    assert overlap(found, thing) > 0.93


def test_outside_of_a_mask_nothing_belongs_to_the_thing() -> None:
    """The map is 0 there, though the colours are the thing's."""
    size = (160, 240)
    thing, mask = disc(size, (80, 110), 60), (torch.arange(240) < 120).float().expand(1, 1, *size)
    found = cut(scene(thing), coarse(thing) * mask)
    assert overlap(found, thing * mask) > 0.9


def test_without_a_thing_there_is_no_cutout() -> None:
    size = (150, 200)
    picture = torch.full((1, 3, *size), 0.5)
    for at in (torch.zeros(1, 1, *size), torch.full((1, 1, *size), SEED / 2), torch.ones(1, 1, *size)):
        assert cutout(picture, at) is None


def test_a_speck_that_holds_little_of_the_map_is_no_thing() -> None:
    size = (150, 200)
    speck = disc(size, (75, 40), 6)
    broad = (0.6 * disc(size, (75, 120), 70) + speck).clamp(0, 1)
    assert cutout(scene(speck), broad) is None


def test_the_same_picture_gives_the_same_cutout() -> None:
    thing = disc((160, 160), (80, 80), 45)
    picture, at = scene(thing, 3), coarse(thing)
    first = cut(picture, at)
    cv2.setRNGSeed(7)
    cv2.kmeans(torch.rand(50, 3).numpy(), 3, None, (cv2.TERM_CRITERIA_COUNT, 2, 0), 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    assert torch.equal(cut(picture, at), first)


def test_a_large_picture_is_cut_at_a_small_size() -> None:
    """Above SIDE the outline is only as fine as the bootstrap needs it."""
    size = (3 * SIDE, 4 * SIDE)
    thing = disc(size, (300, 400), 200)
    found = cut(scene(thing), coarse(thing))
    assert found.shape[-2:] == size
    assert overlap(found, thing) > 0.95
