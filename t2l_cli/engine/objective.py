"""Eq. 2 on pictures: L = L_comp + lambda_g L_screen + lambda_s L_structure + lambda_r L_reg (+ bootstrap).

It knows sources, their edit layers and CLIP; not where the layers come from (a picture, a frame, an atlas).
Passes through CLIP for an example of n views: 2 n views with gradient (composite and screen, one call), n views of the
source without, and one picture each of composite and source for the structure. Nothing is embedded twice, and a term of
weight 0 is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2l_cli.config import LossWeights
from t2l_cli.engine.clip import STRUCTURE_LONG_SIDE, Clip
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.losses import (
    Losses,
    bootstrap_loss,
    cosine_loss,
    directional_loss,
    screen_loss,
    self_similarity,
    sparsity_loss,
    structure_loss,
)
from t2l_cli.engine.texts import StepTexts
from t2l_cli.engine.views import ViewParams, make_views


@dataclass(frozen=True)
class Example:
    """One internal example (I_s^i, T^i) with its edit layer and the random draws of its views and texts.

    source: (1, 3, H, W) in [0, 1], without gradient. layer: of the same size, with gradient.
    views: draws for the composite and the green-screen picture. source_views: those for the source, whose views L_dir
    compares with the composite's (see ``draw_views``).
    relevancy: R(I_s, T_ROI), (1, 1, any, any) in [0, 1], or None where there is no bootstrap.
    source_structure: self-similarity of the source, where it is known already (see ``Objective.structure``).
    """

    source: Tensor
    layer: EditLayer
    texts: StepTexts
    views: ViewParams
    source_views: ViewParams
    relevancy: Tensor | None = None
    source_structure: Tensor | None = None


class Objective:
    """Eq. 2 with given weights, seen through one CLIP."""

    def __init__(self, clip: Clip, weights: LossWeights) -> None:
        self.clip = clip
        self.weights = weights

    def __call__(self, examples: Sequence[Example], bootstrap: float = 0.0) -> Losses:
        """Weighted terms, each the mean over ``examples``. ``bootstrap``: its annealing, from 1 down to 0."""
        each = [self._terms(example, bootstrap) for example in examples]
        return Losses({name: torch.stack([terms[name] for terms in each]).mean() for name in each[0]})

    def structure(self, picture: Tensor) -> Tensor:
        """Self-similarity (1, N, N) of the tokens of ``picture`` (1, 3, H, W), seen whole and un-augmented."""
        return self_similarity(self.clip.tokens(self.clip.fit(picture, STRUCTURE_LONG_SIDE)))

    def _terms(self, example: Example, bootstrap: float) -> dict[str, Tensor]:
        weights, texts, layer = self.weights, example.texts, example.layer
        composite = layer.over(example.source)  # I_o
        e_composite, e_screen, e_source = self._embeddings(example, composite)
        terms = {
            "cosine": cosine_loss(e_composite, texts.target, weights.distance),
            "direction": directional_loss(e_composite, e_source, texts.direction),
        }
        if e_screen is not None:
            terms["screen"] = weights.screen * screen_loss(e_screen, texts.screen, weights.distance)
        if weights.structure:
            with torch.no_grad():
                known = example.source_structure
                source = self.structure(example.source) if known is None else known
            terms["structure"] = weights.structure * structure_loss(source, self.structure(composite))
        terms["sparsity"] = weights.sparsity * sparsity_loss(layer.alpha, weights.l1)
        if example.relevancy is not None:
            terms["bootstrap"] = weights.bootstrap * bootstrap * bootstrap_loss(layer.alpha, example.relevancy)
        return terms

    def _embeddings(self, example: Example, composite: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """E_im of the views of I_o, I_screen (None without its term) and I_s, (n, D) each."""
        size = self.clip.view_size((composite.shape[-2], composite.shape[-1]))
        with_screen = self.weights.screen > 0
        painted = torch.cat([composite, example.layer.over_green()]) if with_screen else composite
        embedded = self.clip.embed_images(make_views(painted, example.views, size))
        with torch.no_grad():
            e_source = self.clip.embed_images(make_views(example.source, example.source_views, size))
        n = example.views.n_views
        return embedded[:n], embedded[n:] if with_screen else None, e_source
