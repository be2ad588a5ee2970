"""From a raw clip to an atlas, whole: flow, camera, mask, then the fit, coarse to fine.

Iterate ``AtlasFit`` for the steps; ``result()`` is an atlas at any time once the fit has begun.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import FitConfig
from t2l_cli.engine.atlas.camera import fit_camera
from t2l_cli.engine.atlas.field import resize
from t2l_cli.engine.atlas.finish import discretise
from t2l_cli.engine.atlas.flow import Flow, FlowFunction, Work, check_cuts, estimate, reduce_frame
from t2l_cli.engine.atlas.masks import FrameMask, check_frame_mask, check_masks, propagate
from t2l_cli.engine.atlas.model import Atlas, ClipIdentity
from t2l_cli.engine.atlas.motion import find_foreground
from t2l_cli.engine.atlas.quality import Quality, measure
from t2l_cli.engine.atlas.track import object_path
from t2l_cli.engine.atlas.training import Scene, Training
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.optimize import Step
from t2l_cli.engine.runtime import Runtime, memory_guard, resolve
from t2l_cli.errors import RequestError

T = TypeVar("T")
LEAST_SIDE = 24  # px of a frame


class AtlasFit:
    """Fits an atlas to a clip.

    Attributes, once they are found: ``flow`` (working size), ``masks`` (T, H, W) uint8, 0 or 255, the first guess of
    the foreground; ``found_foreground``, False where nothing but the camera moves: the background is fitted alone.
    ``size`` (h, w) that the fit works at; ``ready``: whether ``result()`` can be had.
    """

    flow: Flow
    masks: Tensor
    found_foreground: bool

    def __init__(
        self,
        frames: Tensor,
        config: FitConfig,
        clip: ClipIdentity,
        masks: Tensor | FrameMask | None = None,
        flow: FlowFunction | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """``frames``: (T, 3, H, W) uint8 on the CPU. ``masks``: (T, H, W) in [0, 1], or uint8 to 255; or of one frame
        alone; None: from motion. ``flow(a, b)``: flow between two frames (3, h, w) uint8, (2, h, w) px; None: DIS.

        Raises RequestError for a clip that is too short or too small, and for masks that do not fit it.
        """
        if len(frames) < 2:
            raise RequestError("a clip of one frame has no motion to tell its layers by: edit it with t2l edit-image.")
        if min(frames.shape[-2:]) < LEAST_SIDE:
            raise RequestError(f"the clip is {frames.shape[-1]} x {frames.shape[-2]} px, {LEAST_SIDE} are the least.")
        self.frames, self.config, self.clip = frames, config, clip
        self.runtime = runtime or resolve(config.device)
        self.size = working_size((frames.shape[-2], frames.shape[-1]), config.size)
        self._given: Tensor | FrameMask | None = None
        if isinstance(masks, FrameMask):
            self._given = FrameMask(masks.t, check_frame_mask(masks, frames))
        elif masks is not None:
            self._given = check_masks(masks, frames)
        self._flow_function = flow
        self._training: Training | None = None
        self._done = 0  # steps of the fit
        self._atlas: tuple[int, Atlas] | None = None
        self._steps = self._iterate()

    def __iter__(self) -> Iterator[Step]:
        """The steps, each with its stage in words; before the fit they have no losses. Iterating again goes on.

        RequestError where the scene changes within the clip; DivergedError, DeviceMemoryError end the fit.
        """
        return self._steps

    @property
    def ready(self) -> bool:
        """Whether the front end is done."""
        return self._training is not None

    def result(self) -> Atlas:
        """The atlas as it stands, of the clip's size, on the CPU; RequestError while flow and mask are unknown."""
        training = self._trained()
        if self._atlas is None or self._atlas[0] != self._done:
            with memory_guard(self.runtime.device):
                self._atlas = (self._done, discretise(training.model, self.frames, self.clip, self._origin()))
        return self._atlas[1]

    def quality(self) -> Quality:
        """Figures of ``result()``, with advice where one is poor."""
        return measure(self.result(), self.frames, self.flow)

    def _trained(self) -> Training:
        if self._training is None:
            raise RequestError("there is no atlas yet: the clip's motion is still being looked at.")
        return self._training

    def _origin(self) -> dict[str, Any]:
        training = self._trained()
        return {
            "made_by": "fit-atlas",
            "steps": self._done,
            "size": list(self.size),
            "camera": training.scene.camera.model,
            "foreground": self.found_foreground,
            "settings": dataclasses.asdict(self.config),
        }

    def _iterate(self) -> Iterator[Step]:
        small = torch.stack([reduce_frame(frame, self.size) for frame in self.frames])
        self.flow = yield from _told("optical flow", estimate(self.frames, self.size, self._flow_function))
        check_cuts(small, self.flow, self.clip.start)
        scene = yield from self._scene(small)
        with memory_guard(self.runtime.device):
            self._training = Training(scene, self.config, self.runtime.device)
        for step in self._training.steps:
            self._done = step.i + 1
            yield step

    def _scene(self, small: Tensor) -> Generator[Step, None, Scene]:
        """What the front end finds in the frames at working size."""
        if self._given is None:
            seen = yield from _told("mask", find_foreground(small, self.flow))
            mask, camera = seen.masks.float(), seen.camera
        else:
            mask = self._given_mask(small)
            yield Step(0, 1, Losses({}), 0.0, "camera")
            camera = fit_camera(self.flow, mask > 0)
        self.found_foreground = bool((mask > 0.5).any())
        self.masks = _as_pictures(mask, (self.frames.shape[-2], self.frames.shape[-1]))
        if not self.found_foreground:
            return Scene(small, self.flow, camera, None, None)
        yield Step(0, 1, Losses({}), 0.0, "object")
        path = object_path(self.flow, mask > 0.5, small)
        return Scene(small, self.flow, camera, mask, path, sure=self._given is not None)

    def _given_mask(self, small: Tensor) -> Tensor:
        """The user's masks at working size, (T, h, w) in [0, 1]."""
        given = self._given
        if isinstance(given, FrameMask):
            return propagate(_reduced(given.mask[None], self.size)[0] > 0.5, given.t, self.flow, small).float()
        assert given is not None
        return _reduced(given, self.size)


def working_size(size: tuple[int, int], short: int) -> tuple[int, int]:
    """(h, w) of frames of ``size`` reduced to a short side of ``short`` px; never above the clip's."""
    scale = min(1.0, short / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _told(stage: str, work: Work[T]) -> Generator[Step, None, T]:
    """``work`` whose progress is steps of ``stage``."""
    while True:
        try:
            done, n = next(work)
        except StopIteration as end:
            return cast(T, end.value)
        yield Step(done - 1, n, Losses({}), 0.0, stage)


def _reduced(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (N, H, W) bool as (N, h, w): the part of each px that they cover."""
    return torch.cat([F.interpolate(mask[None, None].float(), size=size, mode="area")[0] for mask in masks])


def _as_pictures(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (T, h, w) in [0, 1] at the clip's ``size``, uint8, 0 or 255."""
    return torch.cat([(resize(mask[None, None], size)[0] > 0.5).to(torch.uint8) * 255 for mask in masks])
