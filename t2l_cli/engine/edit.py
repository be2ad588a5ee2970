"""What every edit has in common, of a picture or of a clip's layer: texts, training runs, short tries, the judge.

A subclass says what the losses of a step are and what there is to show.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import MIN_SIDE, EditConfig
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.objective import Objective
from t2l_cli.engine.optimize import LastGood, Step, optimise
from t2l_cli.engine.relevancy import relevancy
from t2l_cli.engine.runtime import Runtime, memory_guard, ran_out_of_memory, resolve, stop_compiling
from t2l_cli.engine.texts import TextSet, choose_roi, in_templates
from t2l_cli.engine.views import ViewParams, make_views
from t2l_cli.errors import DivergedError

FEWER = 4  # after running out of memory, so many times fewer views are kept at once
MAX_AREA = 4  # training pixels in squares of config.size: a long strip of a picture is made smaller than --size says


@dataclass(frozen=True)
class Try:
    """A short start: its seed and how well CLIP found it to go in the texts' direction (-1 to 1; -inf: diverged)."""

    seed: int
    score: float


class Edit(ABC):
    """Trains an edit layer. Iterate it for the steps; ``result()`` is valid at any time.

    Attributes: ``texts`` in use; ``roi`` (T_ROI or None) and ``roi_chosen`` (by CLIP, not by the user); ``size`` (h, w)
    of the training; ``tries`` judged so far; ``n_steps`` in all, tries included; ``seed`` of the run that is shown.
    """

    size: tuple[int, int]
    texts: TextSet
    roi: str | None

    def __init__(self, clip: Clip, config: EditConfig, runtime: Runtime | None) -> None:
        """Prepare the runs; ``runtime`` says where to train, by default on CLIP's device."""
        self.config, self.clip = config, clip
        self.runtime = runtime or resolve(str(clip.device))
        self.objective = Objective(clip, config.weights)
        self.roi_chosen = config.roi is None
        self.tries: list[Try] = []
        self._try_steps = min(config.try_steps, config.optim.steps)
        self.n_steps = config.optim.steps + (config.tries - 1) * self._try_steps
        self._run = _Run(self, config.seed)
        self._steps = self._iterate()

    @property
    def seed(self) -> int:
        """Seed of the run that ``result()`` shows."""
        return self._run.seed

    @property
    def generator(self) -> Generator:
        """The generator of the run that ``result()`` shows."""
        return self._run.generator

    def __iter__(self) -> Iterator[Step]:
        """The steps; iterating again goes on where it was left. DivergedError and DeviceMemoryError end them."""
        return self._steps

    @abstractmethod
    def losses(self, generator: Generator, random: torch.Generator, i: int) -> Losses:
        """Eq. 2 at step ``i`` for ``generator``, on what ``random`` draws."""

    @abstractmethod
    def preview(self) -> EditLayer:
        """The layer at training size, on the training device."""

    @abstractmethod
    def result(self) -> EditLayer:
        """The layer at its picture's own size, on the CPU: rgb (1, 3, H, W) and alpha (1, 1, H, W), float32."""

    @abstractmethod
    def shown(self) -> tuple[Tensor, Tensor]:
        """Pictures without and with the edit, (K, 3, h, w) each, for CLIP to judge."""

    def score(self) -> float:
        """How far CLIP sees the edit go in the texts' direction, -1 to 1: cos between the changes of picture and text.

        On un-augmented views, embeddings normalised, mean over views; texts averaged over prompts and templates.
        """
        with torch.no_grad(), memory_guard(self.runtime.device):
            before, after = self.shown()
            size = self.clip.view_size((before.shape[-2], before.shape[-1]))
            views = make_views(torch.cat([after, before]), ViewParams.plain(), size)
            embedded = F.normalize(self.clip.embed_images(views), dim=-1)
        change = embedded[: len(embedded) // 2] - embedded[len(embedded) // 2 :]
        return F.cosine_similarity(change, self.texts.mean().direction[None], dim=-1).mean().item()

    def _read_texts(self, picture: Tensor) -> None:
        """Embed the texts; where the user does not say what ``picture`` (1, 3, h, w) shows now, CLIP chooses."""
        config = self.config
        self.roi = choose_roi(self.clip, picture, config.prompts) if config.roi is None else config.roi
        self.texts = TextSet.embed(self.clip, config.prompts, self.roi, config.layer_text)

    def _relevancy_of(self, picture: Tensor) -> Tensor | None:
        """R(I, T_ROI) of ``picture`` (1, 3, h, w) at its size, (1, 1, h, w); None where no bootstrap is wanted."""
        if self.roi is None or not self.config.weights.bootstrap:
            return None
        found = relevancy(self.clip, picture, in_templates(self.roi))
        return F.interpolate(found, size=picture.shape[-2:], mode="bilinear", antialias=True)

    def _painted(self, picture: Tensor) -> EditLayer:
        """What the run in sight paints on ``picture`` (1, 3, h, w), without gradient."""
        run = self._run
        with torch.no_grad(), memory_guard(self.runtime.device):
            output = run.generator(self.formatted(picture))
            if not output.isfinite().all():  # an accelerator's losses are not looked at every step
                run.last_good.restore()
                output = run.generator(self.formatted(picture))
        return EditLayer.from_output(output)

    def formatted(self, picture: Tensor) -> Tensor:
        """``picture`` in the memory format that the generator takes."""
        return picture.contiguous(memory_format=self.runtime.memory_format)

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
        self.runtime.compile(run.generator, *self.clip.towers)
        for step in itertools.islice(run.steps, stop):
            yield dataclasses.replace(step, i=first * self._try_steps + step.i, n=self.n_steps)


class _Run:
    """A generator in training: from its seed on, all that it draws comes from one random stream."""

    def __init__(self, edit: Edit, seed: int) -> None:
        self.seed, self._edit = seed, edit
        self._random = torch.Generator().manual_seed(seed)
        self.generator = Generator(generator=self._random)
        self.generator.to(edit.runtime.device, memory_format=edit.runtime.memory_format)  # type: ignore[call-overload]  # stubs
        self.last_good = LastGood(self.generator)
        self.steps = optimise(
            self.generator,
            self._losses,
            edit.config.optim,
            check_every=edit.runtime.check_every,
            last_good=self.last_good,
            recover=self._recover,
        )

    def _losses(self, i: int) -> Losses:
        self._before = self._random.get_state()
        return self._edit.losses(self.generator, self._random, i)

    def _recover(self, error: Exception) -> str | None:
        """Make another attempt at a step possible, with the same draws: fewer views in memory, or nothing compiled."""
        self._random.set_state(self._before)
        clip, device = self._edit.clip, self._edit.runtime.device
        if not ran_out_of_memory(error):
            return stop_compiling(error)
        views = 2 * self._edit.config.views.n_views
        at_once = min(clip.at_once or views, views)
        if at_once == 1:
            return None
        clip.at_once = max(1, at_once // FEWER)
        return f"{device} ran out of memory: CLIP keeps {clip.at_once} of {views} views at a time, with the same result"


def training_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(h, w) to train at for a picture of ``size`` = (H, W): aspect ratio kept, short side at most ``short_side``.

    Never above the picture, unless its short side is below the generator's minimum of 129 px. The area never exceeds
    4 * short_side^2: a picture longer than 4 : 1 is made smaller, until its short side is at the minimum; a still
    longer one (512 px: longer than 63 : 1) is squeezed along its long side.
    """
    short, area, most = min(size), size[0] * size[1], MAX_AREA * short_side**2
    scale = max(min(1.0, short_side / short), MIN_SIDE / short)
    scale = min(scale, math.sqrt(most / area))
    height, width = (min(max(MIN_SIDE, round(side * scale)), most // MIN_SIDE) for side in size)
    return height, width
