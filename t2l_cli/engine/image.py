"""One edit of one picture: the training at its own size, and the result at the picture's full size."""

from __future__ import annotations

import torch
from torch import Tensor

from t2l_cli.config import EditConfig
from t2l_cli.engine import augment, fullres
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.edit import Edit, training_size
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.objective import Example
from t2l_cli.engine.runtime import Runtime, memory_guard
from t2l_cli.engine.views import draw_views


class ImageEdit(Edit):
    """Trains an edit layer for one picture."""

    def __init__(
        self,
        picture: Tensor,
        clip: Clip,
        config: EditConfig,
        runtime: Runtime | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Prepare the edit of ``picture`` (3, H, W), RGB at full resolution: float32 in [0, 1], or bytes (uint8).

        runtime: where to train, by default CLIP's device. mask: (1, H, W), [0, 1] or bytes; multiplies alpha.
        """
        super().__init__(clip, config, runtime)
        self.picture = picture[None].cpu()
        self.mask = None if mask is None else mask[None].cpu()
        self.size = training_size((picture.shape[-2], picture.shape[-1]), config.size)
        with memory_guard(self.runtime.device):
            self.source = self._bring(self.picture)
            self._source_mask = None if self.mask is None else self._bring(self.mask)
            self._read_texts(self.source)
            self._relevancy = self._relevancy_of(self.source)
            if self._relevancy is not None and self._source_mask is not None:
                self._relevancy = self._relevancy * self._source_mask
            with torch.no_grad():
                self._source_structure = self.objective.structure(self.source) if config.weights.structure else None

    def preview(self) -> EditLayer:
        """The layer at training size, on the training device."""
        return self._painted(self.source).within(self._source_mask)

    def result(self) -> EditLayer:
        """The layer at the picture's own size, on the CPU: rgb (1, 3, H, W) and alpha (1, 1, H, W), float32."""
        return self.full_layer().whole()

    def full_layer(self) -> fullres.FullLayer:
        """What ``result()`` gives, to be had a few rows at a time: the whole layer of 200 megapixels takes 3.2 GB."""
        return fullres.FullLayer(self._painted(self.source), self.picture, self.mask)

    def shown(self) -> tuple[Tensor, Tensor]:
        """The source and the composite at training size."""
        return self.source, self.preview().over(self.source)

    def losses(self, generator: Generator, random: torch.Generator, i: int) -> Losses:
        """Eq. 2 at step ``i`` for ``generator``, on what ``random`` draws.

        One augmented example, and every ``source_every`` steps the un-augmented pair (I_s, T) beside it.
        """
        config = self.config
        examples = [self._example(generator, random, self._draw(random))]
        if i % config.optim.source_every == 0:
            examples.append(self._example(generator, random, None))
        return self.objective(examples, bootstrap=1 - i / config.optim.steps)

    def _draw(self, random: torch.Generator) -> augment.AugmentParams:
        return augment.draw(self.config.augment, self.size, random, self.runtime.multiple)

    def _example(self, generator: Generator, random: torch.Generator, params: augment.AugmentParams | None) -> Example:
        """Draw the rest of an example and let the generator paint it; without ``params`` it is the un-augmented pair.

        The relevancy map of the whole source moves along with the augmented picture: CLIP has seen the object in its
        surroundings, the target does not flicker from step to step, and it costs no pass through CLIP.
        """
        source, mask, relevancy, structure = self.source, self._source_mask, self._relevancy, self._source_structure
        if params is not None and params.changes(self.size):
            source, structure = augment.apply(source, params), None
            mask = None if mask is None else augment.apply_map(mask, params)
            relevancy = None if relevancy is None else augment.apply_map(relevancy, params)
        texts = self.texts.plain() if params is None else self.texts.draw(random)
        views, source_views = draw_views(self.config.views, (source.shape[-2], source.shape[-1]), random)
        return Example(
            source=source,
            layer=EditLayer.from_output(generator(self.formatted(source))).within(mask),
            texts=texts,
            views=views,
            source_views=source_views,
            relevancy=relevancy,
            source_structure=structure,
        )

    def _bring(self, x: Tensor) -> Tensor:
        """``x`` (1, C, H, W) at training size on the training device."""
        return fullres.reduce(x, self.size).to(self.runtime.device)
