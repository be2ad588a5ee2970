"""One edit of one photo: trained at training size, with a result at the photo's full size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from t2l_cli.config import EditConfig
from t2l_cli.engine import augment, fullres
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.edit import Edit, Paint, training_size
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.matte import matted
from t2l_cli.engine.objective import Example
from t2l_cli.engine.runtime import Runtime, memory_guard
from t2l_cli.engine.texts import PLAIN, StepTexts
from t2l_cli.engine.views import ViewParams, draw_views


class PhotoEdit(Edit):
    """Trains an edit layer for one photo."""

    anneals_bootstrap = True

    def __init__(
        self,
        picture: Tensor,
        clips: Clip | Sequence[Clip],
        config: EditConfig,
        runtime: Runtime | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Prepare the edit of ``picture`` (3, H, W), RGB at full resolution: float32 in [0, 1], or bytes (uint8).

        runtime: where to train, by default CLIP's device. mask: (1, H, W) in [0, 1], or bytes; it multiplies alpha.
        """
        super().__init__(clips, config, runtime)
        self.picture = picture[None].cpu()
        self.mask = None if mask is None else mask[None].cpu()
        size = training_size((picture.shape[-2], picture.shape[-1]), config.size)
        self.size = augment.whole(size, self.runtime.multiple)
        with memory_guard(self.runtime.device):
            self.canvas = self._bring(self.picture)
            self.bounds = None if self.mask is None else self._bring(self.mask)
            self._read_texts(self.canvas)
            self._relevancy = self._relevancy_of(self.canvas)
            if self._relevancy is not None:
                bounds = 1 if self.bounds is None else self.bounds
                self._relevancy = self._relevancy * bounds
                thing = self._cutout_of(self.canvas, self._relevancy)
                if thing is not None:  # a map shows the start of the way, a cutout its end
                    self._relevancy, self.anneals_bootstrap = thing * bounds, False
                    self.about_cutout = (
                        f"painting the thing that CLIP sees there, {float(thing.mean()):.0%} of the picture"
                    )
            with torch.no_grad():
                self._source_structure = self.objective.structure(self.canvas) if config.weights.structure else None

    def result(self) -> EditLayer:
        """The layer at the picture's own size, on the CPU: rgb (1, 3, H, W) and alpha (1, 1, H, W), float32."""
        return self.full_layer().whole()

    def full_layer(self) -> fullres.FullLayer:
        """The layer of ``result()``, computed a few rows at a time: a whole one of 200 megapixels takes 3.2 GB."""
        matte = matted(self._painted(), self.picture, self.config.matte, self.mask)
        self.about_matte = matte.about
        guide = self.canvas.cpu() if matte.picture is None else matte.picture
        return fullres.FullLayer(matte.layer, self.picture, self.mask, self.config.blend, guide)

    def preview(self) -> EditLayer:
        """The layer at training size, blended with the source; on the training device."""
        return super().preview().blended(self.canvas, self.config.blend)

    def shown(self, layer: EditLayer) -> tuple[Tensor, Tensor]:
        """The source without and with ``layer``, (1, 3, h, w) each."""
        return self.canvas, layer.blended(self.canvas, self.config.blend).over(self.canvas)

    def examples(self, paint: Paint, rng: torch.Generator) -> list[Example]:
        """One augmented example."""
        params = augment.draw(self.config.augment, self.size, rng, self.runtime.multiple)
        texts = self._picked(self.texts.draw(rng))
        if not params.changes(self.size):
            return [self._example(paint, rng, texts)]
        # The relevancy map of the whole source gets the same geometry instead of being computed again: CLIP saw the
        # object in its surroundings, the target does not flicker from step to step, and no pass through CLIP is needed.
        mask, relevancy = (
            None if values is None else augment.apply_map(values, params) for values in (self.bounds, self._relevancy)
        )
        source = augment.apply(self.canvas, params)
        return [Example(source, paint(source).within(mask), texts, *self._views(source, rng), relevancy)]

    def plain_example(self, paint: Paint, rng: torch.Generator) -> Example:
        """The un-augmented source with the first prompt, as typed."""
        return self._example(paint, rng, self._picked(PLAIN))

    def _example(self, paint: Paint, rng: torch.Generator, texts: tuple[StepTexts, ...]) -> Example:
        """The un-augmented source; its relevancy and structure are not computed again."""
        source, layer = self.canvas, paint(self.canvas).within(self.bounds)
        return Example(source, layer, texts, *self._views(source, rng), self._relevancy, self._source_structure)

    def _views(self, picture: Tensor, rng: torch.Generator) -> tuple[ViewParams, ViewParams]:
        return draw_views(self.config.views, (picture.shape[-2], picture.shape[-1]), rng)

    def _bring(self, x: Tensor) -> Tensor:
        """``x`` (1, C, H, W) at training size on the training device."""
        return fullres.reduce(x, self.size).to(self.runtime.device)
