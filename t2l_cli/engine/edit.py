"""What edits of photos and of video layers have in common: texts, training runs, short tries, scoring by CLIP."""

from __future__ import annotations

import dataclasses
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import MIN_SIDE, EditConfig
from t2l_cli.engine.clip import Clip, clips_of
from t2l_cli.engine.cutout import cutout
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.objective import Example, Objective
from t2l_cli.engine.optimize import LastGood, Step, optimise
from t2l_cli.engine.relevancy import relevancy
from t2l_cli.engine.resize import resized
from t2l_cli.engine.runtime import Runtime, memory_guard, ran_out_of_memory, resolve, stop_compiling
from t2l_cli.engine.texts import StepTexts, TextDraw, TextSet, choose_roi, in_templates
from t2l_cli.engine.views import ViewParams, make_views
from t2l_cli.errors import DivergedError

FEWER = 4  # after running out of memory, the number of views kept at once is divided by this
MAX_AREA = 4  # maximum training area, in units of config.size^2: very long pictures train below --size


Paint = Callable[[Tensor], EditLayer]
"""From a picture (1, 3, h, w) to the layer that the generator paints on it, with gradient."""


@dataclass(frozen=True)
class Try:
    """A short training run: its seed and its ``Edit.score`` (-1 to 1; -inf if it diverged)."""

    seed: int
    score: float


class Run:
    """A generator in training. One random stream, started from ``seed``, supplies its weights and all its draws."""

    def __init__(self, seed: int, runtime: Runtime) -> None:
        self.seed = seed
        self.rng = torch.Generator().manual_seed(seed)
        self.generator = Generator(rng=self.rng)
        with memory_guard(runtime.device):
            self.generator.to(runtime.device, memory_format=runtime.memory_format)  # type: ignore[call-overload]  # stubs
            self.last_good = LastGood(self.generator)
        self.steps: Iterator[Step] = iter(())  # set by the edit that trains it
        self._before = self.rng.get_state()

    def begin_step(self) -> None:
        """Save the state of the random stream, so that the step can be repeated."""
        self._before = self.rng.get_state()

    def repeat_step(self) -> None:
        """Restore the random stream to the start of the step: the next attempt draws the same numbers."""
        self.rng.set_state(self._before)


class Edit(ABC):
    """Trains an edit layer. Iterate it to run the steps; ``result()`` is valid at any time.

    A subclass supplies the examples of a step; everything else is here.

    Attributes: ``clips``, which judge, and the first of them, ``clip``, which also chooses T_ROI and sees where it is;
    ``texts``, embedded by the first, and ``all_texts``, by each; ``roi``, T_ROI or None; ``roi_chosen``, whether CLIP
    chose it instead of the user; ``size``, the training size (h, w); ``tries``, those scored so far; ``n_steps``, the
    total number of steps, tries included; ``seed``, of the run that ``result()`` shows.
    """

    size: tuple[int, int]
    all_texts: tuple[TextSet, ...]
    roi: str | None
    canvas: Tensor  # (1, 3, h, w), the picture that the generator paints on, at training size
    bounds: Tensor | None  # (1, 1, h, w) in [0, 1], where the edit may be; None: everywhere
    about_cutout: str = ""  # where the paint is drawn to, for the user to know; "" where no thing is cut out
    about_matte: str = ""  # what became of the outlines of the last result, for the user to know; "" where nothing did
    anneals_bootstrap: bool  # whether the bootstrap's weight falls to 0 or stays constant

    def __init__(self, clips: Clip | Sequence[Clip], config: EditConfig, runtime: Runtime | None) -> None:
        """Prepare the first run. ``runtime``: where to train; by default CLIP's device."""
        self.config, self.clips = config, clips_of(clips)
        self.clip = self.clips[0]
        self.runtime = runtime or resolve(str(self.clip.device))
        self.objective = Objective(self.clips, config.weights, config.blend)
        self.roi_chosen = config.roi is None
        self.tries: list[Try] = []
        self._try_steps = min(config.try_steps, config.optim.steps)
        self.n_steps = config.optim.steps + (config.tries - 1) * self._try_steps
        self._run = self._new_run(config.seed)
        self._steps = self._iterate()

    @property
    def texts(self) -> TextSet:
        """The texts, embedded by the first CLIP."""
        return self.all_texts[0]

    @property
    def seed(self) -> int:
        """Seed of the run that ``result()`` shows."""
        return self._run.seed

    @property
    def rng(self) -> torch.Generator:
        """The random stream of the run that ``result()`` shows."""
        return self._run.rng

    @property
    def generator(self) -> Generator:
        """The generator of the run that ``result()`` shows."""
        return self._run.generator

    def __iter__(self) -> Iterator[Step]:
        """The steps. A second iteration continues the first. Raises DivergedError or DeviceMemoryError."""
        return self._steps

    @abstractmethod
    def examples(self, paint: Paint, rng: torch.Generator) -> list[Example]:
        """The internal examples of one step: ``rng`` draws them, ``paint`` makes their layers."""

    @abstractmethod
    def plain_example(self, paint: Paint, rng: torch.Generator) -> Example:
        """The un-augmented pair (I_s, T), which is added every ``source_every`` steps."""

    @abstractmethod
    def result(self) -> EditLayer:
        """The layer at full size, on the CPU: rgb (1, 3, H, W) and alpha (1, 1, H, W), float32."""

    @abstractmethod
    def shown(self, layer: EditLayer) -> tuple[Tensor, Tensor]:
        """K pictures without and with ``layer`` (at training size), for scoring: two tensors (K, 3, h, w)."""

    def losses(self, paint: Paint, rng: torch.Generator, i: int) -> Losses:
        """Eq. 2 at step ``i``: ``rng`` draws the examples, ``paint`` makes their layers."""
        examples = self.examples(paint, rng)
        if i % self.config.optim.source_every == 0:
            examples.append(self.plain_example(paint, rng))
        bootstrap_factor = 1 - i / self.config.optim.steps if self.anneals_bootstrap else 1.0
        return self.objective(examples, bootstrap_factor)

    def painter(self, generator: Generator) -> Paint:
        """A function that paints with ``generator``, with gradient."""
        return lambda picture: EditLayer.from_output(generator(self.runtime.formatted(picture)))

    def preview(self) -> EditLayer:
        """The layer at training size, on the training device."""
        return self._painted(self._run).within(self.bounds)

    def glimpse(self) -> Tensor:
        """The picture, or the layer's atlas, with the layer over it at training size: (3, h, w), on the device."""
        return self.preview().over(self.canvas)[0]

    def score(self, run: Run | None = None) -> float:
        """The cosine between the change of the picture and the change of the text, in CLIP's space: -1 to 1.

        The mean over un-augmented views and CLIPs, on normalised embeddings; texts are averaged over prompts and
        templates.
        ``run``: by default the one that ``result()`` shows.
        """
        layer = self._painted(run or self._run).within(self.bounds)
        with torch.no_grad(), memory_guard(self.runtime.device):
            before, after = self.shown(layer)
            pictures = torch.cat([after, before])
            scores = [_score(clip, texts, pictures) for clip, texts in zip(self.clips, self.all_texts, strict=True)]
        return sum(scores) / len(scores)

    def _read_texts(self, picture: Tensor) -> None:
        """Embed the texts. If the user gave no T_ROI, CLIP chooses one for ``picture`` (1, 3, h, w)."""
        config = self.config
        self.roi = choose_roi(self.clip, picture, config.prompts) if config.roi is None else config.roi
        self.all_texts = tuple(TextSet.embed(clip, config.prompts, self.roi, config.layer_text) for clip in self.clips)

    def _picked(self, draw: TextDraw) -> tuple[StepTexts, ...]:
        """The texts of a step, embedded by each CLIP."""
        return tuple(texts.picked(draw) for texts in self.all_texts)

    def _relevancy_of(self, picture: Tensor) -> Tensor | None:
        """R(I, T_ROI) of ``picture`` (1, 3, h, w) at its size, (1, 1, h, w); None if there is no bootstrap.

        The mean over all templates; the published code takes one text.
        """
        if self.roi is None or not self.config.weights.bootstrap:
            return None
        found = relevancy(self.clip, picture, in_templates(self.roi))
        return resized(found, (picture.shape[-2], picture.shape[-1]))

    def _cutout_of(self, picture: Tensor, relevancy: Tensor) -> Tensor | None:
        """The thing under ``relevancy``, of the same size; None where it is not wanted or none stands out.

        A layer with a text of its own, such as fog, need not have the outline of the thing.
        """
        wanted = self.config.bootstrap_to == "cutout" and self.config.layer_text is None
        return cutout(picture, relevancy) if wanted else None

    def _painted(self, run: Run | None = None) -> EditLayer:
        """What ``run`` paints on the canvas, without gradient. Default: the run that ``result()`` shows."""
        run = run or self._run
        with torch.no_grad(), memory_guard(self.runtime.device):
            output = run.generator(self.runtime.formatted(self.canvas))
            if not output.isfinite().all():  # on an accelerator, losses are not checked at every step
                run.last_good.restore()
                output = run.generator(self.runtime.formatted(self.canvas))
        return EditLayer.from_output(output)

    def _iterate(self) -> Iterator[Step]:
        if self.config.tries > 1:
            yield from self._short_starts()
        yield from self._counted(self._run, first=self.config.tries - 1)

    def _short_starts(self) -> Iterator[Step]:
        """Train each seed for a few steps, score it, and keep the best in ``_run``."""
        best = -math.inf
        for k in range(self.config.tries):
            run, score = self._new_run(self.config.seed + k) if k else self._run, -math.inf
            try:
                for step in self._counted(run, first=k, stop=self._try_steps):
                    yield dataclasses.replace(step, stage=f"try {k + 1} of {self.config.tries}")
                score = self.score(run)
            except DivergedError:
                if k == self.config.tries - 1 and best == -math.inf:
                    raise
            if score > best:
                self._run, best = run, score
            self.tries.append(Try(run.seed, score))

    def _counted(self, run: Run, first: int, stop: int | None = None) -> Iterator[Step]:
        """The next steps of ``run``, up to its own step ``stop``, numbered over all runs."""
        self.runtime.compile(run.generator, *(tower for clip in self.clips for tower in clip.towers))
        for step in itertools.islice(run.steps, stop):
            yield dataclasses.replace(step, i=first * self._try_steps + step.i, n=self.n_steps)

    def _new_run(self, seed: int) -> Run:
        run = Run(seed, self.runtime)
        run.steps = optimise(
            run.generator,
            partial(self._losses, run),
            self.config.optim,
            check_every=self.runtime.check_every,
            last_good=run.last_good,
            recover=partial(self._recover, run),
        )
        return run

    def _losses(self, run: Run, i: int) -> Losses:
        run.begin_step()
        return self.losses(self.painter(run.generator), run.rng, i)

    def _recover(self, run: Run, error: Exception) -> str | None:
        """Prepare to repeat a failed step with the same draws: with fewer views in memory, or without compilation.

        Returns a note for the user, or None if the step cannot be repeated.
        """
        run.repeat_step()
        device = self.runtime.device
        if not ran_out_of_memory(error):
            return stop_compiling(error)
        views = 2 * self.config.views.n_views
        at_once = min(self.clip.at_once or views, views)
        if at_once == 1:
            return None
        fewer = max(1, at_once // FEWER)
        for clip in self.clips:
            clip.at_once = fewer
        return f"{device} ran out of memory: CLIP keeps {fewer} of {views} views at a time, with the same result"


def _score(clip: Clip, texts: TextSet, pictures: Tensor) -> float:
    """``Edit.score`` by one CLIP; ``pictures``: (2 K, 3, h, w), those with the layer first."""
    size = clip.view_size((pictures.shape[-2], pictures.shape[-1]))
    embedded = F.normalize(clip.embed_images(make_views(pictures, ViewParams.plain(), size)), dim=-1)
    change = embedded[: len(embedded) // 2] - embedded[len(embedded) // 2 :]
    return F.cosine_similarity(change, texts.mean().direction[None], dim=-1).mean().item()


def training_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """The training size (h, w) of a picture of ``size`` (H, W): aspect ratio kept, short side at most ``short_side``.

    A picture is enlarged only if its short side is below the generator's minimum of 129 px. The area never exceeds
    4 * short_side^2: a picture longer than 4 : 1 is made smaller, down to the minimum short side; a still longer one
    (at 512 px: longer than 63 : 1) is squeezed along its long side.
    """
    short, area, most = min(size), size[0] * size[1], MAX_AREA * short_side**2
    scale = max(min(1.0, short_side / short), MIN_SIDE / short)
    scale = min(scale, math.sqrt(most / area))
    height, width = (min(max(MIN_SIDE, round(side * scale)), most // MIN_SIDE) for side in size)
    return height, width
