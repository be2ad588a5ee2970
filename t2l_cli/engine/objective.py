"""Eq. 2 on pictures: L = L_comp + lambda_g L_screen + lambda_s L_structure + lambda_r L_reg (+ bootstrap).

It knows sources, their edit layers and CLIP, but not where the layers come from (a picture, a frame, an atlas).
Passes through CLIP for an example of n views: 2 n views with gradient (composite and screen, in one call), n views of
the source without gradient, and one picture each of composite and source for the structure. Nothing is embedded twice,
and a term of weight 0 is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2l_cli.config import BlendMode, LossWeights
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
    views: the draws for the composite and the green-screen picture. source_views: the draws for the source, whose views
    L_dir compares with the composite's (see ``draw_views``).
    relevancy: R(I_s, T_ROI), (1, 1, any, any) in [0, 1], or None if there is no bootstrap.
    source_structure: self-similarity (1, N, N) of the source if it is known already (see ``Objective.structure``).
    """

    source: Tensor
    layer: EditLayer
    texts: StepTexts
    views: ViewParams
    source_views: ViewParams
    relevancy: Tensor | None = None
    source_structure: Tensor | None = None


class Objective:
    """Eq. 2 with given weights, computed with one CLIP."""

    def __init__(self, clip: Clip, weights: LossWeights, blend: BlendMode = "normal") -> None:
        self.clip = clip
        self.weights = weights
        self.blend = blend

    def __call__(self, examples: Sequence[Example], bootstrap: float = 0.0) -> Losses:
        """L, the mean over ``examples``. ``bootstrap``: factor on the bootstrap's weight, annealed from 1 to 0."""
        return Losses.mean([self._loss(example, bootstrap) for example in examples])

    def structure(self, picture: Tensor) -> Tensor:
        """Self-similarity (1, N, N) of the N tokens of the whole, un-augmented ``picture`` (1, 3, H, W)."""
        return self_similarity(self.clip.tokens(self.clip.fit(picture, STRUCTURE_LONG_SIDE)))

    def _loss(self, example: Example, annealed: float) -> Losses:
        w = self.weights
        I_o = example.layer.blended(example.source, self.blend).over(example.source)
        L_comp, L_screen = self._text_terms(example, I_o)
        L_structure = self.structure_term(example, I_o)
        L_reg = Losses({"sparsity": sparsity_loss(example.layer.alpha, w.l1)})
        L = L_comp + w.screen * L_screen + w.structure * L_structure + w.sparsity * L_reg  # Eq. 2
        return L + w.bootstrap * annealed * self._bootstrap_term(example)

    def _text_terms(self, example: Example, I_o: Tensor) -> tuple[Losses, Losses]:
        """L_comp = L_cos + L_dir, and L_screen. The views of I_o and of I_screen pass through CLIP in one call."""
        texts, distance, n = example.texts, self.weights.distance, example.views.n_views
        size = self.clip.view_size((I_o.shape[-2], I_o.shape[-1]))
        painted = torch.cat([I_o, example.layer.over_green()]) if self.weights.screen else I_o
        E_painted = self.clip.embed_images(make_views(painted, example.views, size))
        with torch.no_grad():
            E_s = self.clip.embed_images(make_views(example.source, example.source_views, size))
        E_o, E_screen = E_painted[:n], E_painted[n:]
        L_comp = Losses(
            {
                "cosine": cosine_loss(E_o, texts.target, distance),
                "direction": directional_loss(E_o, E_s, texts.direction),
            }
        )
        L_screen = {"screen": screen_loss(E_screen, texts.screen, distance)} if self.weights.screen else {}
        return L_comp, Losses(L_screen)

    def structure_term(self, example: Example, I_o: Tensor) -> Losses:
        """L_structure, unweighted; no term where its weight is 0."""
        if not self.weights.structure:
            return Losses({})
        S_s = example.source_structure
        if S_s is None:
            with torch.no_grad():
                S_s = self.structure(example.source)
        return Losses({"structure": structure_loss(S_s, self.structure(I_o))})

    def _bootstrap_term(self, example: Example) -> Losses:
        if example.relevancy is None:
            return Losses({})
        return Losses({"bootstrap": bootstrap_loss(example.layer.alpha, example.relevancy)})
