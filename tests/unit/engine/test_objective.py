"""Eq. 2 on a tiny CLIP: against the terms computed one by one, and no pass through CLIP that is not needed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from t2l_cli.config import LossWeights, ViewConfig
from t2l_cli.engine import losses
from t2l_cli.engine.clip import STRUCTURE_LONG_SIDE, Clip
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.objective import Example, Objective
from t2l_cli.engine.texts import StepTexts, TextSet
from t2l_cli.engine.views import ViewParams, draw_views, make_views

N_VIEWS = 3


@pytest.fixture(scope="module")
def example(tiny_clip: Clip) -> Example:
    generator = torch.Generator().manual_seed(0)
    source, output = torch.rand(1, 3, 60, 80, generator=generator), torch.rand(1, 4, 60, 80, generator=generator)
    embedded = TextSet.embed(tiny_clip, ["red ball"], "ball")
    texts = (embedded.picked(embedded.draw(generator)),)
    views = draw_views(ViewConfig(n_views=N_VIEWS), (60, 80), generator)
    relevancy = torch.rand(1, 1, 30, 30, generator=generator)
    return Example(source, EditLayer.from_output(output.requires_grad_()), texts, *views, relevancy)


def test_terms_are_those_of_eq_2(tiny_clip: Clip, example: Example) -> None:
    weights = LossWeights(screen=0.7, structure=3.0, sparsity=0.2, l1=1.5, bootstrap=4.0)
    terms = Objective(tiny_clip, weights)([example], bootstrap_factor=0.5).terms
    layer, source, (texts,) = example.layer, example.source, example.texts
    composite = layer.over(source)
    size = tiny_clip.view_size((60, 80))

    def embed(picture: Tensor, views: ViewParams = example.views) -> Tensor:
        return tiny_clip.embed_images(make_views(picture, views, size))

    def structure(picture: Tensor) -> Tensor:
        return losses.self_similarity(tiny_clip.tokens(tiny_clip.fit(picture, STRUCTURE_LONG_SIDE)))

    expected = {
        "cosine": losses.cosine_loss(embed(composite), texts.target),
        "direction": losses.directional_loss(
            embed(composite), embed(source, example.source_views), texts.target - texts.source
        ),
        "screen": 0.7 * losses.screen_loss(embed(layer.over_green()), texts.screen),
        "structure": 3 * losses.structure_loss(structure(source), structure(composite)),
        "sparsity": 0.2 * losses.sparsity_loss(layer.alpha, 1.5),
        "bootstrap": 4 * 0.5 * losses.bootstrap_loss(layer.alpha, example.relevancy),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, atol=1e-5, rtol=1e-4, msg=name)


def test_drawn_anew_the_sources_views_make_direction_ask_for_strength(tiny_clip: Clip) -> None:
    """Of the gain in L_dir at full opacity, a layer of opacity 0.02 must not have much: it would stay faint."""
    rng = torch.Generator().manual_seed(0)
    source, paint = torch.rand(2, 1, 3, 60, 80, generator=rng).unbind()
    with torch.no_grad():
        whole = [tiny_clip.embed_images(tiny_clip.fit(x)) for x in (paint, source)]
    texts = StepTexts(whole[0][0], whole[1][0], whole[0][0])  # the direction is the edit's own

    def gain(shared: bool) -> float:
        views = draw_views(ViewConfig(n_views=64, shared_draws=shared), (60, 80), torch.Generator().manual_seed(1))

        def loss(opacity: float) -> float:
            layer = EditLayer(paint, torch.full((1, 1, 60, 80), opacity))
            example = Example(source, layer, (texts,), *views)
            with torch.no_grad():
                return float(Objective(tiny_clip, LossWeights())([example]).terms["direction"])

        return (loss(0.0) - loss(0.02)) / (loss(0.0) - loss(1.0))

    shared, own = gain(True), gain(False)
    print(f"share of the gain at an opacity of 0.02: {shared:.2f} shared, {own:.2f} drawn anew")
    assert own < 0.15 < shared


def test_examples_are_averaged(tiny_clip: Clip, example: Example) -> None:
    objective = Objective(tiny_clip, LossWeights())
    one, two = objective([example], bootstrap_factor=0.3), objective([example, example], bootstrap_factor=0.3)
    torch.testing.assert_close(one.total, two.total)


def test_every_term_moves_the_layer(tiny_clip: Clip, example: Example) -> None:
    for name, term in Objective(tiny_clip, LossWeights())([example]).terms.items():
        (gradient,) = torch.autograd.grad(term, example.layer.alpha, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert gradient.abs().sum() > 0, name


def passes(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, bool]]:
    """Record each pass through the image tower: kind, pictures, with gradient."""
    record: list[tuple[str, int, bool]] = []
    for kind in ("embed_images", "tokens"):
        plain = getattr(clip, kind)

        def recorded(pictures: Tensor, kind: str = kind, plain=plain) -> Tensor:  # type: ignore[no-untyped-def]
            record.append((kind, len(pictures), torch.is_grad_enabled() and pictures.requires_grad))
            return plain(pictures)

        monkeypatch.setattr(clip, kind, recorded)
    return record


def test_nothing_is_computed_twice(tiny_clip: Clip, example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    record = passes(tiny_clip, monkeypatch)
    Objective(tiny_clip, LossWeights())([example])
    assert sorted(record) == [
        ("embed_images", N_VIEWS, False),
        ("embed_images", 2 * N_VIEWS, True),
        ("tokens", 1, False),
        ("tokens", 1, True),
    ]


def test_a_term_of_weight_zero_costs_no_pass(
    tiny_clip: Clip, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = passes(tiny_clip, monkeypatch)
    terms = Objective(tiny_clip, LossWeights(screen=0.0, structure=0.0))([example]).terms
    assert sorted(record) == [("embed_images", N_VIEWS, False), ("embed_images", N_VIEWS, True)]
    assert not {"screen", "structure"} & terms.keys()
