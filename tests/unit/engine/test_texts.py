"""The texts of an edit, and the choice of T_ROI."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from t2l_cli.engine.clip import Clip
from t2l_cli.engine.prompts import SCREEN_TEMPLATES, TEMPLATES
from t2l_cli.engine.texts import PLAIN, PLAIN_TEMPLATE, TextSet, choose_roi, in_templates


@pytest.fixture(scope="module")
def two_prompts(tiny_clip: Clip) -> TextSet:
    return TextSet.embed(tiny_clip, ["crochet swan", "knitted swan"], roi="swan")


def embedding(clip: Clip, text: str) -> torch.Tensor:
    return clip.embed_texts([text])[0]


def test_every_text_is_embedded_in_every_template(tiny_clip: Clip, two_prompts: TextSet) -> None:
    assert two_prompts.target.shape == (2, 14, 16)
    assert two_prompts.source.shape == (14, 16)
    assert two_prompts.screen.shape == (2, 2, 16)
    torch.testing.assert_close(two_prompts.target[1, 2], embedding(tiny_clip, "a photo of knitted swan."))
    torch.testing.assert_close(two_prompts.source[9], embedding(tiny_clip, "a swan."))
    torch.testing.assert_close(
        two_prompts.screen[0, 1], embedding(tiny_clip, "crochet swan in front of a green screen.")
    )


def test_a_draw_is_consistent_and_reaches_everything(tiny_clip: Clip, two_prompts: TextSet) -> None:
    seen = set()
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        texts = two_prompts.picked(two_prompts.draw(generator))
        prompt, template = (two_prompts.target == texts.target).all(dim=-1).nonzero()[0].tolist()
        layer, screen = (two_prompts.screen == texts.screen).all(dim=-1).nonzero()[0].tolist()
        assert torch.equal(texts.source, two_prompts.source[template])
        assert torch.equal(texts.direction, two_prompts.target[prompt, template] - two_prompts.source[template])
        assert layer == prompt
        seen.add((prompt, template, screen))
    assert len(seen) == 2 * len(TEMPLATES) * len(SCREEN_TEMPLATES)


def test_draws_follow_the_generator(two_prompts: TextSet) -> None:
    first, again = (two_prompts.draw(torch.Generator().manual_seed(4)) for _ in range(2))
    assert first == again


def test_without_roi_the_neutral_text_stands_in(tiny_clip: Clip) -> None:
    texts = TextSet.embed(tiny_clip, ["crochet swan"])
    assert texts.roi is None
    torch.testing.assert_close(texts.source[0], embedding(tiny_clip, "photo of photo."))


def test_a_layer_text_replaces_the_prompts_on_the_screen(tiny_clip: Clip) -> None:
    texts = TextSet.embed(tiny_clip, ["a swan in fire", "a swan in flames"], layer_text="fire {}")
    assert texts.layer_texts == ("fire {}",)
    assert texts.screen.shape == (1, 2, 16)
    torch.testing.assert_close(texts.screen[0, 0], embedding(tiny_clip, "fire {} over a green screen."))
    texts.picked(texts.draw(torch.Generator().manual_seed(0)))


def test_the_plain_pair_has_the_prompt_as_typed(tiny_clip: Clip, two_prompts: TextSet) -> None:
    assert TEMPLATES[PLAIN_TEMPLATE] == "{}"
    torch.testing.assert_close(two_prompts.picked(PLAIN).target, embedding(tiny_clip, "crochet swan"))
    torch.testing.assert_close(two_prompts.picked(PLAIN).source, embedding(tiny_clip, "swan"))


def test_the_mean_weighs_all_texts_alike(two_prompts: TextSet) -> None:
    expected = torch.stack([F.normalize(e, dim=0) for e in two_prompts.target.flatten(0, 1)]).mean(dim=0)
    torch.testing.assert_close(two_prompts.mean().target, expected)
    assert two_prompts.mean().screen.shape == (16,)


class KnowingClip:
    """Stands for CLIP: each text has a known similarity to the picture."""

    logit_scale = 100.0
    roi_margin = 1.0

    def __init__(self, similarity: dict[str, float]) -> None:
        self.texts = {filled: value for text, value in similarity.items() for filled in in_templates(text)}

    def fit(self, picture: torch.Tensor) -> torch.Tensor:
        return picture

    def embed_images(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[3.0, 0.0]]).expand(len(pictures), 2)

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        cosine = torch.tensor([self.texts[text] for text in texts])
        return 7 * torch.stack([cosine, (1 - cosine**2).sqrt()], dim=1)


PICTURE = torch.zeros(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("swan", "chosen"),
    [(0.28, "swan"), (0.2305, None), (0.2295, None), (0.2405, "swan")],  # photo: 0.23, so the bound is 0.24
)
def test_roi_must_beat_the_neutral_text_by_the_margin(swan: float, chosen: str | None) -> None:
    clip = KnowingClip({"swan": swan, "crochet": 0.2, "photo": 0.23, "crochet swan": 0.5})
    assert choose_roi(clip, PICTURE, ["crochet swan"]) == chosen  # type: ignore[arg-type]  # a stand-in


def test_roi_is_never_a_whole_prompt() -> None:
    clip = KnowingClip({"swan": 0.4, "white": 0.2, "red": 0.2, "photo": 0.1, "white swan": 0.3})
    assert choose_roi(clip, PICTURE, ["swan"]) is None  # type: ignore[arg-type]  # a stand-in
    assert choose_roi(clip, PICTURE, ["white swan", "swan"]) == "white"  # type: ignore[arg-type]  # a stand-in


def test_a_model_may_have_a_margin_of_its_own() -> None:
    clip = KnowingClip({"swan": 0.19, "crochet": 0.15, "photo": 0.23})
    assert choose_roi(clip, PICTURE, ["crochet swan"]) is None  # type: ignore[arg-type]  # a stand-in
    clip.roi_margin = -5.0
    assert choose_roi(clip, PICTURE, ["crochet swan"]) == "swan"  # type: ignore[arg-type]  # a stand-in


def test_roi_with_a_real_model_is_a_candidate_or_none(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(tiny_clip, "roi_margin", -100)
    assert choose_roi(tiny_clip, picture, ["a crochet swan"]) in {"crochet", "swan"}
    monkeypatch.setattr(tiny_clip, "roi_margin", 100)
    assert choose_roi(tiny_clip, picture, ["a crochet swan"]) is None


def test_templates_keep_braces_of_the_text() -> None:
    assert in_templates("{0}")[0] == "photo of {0}."
