"""Eq. 2 on pictures: L = L_comp + lambda_g L_screen + lambda_s L_structure + lambda_r L_reg (+ bootstrap).

It knows sources, their edit layers and CLIP, but not where the layers come from (a picture, a frame, an atlas).
Passes through each CLIP for an example of n views: 2 n views with gradient (composite and screen, in one call), n views
of the source without gradient, and one picture each of composite and source for the structure. Nothing is embedded
twice, and CLIP is not asked for a term of weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2l_cli.config import BlendMode, LossWeights
from t2l_cli.engine.clip import STRUCTURE_LONG_SIDE, Clip, clips_of
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
    texts, source_structure: of each CLIP. The latter are self-similarities (1, N, N) of the source, if they are known
    already (see ``Objective.structure``).
    relevancy: R(I_s, T_ROI), or the thing cut out under it, (1, 1, any, any) in [0, 1]; None if there is no bootstrap.
    """

    source: Tensor
    layer: EditLayer
    texts: tuple[StepTexts, ...]
    views: ViewParams
    source_views: ViewParams
    relevancy: Tensor | None = None
    source_structure: tuple[Tensor, ...] | None = None


class Objective:
    """Eq. 2 with given weights. With several CLIPs, each of its terms is the mean of what they say."""

    def __init__(self, clips: Clip | Sequence[Clip], weights: LossWeights, blend: BlendMode = "normal") -> None:
        self.clips = clips_of(clips)
        self.weights = weights
        self.blend = blend

    def __call__(self, examples: Sequence[Example], bootstrap_factor: float = 1.0) -> Losses:
        """L, the mean over ``examples``. ``bootstrap_factor``: on the bootstrap's weight, which may be annealed."""
        return Losses.mean([self._loss(example, bootstrap_factor) for example in examples])

    def structure(self, picture: Tensor) -> tuple[Tensor, ...]:
        """By each CLIP: self-similarity (1, N, N) of the N tokens of the whole ``picture`` (1, 3, H, W)."""
        return tuple(_structure(clip, picture) for clip in self.clips)

    def _loss(self, example: Example, bootstrap_factor: float) -> Losses:
        w = self.weights
        I_o = example.layer.blended(example.source, self.blend).over(example.source)
        judged = [self._judged(k, example, I_o) for k in range(len(self.clips))]
        L_reg = Losses({"sparsity": sparsity_loss(example.layer.alpha, w.l1)})
        L = Losses.mean(judged) + w.sparsity * L_reg  # Eq. 2
        return L + w.bootstrap * bootstrap_factor * self._bootstrap_term(example)

    def _judged(self, k: int, example: Example, I_o: Tensor) -> Losses:
        """The part of Eq. 2 that CLIP number ``k`` computes."""
        w = self.weights
        L_comp, L_screen = self._text_terms(k, example, I_o)
        return L_comp + w.screen * L_screen + w.structure * self.structure_term(k, example, I_o)

    def _text_terms(self, k: int, example: Example, I_o: Tensor) -> tuple[Losses, Losses]:
        """L_comp = L_cos + L_dir, and L_screen. The views of I_o and of I_screen pass through CLIP in one call."""
        clip, texts, distance, n = self.clips[k], example.texts[k], self.weights.distance, example.views.n_views
        size = clip.view_size((I_o.shape[-2], I_o.shape[-1]))
        painted = torch.cat([I_o, example.layer.over_green()]) if self.weights.screen else I_o
        E_painted = clip.embed_images(make_views(painted, example.views, size))
        with torch.no_grad():
            E_s = clip.embed_images(make_views(example.source, example.source_views, size))
        E_o, E_screen = E_painted[:n], E_painted[n:]
        L_comp = Losses(
            {
                "cosine": cosine_loss(E_o, texts.target, distance),
                "direction": directional_loss(E_o, E_s, texts.direction),
            }
        )
        L_screen = {"screen": screen_loss(E_screen, texts.screen, distance)} if self.weights.screen else {}
        return L_comp, Losses(L_screen)

    def structure_term(self, k: int, example: Example, I_o: Tensor) -> Losses:
        """L_structure of CLIP number ``k``, unweighted; no term where its weight is 0."""
        if not self.weights.structure:
            return Losses({})
        if example.source_structure is None:
            with torch.no_grad():
                S_s = _structure(self.clips[k], example.source)
        else:
            S_s = example.source_structure[k]
        return Losses({"structure": structure_loss(S_s, _structure(self.clips[k], I_o))})

    def _bootstrap_term(self, example: Example) -> Losses:
        if example.relevancy is None:
            return Losses({})
        return Losses({"bootstrap": bootstrap_loss(example.layer.alpha, example.relevancy)})


def _structure(clip: Clip, picture: Tensor) -> Tensor:
    return self_similarity(clip.tokens(clip.fit(picture, STRUCTURE_LONG_SIDE)))
