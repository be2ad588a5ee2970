import random

import torch
from hypothesis import given
from hypothesis import strategies as st

from mini.captions import Captioner, Claim, truth
from mini.stage import COLOUR, TEXTURE
from mini.vocabulary import COLOUR_NAMES, NO_CLAIM, NOUNS, SCREEN, SYNONYMS, TEXTURES, Thing

RED, BLUE = COLOUR_NAMES.index("red"), COLOUR_NAMES.index("blue")
CUP, CAT = NOUNS.index("cup"), NOUNS.index("cat")

things = st.builds(
    Thing, st.integers(0, len(COLOUR_NAMES) - 1), st.integers(0, len(TEXTURES) - 1), st.integers(0, len(NOUNS) - 1)
)
backgrounds = st.one_of(
    st.just((NO_CLAIM, NO_CLAIM)), st.tuples(st.integers(0, len(COLOUR_NAMES) - 1), st.integers(0, SCREEN))
)


def is_true(claim: Claim, objects: list[Thing], background: tuple[int, int]) -> bool:
    """One scene at a time, in plain Python: another way to say what ``truth`` computes for tables."""

    def fits(claimed: tuple[int, ...], fact: tuple[int, ...]) -> bool:
        return all(c in (NO_CLAIM, f) for c, f in zip(claimed, fact, strict=True))

    a, b = objects
    if claim.second == Thing():
        shown = fits(claim.first, a) or fits(claim.first, b)
    else:
        shown = (fits(claim.first, a) and fits(claim.second, b)) or (fits(claim.first, b) and fits(claim.second, a))
    return shown and fits(claim.background, background)


@given(st.lists(things, min_size=1, max_size=2), backgrounds, st.integers(0, 2**32))
def test_what_the_captioner_claims_is_true(objects: list[Thing], background: tuple[int, int], seed: int) -> None:
    objects = [*objects, Thing()][:2]
    captioner = Captioner(random.Random(seed))
    table = torch.tensor([[list(t) for t in objects]]), torch.tensor([background])
    for claim in (captioner.full(objects, background), captioner.partial(objects, background)):
        assert truth(torch.tensor([claim.row()]), *table).item()


@given(
    st.builds(Claim, things, st.one_of(st.just(Thing()), things), backgrounds),
    st.tuples(things, st.one_of(st.just(Thing()), things)),
    backgrounds,
)
def test_truth_agrees_with_one_scene_at_a_time(
    claim: Claim, pair: tuple[Thing, Thing], background: tuple[int, int]
) -> None:
    got = truth(torch.tensor([claim.row()]), torch.tensor([[list(t) for t in pair]]), torch.tensor([background])).item()
    assert got == is_true(claim, list(pair), background)


def test_a_swapped_caption_is_false() -> None:
    captioner = Captioner(random.Random(0))
    claim = Claim(Thing(RED, NO_CLAIM, CUP), Thing(), (BLUE, NO_CLAIM))
    scene = torch.tensor([[[RED, 0, CUP], [NO_CLAIM] * 3]]), torch.tensor([[BLUE, 0]])
    assert truth(torch.tensor([claim.row()]), *scene).item()
    assert not truth(torch.tensor([captioner.swapped(claim).row()]), *scene).item()


@given(st.integers(0, 2**32))
def test_texts_of_an_edit_differ_in_what_changed(seed: int) -> None:
    captioner = Captioner(random.Random(seed))
    none = (NO_CLAIM, NO_CLAIM)
    old, new = captioner.change((Thing(RED, 0, CAT), none), (Thing(BLUE, 0, CAT), none), COLOUR)
    assert "blue" in new
    assert "blue" not in old
    old, new = captioner.change((Thing(RED, 0, CAT), none), (Thing(RED, 2, CAT), none), TEXTURE)
    assert any(word in new for word in SYNONYMS["dotted"])
    assert not any(word in old for word in SYNONYMS["dotted"])


def test_the_green_screen_is_spoken_of_as_the_engine_does() -> None:
    texts = {
        Captioner(random.Random(s)).text(Claim(Thing(RED, NO_CLAIM, CUP), Thing(), (NO_CLAIM, SCREEN)))
        for s in range(40)
    }
    assert any("over a green screen" in t for t in texts)
    assert any("in front of a green screen" in t for t in texts)
