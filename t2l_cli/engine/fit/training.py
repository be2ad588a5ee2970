"""The optimisation of the fit: the frames and losses of each step, level by level from coarse to fine."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import MOST_STEPS, FitConfig, OptimConfig
from t2l_cli.engine.atlas.mapping import sample
from t2l_cli.engine.fit import losses as term
from t2l_cli.engine.fit.field import Field, LayerField, Size, level_size
from t2l_cli.engine.fit.scene import Scene
from t2l_cli.engine.fit.textures import resample
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.motion.camera import Array, apply, mosaic_bounds
from t2l_cli.engine.motion.flow import Flow, pixel_centres, reduce_frame
from t2l_cli.engine.motion.foreground import Float
from t2l_cli.engine.optimize import LastGood, Step, optimise
from t2l_cli.errors import RequestError

FREE_ALPHA = 0.3  # part of the fit after which colour losses may change the opacity; earlier, they mislead it
BOOTSTRAP_END = 0.5  # part of the fit after which the bootstrap's weight is 0
WARM_UP, PLATEAU, LOWEST = 20, 0.6, 0.05  # rates: steps of rise, part of the fit before the fall, final factor
FINEST_SHARE = 1.5  # ratio of the steps at the finest level to those at each other level
LEAST_STEPS = 150
BATCH_PIXELS = 6e6  # maximum pixels of all frames in a step
FOREGROUND_DENSITY = 1.15  # ratio of the foreground texture's density to the background's, per axis
MASK_BLUR = 1.0  # px


@dataclass(frozen=True)
class Stage:
    """The scene at one level, whose size is (h, w).

    frames: (T, 3, h, w) uint8. mask, outside, inside: (T, 1, h, w) in [0, 1]. outside: 1 where there must be no
    foreground. inside: 1 where there must be only foreground.
    """

    level: int
    frames: Tensor
    flow: Flow
    mask: Tensor | None
    outside: Tensor | None
    inside: Tensor | None = None


def pace(config: FitConfig, frames: int, size: Size) -> tuple[int, int]:
    """The pairs of frames in a step, and the number of steps, of a fit to ``frames`` frames of ``size`` (h, w).

    RequestError where the steps are too many.
    """
    pairs = max(1, min(config.pairs, frames - 1, int(BATCH_PIXELS / (2 * size[0] * size[1]))))
    steps = max(LEAST_STEPS, round(config.visits * frames / (2 * pairs)))
    if steps > MOST_STEPS:
        raise RequestError(
            f"{config.visits:,} visits of {frames:,} frames take {steps:,} steps, {MOST_STEPS:,} are the most: give "
            "fewer --visits or --frames."
        )
    return pairs, steps


class Training:
    """Fits ``model`` to a scene. ``steps`` is the iterator of the training steps; ``done`` counts finished ones."""

    def __init__(self, scene: Scene, config: FitConfig, device: torch.device) -> None:
        """Build the model and enter the coarsest level."""
        self.scene, self.config, self.device = scene, config, device
        self.levels = levels_for(scene.size, config.levels)
        self.model = build_field(scene, config, self.levels).to(device)
        self.pairs, self.n_steps = pace(config, len(scene.frames), scene.size)
        self._starts = self._stage_starts()
        self._order = shuffled(len(scene.frames) - 1, torch.Generator().manual_seed(config.seed))
        self.stage = self._enter(self.levels - 1)
        share = 0 * self.stage.frames[:, :1].float() if self.stage.mask is None else self.stage.mask
        resample(self.model, self.stage.level, self.stage.frames, share)
        self.last_good = LastGood(self.model)
        self._optimizer = self._make_optimizer()
        self.done = 0  # steps
        self.steps = self._iterate()

    def state(self) -> dict[str, Any]:
        """The state between two steps, for ``resume``: numbers, and the live tensors, which are not copied."""
        return {"done": self.done, "model": self.model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from ``state()`` of a training of the same scene and settings. Call it before the first step.

        KeyError, ValueError, TypeError or RuntimeError if the state does not fit.
        """
        done = int(state["done"])
        if not 0 <= done <= self.n_steps:
            raise ValueError(f"{done} of {self.n_steps} steps are done")
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.done = done
        for _ in range(done * self.pairs):
            next(self._order)
        level = self._level(done - 1)
        if level != self.stage.level:
            self.stage = self._enter(level)
        self.last_good.keep()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        rates = self.config.rates
        groups: list[dict[str, object]] = [
            {"params": [p for layer in self.model.layers() for p in layer.texture.parameters()], "rate": rates.texture},
            {"params": [layer.mapping.grid for layer in self.model.layers()], "rate": rates.grid},
            {"params": [layer.mapping.linear for layer in self.model.layers()], "rate": rates.linear},
        ]
        if self.model.opacity is not None:
            groups.append({"params": list(self.model.opacity.parameters()), "rate": rates.alpha})
        return torch.optim.Adam(groups, betas=(0.9, 0.99))

    def _iterate(self) -> Iterator[Step]:
        start = self.done
        if start == self.n_steps:
            return
        self._set_pace()
        steps = optimise(
            self.model,
            lambda i: self.losses(start + i),
            OptimConfig(steps=self.n_steps - start),
            check_every=10,
            last_good=self.last_good,
            optimizer=self._optimizer,
            schedule=lambda i: self.rate(start + i),
        )
        for step in steps:
            self.done = start + step.i + 1
            stage = f"fit {self.levels - self.stage.level} of {self.levels}"
            yield dataclasses.replace(step, i=start + step.i, n=self.n_steps, stage=stage)

    def losses(self, i: int) -> Losses:
        """The weighted terms of step ``i``, on the next pairs of frames; enters the level of the step if it is new."""
        level = self._level(i)
        if level != self.stage.level:
            self.stage = self._enter(level)
            resample(self.model, level, self.stage.frames)
            self._set_pace()
        pairs = torch.tensor(list(itertools.islice(self._order, self.pairs)), device=self.device)
        return self.terms(pairs, i / self.n_steps)

    def _level(self, i: int) -> int:
        """The level of step ``i``."""
        return self.levels - 1 - sum(i >= start for start in self._starts[1:])

    def _set_pace(self) -> None:
        """Scale the rates of the mappings to px of the current level: the coarser, the larger."""
        rates = self.config.rates
        for group, rate in zip(self._optimizer.param_groups[1:3], (rates.grid, rates.linear), strict=True):
            group["rate"] = rate * 2**self.stage.level

    def terms(self, pairs: Tensor, done: float) -> Losses:
        """The weighted terms of the ``pairs`` (k,); ``done``: the finished part of the fit, in [0, 1)."""
        stage, weights, model = self.stage, self.config.weights, self.model
        # 1. The part of each pixel that each layer owns.
        index = term.stacked(pairs)  # (2k,)
        flow = term.batch_of(stage.flow, pairs)
        size = flow.size
        alpha = model.alpha(index, stage.level)  # (2k, 1, h, w)
        own = alpha.detach()
        shares = {model.background: 1 - own}
        if model.foreground is not None:
            shares[model.foreground] = own
        # 2. Per layer: its picture of the frames, and the losses of its mapping.
        drawn, terms = [], {"flow": alpha.new_zeros(()), "rigid": alpha.new_zeros(())}
        for layer, share in shares.items():
            displacement = layer.mapping.displacement()
            at = layer.mapping(index, size, displacement)  # (2k, h, w, 2)
            texture = layer.texture(stage.level)
            drawn.append(sample(texture, layer.uv(at, layer.texture.sizes[stage.level])))
            # in px of this level; divided by the layer's area, so that a small layer counts as much as a large one
            moved = term.flow_loss(at * (size[1] / model.size[1]), flow, share) / share.mean().clamp(min=0.05)
            terms["flow"] = terms["flow"] + weights.flow * moved
            terms["rigid"] = terms["rigid"] + weights.rigid * term.rigid_loss(displacement, model.size)
        # 3. The reconstruction of the frames.
        seen = own if done < FREE_ALPHA else alpha
        picture = drawn[0] if len(drawn) == 1 else seen * drawn[1] + (1 - seen) * drawn[0]
        error = picture - stage.frames[index].float() / 255  # (2k, 3, h, w)
        terms["colour"] = weights.colour * term.colour_loss(error)
        terms["gradient"] = weights.gradient * term.gradient_loss(error)
        # 4. The opacity.
        if stage.mask is not None and stage.outside is not None:
            terms["alpha_flow"] = weights.alpha_flow * term.alpha_flow_loss(alpha, flow)
            left = max(0.0, 1 - done / BOOTSTRAP_END)
            terms["bootstrap"] = weights.bootstrap * left * term.bootstrap_loss(alpha, stage.mask[index])
            terms["outside"] = weights.outside * (alpha * stage.outside[index]).mean()
            if stage.inside is not None:
                terms["inside"] = weights.inside * ((1 - alpha) * stage.inside[index]).mean()
            terms["area"] = weights.area * alpha.mean()
            terms["variation"] = weights.variation * term.variation_loss(alpha)
            terms["sparsity"] = weights.sparsity * ((1 - alpha) * drawn[1]).abs().mean()
            terms["binary"] = weights.binary * done * term.binary_loss(alpha)
        return Losses(terms)

    def _enter(self, level: int) -> Stage:
        """The scene at ``level``; at the coarsest, also sets the model's opacity to the mask."""
        scene, size = self.scene, level_size(self.scene.size, level)
        frames = torch.stack([reduce_frame(f, size) for f in scene.frames.cpu()]).to(self.device)
        flow = scene.flow.resized(size).to(self.device)
        if scene.mask is None:
            return Stage(level, frames, flow, None, None)
        mask = F.interpolate(scene.mask[:, None], size=size, mode="area")
        margin = max(1.0, self.config.mask_margin * min(size))
        outside = self._each(lambda m: 1 - _grown(m, margin), mask)
        inside = self._each(lambda m: 1 - _grown(1 - m, margin), mask) if scene.sure else None
        soft = self._each(lambda m: np.asarray(cv2.GaussianBlur(m, (0, 0), MASK_BLUR), np.float32), mask)
        stage = Stage(level, frames, flow, soft, outside, inside)
        if level == self.levels - 1 and self.model.opacity is not None and stage.mask is not None:
            self.model.opacity.show(torch.logit(stage.mask.clamp(0.02, 0.98)), level)
        return stage

    def _each(self, change: Callable[[Float], Float], masks: Tensor) -> Tensor:
        """Apply ``change`` to each of the ``masks`` (T, 1, h, w); on the training device."""
        return torch.from_numpy(np.stack([change(m[0].numpy()) for m in masks]))[:, None].to(self.device)

    def _stage_starts(self) -> list[int]:
        """The first step of each level, coarsest level first."""
        parts = [1.0] * (self.levels - 1) + [FINEST_SHARE]
        return [round(self.n_steps * sum(parts[:k]) / sum(parts)) for k in range(self.levels)]

    def rate(self, i: int) -> float:
        """The factor on all rates at step ``i``: a short linear rise, a plateau, then a cosine decay."""
        rise, done = min(1.0, (i + 1) / WARM_UP), i / self.n_steps
        if done < PLATEAU:
            return rise
        fall = 0.5 * (1 + math.cos(math.pi * (done - PLATEAU) / (1 - PLATEAU)))
        return rise * (LOWEST + (1 - LOWEST) * fall)


def levels_for(size: Size, most: int) -> int:
    """The number of levels, at most ``most``: the coarsest has a short side of about 40 px or more."""
    return max(1, min(most, 1 + int(math.log2(max(1.0, min(size) / 40)))))


def shuffled(n: int, rng: torch.Generator) -> Iterator[int]:
    """The numbers 0 to n - 1 in random order, endlessly, shuffled again after each round."""
    while True:
        yield from torch.randperm(n, generator=rng).tolist()


def _grown(mask: Float, margin: float) -> Float:
    """``mask`` (h, w) dilated by ``margin`` px, with a soft edge."""
    side = 2 * math.ceil(margin) + 1
    grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return np.asarray(cv2.GaussianBlur(grown, (0, 0), max(0.5, margin / 3)), np.float32)


def build_field(scene: Scene, config: FitConfig, levels: int) -> Field:
    """The model of a scene before the fit: with the mappings that the front end found, and empty textures."""
    # 1. The control grids: (time, y, x); the background's is coarser in space.
    size, n = scene.size, len(scene.frames)
    points = config.spacing * min(size) / 90  # px between control points
    grid = (max(2, n // 2), max(3, round(size[0] / points) + 1), max(3, round(size[1] / points) + 1))
    coarse = (grid[0], max(3, grid[1] // 2 + 1), max(3, grid[2] // 2 + 1))
    # 2. The background.
    left, top, right, bottom = mosaic_bounds(scene.camera.matrices, size)
    box = (left - 2, top - 2, right + 2, bottom + 2)
    density = config.texels / _usual_scale(scene.camera.matrices, size)
    background = LayerField(scene.camera.matrices, size, coarse, box, density, levels)
    if scene.mask is None or scene.path is None:
        return Field(background, None, n, size, levels)
    # 3. The foreground.
    box = _object_box(scene.path, scene.mask, config.mask_margin * min(size))
    own = scene.mask.flatten(1).amax(1) > 0.5
    density = FOREGROUND_DENSITY * config.texels / _usual_scale(scene.path[own.cpu().numpy()], size)
    return Field(background, LayerField(scene.path, size, grid, box, density, levels), n, size, levels)


def _usual_scale(matrices: Array, size: Size) -> float:
    """Reference px per px, along an axis, at the centre of the frame: the median over frames."""
    middle = torch.tensor([[(size[1] - 1) / 2, (size[0] - 1) / 2]])
    step = middle + torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    at = apply(torch.from_numpy(matrices).float(), step[:, None])[:, :, 0]
    jacobian = torch.stack([at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]], -1)
    return max(1e-3, float(torch.linalg.det(jacobian).abs().sqrt().median()))


def _object_box(path: Array, mask: Tensor, margin: float) -> tuple[float, float, float, float]:
    """(left, top, right, bottom), reference px, of ``mask`` (T, h, w) without outliers, enlarged by ``margin``."""
    points = pixel_centres((mask.shape[-2], mask.shape[-1]))
    own = [apply(torch.from_numpy(path[t : t + 1]).float(), points)[0][_near(mask[t])] for t in range(len(mask))]
    at = np.concatenate([o.numpy() for o in own])
    (left, top), (right, bottom) = np.quantile(at, 0.002, 0) - margin, np.quantile(at, 0.998, 0) + margin
    return float(left), float(top), float(right), float(bottom)


def _near(mask: Tensor) -> Tensor:
    return torch.from_numpy(cv2.dilate((mask > 0.5).to(torch.uint8).numpy(), np.ones((7, 7), np.uint8))) > 0
