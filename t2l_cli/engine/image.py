"""One edit of one picture: the training at its own size, short tries, and the result at the picture's full size."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import MIN_SIDE, EditConfig
from t2l_cli.engine import augment, fullres
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.objective import Example, Objective
from t2l_cli.engine.optimize import LastGood, Step, optimise
from t2l_cli.engine.runtime import Runtime, memory_guard, resolve
from t2l_cli.engine.texts import TextSet, choose_roi, in_templates
from t2l_cli.engine.views import ViewParams, make_views
from t2l_cli.errors import DivergedError

MAX_AREA = 4.0  # training pixels in squares of config.size: a long strip of a picture is made smaller than --size says


@dataclass(frozen=True)
class Try:
    """A short start: its seed and how well CLIP found it to go in the texts' direction (-1 to 1; -inf: diverged)."""

    seed: int
    score: float


class ImageEdit:
    """Trains an edit layer for one picture. Iterate it for the steps; ``result()`` is valid at any time.

    Attributes: ``size`` (h, w) of the training; ``texts`` in use; ``roi`` (T_ROI or None) and ``roi_chosen`` (by CLIP,
    not by the user); ``tries`` judged so far; ``n_steps`` in all, tries included; ``seed`` of the run that is shown.
    """

    def __init__(
        self,
        picture: Tensor,
        clip: Clip,
        config: EditConfig,
        runtime: Runtime | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Prepare the edit of ``picture`` (3, H, W), float32 RGB in [0, 1], at full resolution.

        runtime: where to train, by default CLIP's device. mask: (1, H, W) in [0, 1]; multiplies alpha.
        """
        self.config, self.clip = config, clip
        self.runtime = runtime or resolve(str(clip.device))
        self.picture = picture[None].cpu()
        self.mask = None if mask is None else mask[None].cpu()
        self.size = training_size((picture.shape[-2], picture.shape[-1]), config.size)
        self.objective = Objective(clip, config.weights)
        with memory_guard(self.runtime.device):
            self.source = self._bring(self.picture)
            self._source_mask = None if self.mask is None else self._bring(self.mask)
            self.roi_chosen = config.roi is None
            self.roi = choose_roi(clip, self.source, config.prompts) if config.roi is None else config.roi
            self.texts = TextSet.embed(clip, config.prompts, self.roi, config.layer_text)
            self._relevancy = self._relevancy_map()
            with torch.no_grad():
                self._source_structure = self.objective.structure(self.source) if config.weights.structure else None
        self.tries: list[Try] = []
        self._try_steps = min(config.try_steps, config.optim.steps)
        self.n_steps = config.optim.steps + (config.tries - 1) * self._try_steps
        self._run = _Run(self, config.seed)
        self._steps = self._iterate()

    @property
    def seed(self) -> int:
        """Seed of the run that ``result()`` shows."""
        return self._run.seed

    def __iter__(self) -> Iterator[Step]:
        """The steps; iterating again goes on where it was left. DivergedError and DeviceMemoryError end them."""
        return self._steps

    def preview(self) -> EditLayer:
        """The layer at training size, on the training device."""
        return self._layer().within(self._source_mask)

    def result(self) -> EditLayer:
        """The layer at the picture's own size, on the CPU: rgb (1, 3, H, W) and alpha (1, 1, H, W), float32."""
        return fullres.upsample(self._layer(), self.picture).within(self.mask)

    def score(self) -> float:
        """How far CLIP sees the edit go in the texts' direction, -1 to 1: cos between the changes of picture and text.

        On un-augmented views, embeddings normalised, mean over views; texts averaged over prompts and templates.
        """
        views, size = ViewParams.plain(), self.clip.view_size(self.size)
        with torch.no_grad(), memory_guard(self.runtime.device):
            both = torch.cat([self.preview().over(self.source), self.source])
            embedded = F.normalize(self.clip.embed_images(make_views(both, views, size)), dim=-1)
        change = embedded[: views.n_views] - embedded[views.n_views :]
        return F.cosine_similarity(change, self.texts.mean().direction[None], dim=-1).mean().item()

    def losses(self, generator: Generator, random: torch.Generator, i: int) -> Losses:
        """Eq. 2 at step ``i`` for ``generator``, on what ``random`` draws.

        One augmented example, and every ``source_every`` steps the un-augmented pair (I_s, T) beside it.
        """
        config = self.config
        examples = [self._example(generator, random, augment.draw(config.augment, self.size, random))]
        if i % config.optim.source_every == 0:
            examples.append(self._example(generator, random, None))
        return self.objective(examples, bootstrap=1 - i / config.optim.steps)

    def _example(self, generator: Generator, random: torch.Generator, params: augment.AugmentParams | None) -> Example:
        """Draw the rest of an example and let the generator paint it; without ``params`` it is the un-augmented pair.

        The relevancy map of the whole source moves along with the augmented picture: CLIP has seen the object in its
        surroundings, the target does not flicker from step to step, and it costs no pass through CLIP.
        """
        source, mask, relevancy = self.source, self._source_mask, self._relevancy
        if params is not None:
            source = augment.apply(source, params)
            mask = None if mask is None else augment.apply_map(mask, params)
            relevancy = None if relevancy is None else augment.apply_map(relevancy, params)
        return Example(
            source=source,
            layer=EditLayer.from_output(generator(self._formatted(source))).within(mask),
            texts=self.texts.plain() if params is None else self.texts.draw(random),
            views=ViewParams.draw(self.config.views, (source.shape[-2], source.shape[-1]), random),
            relevancy=relevancy,
            source_structure=self._source_structure if params is None else None,
        )

    def _layer(self) -> EditLayer:
        """What the run in sight paints on the source, the mask not applied."""
        run = self._run
        with torch.no_grad(), memory_guard(self.runtime.device):
            output = run.generator(self._formatted(self.source))
            if not output.isfinite().all():  # an accelerator's losses are not looked at every step
                run.last_good.restore()
                output = run.generator(self._formatted(self.source))
        return EditLayer.from_output(output)

    def _bring(self, x: Tensor) -> Tensor:
        """``x`` (1, C, H, W) at training size on the training device."""
        return fullres.reduce(x, self.size).to(self.runtime.device)

    def _formatted(self, picture: Tensor) -> Tensor:
        return picture.contiguous(memory_format=self.runtime.memory_format)

    def _relevancy_map(self) -> Tensor | None:
        """R(I_s, T_ROI) inside the mask, at training size; None where nothing names what is there."""
        if self.roi is None or not self.config.weights.bootstrap:
            return None
        relevancy = self.clip.relevancy(self.source, in_templates(self.roi))
        relevancy = F.interpolate(relevancy, size=self.size, mode="bilinear", antialias=True)
        return relevancy if self._source_mask is None else relevancy * self._source_mask

    def _iterate(self) -> Iterator[Step]:
        if self.config.tries > 1:
            yield from self._short_starts()
        yield from self._counted(self._run, first=self.config.tries - 1)

    def _short_starts(self) -> Iterator[Step]:
        """Give each seed its short start, judge it, and leave the best in ``_run``."""
        best = -math.inf
        for k in range(self.config.tries):
            run = _Run(self, self.config.seed + k) if k else self._run
            shown, score = self._run, -math.inf
            try:
                for step in self._counted(run, first=k, stop=self._try_steps):
                    yield dataclasses.replace(step, stage=f"try {k + 1} of {self.config.tries}")
                self._run = run
                score = self.score()
            except DivergedError:
                if k == self.config.tries - 1 and best == -math.inf:
                    raise
            if score < best or score == -math.inf:
                self._run = shown
            best = max(best, score)
            self.tries.append(Try(run.seed, score))

    def _counted(self, run: _Run, first: int, stop: int | None = None) -> Iterator[Step]:
        """The next steps of ``run``, up to its own step ``stop``, numbered within the whole work."""
        for step in itertools.islice(run.steps, stop):
            yield dataclasses.replace(step, i=first * self._try_steps + step.i, n=self.n_steps)


class _Run:
    """A generator in training: from its seed on, all that it draws comes from one random stream."""

    def __init__(self, edit: ImageEdit, seed: int) -> None:
        self.seed = seed
        random = torch.Generator().manual_seed(seed)
        self.generator = Generator(generator=random)
        self.generator.to(edit.runtime.device, memory_format=edit.runtime.memory_format)  # type: ignore[call-overload]  # stubs
        self.last_good = LastGood(self.generator)
        self.steps = optimise(
            self.generator,
            lambda i: edit.losses(self.generator, random, i),
            edit.config.optim,
            check_every=edit.runtime.check_every,
            last_good=self.last_good,
        )


def training_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(h, w) to train at for a picture of ``size`` = (H, W): aspect ratio kept, short side at most ``short_side``.

    Never above the picture, unless its short side is below the generator's minimum of 129 px. A picture longer than
    4 : 1 is made smaller, so that its area stays within 4 * short_side^2; no side falls below the minimum.
    """
    short, area = min(size), size[0] * size[1]
    scale = max(min(1.0, short_side / short), MIN_SIDE / short)
    scale = min(scale, math.sqrt(MAX_AREA * short_side**2 / area))
    return max(MIN_SIDE, round(size[0] * scale)), max(MIN_SIDE, round(size[1] * scale))
