"""From a raw video to an atlas: flow, mask, camera, then the fit, coarse to fine.

Iterate ``AtlasFit`` to run the steps; once the fit has begun, ``result()`` is an atlas at any time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import FitConfig
from t2l_cli.engine.atlas.model import Atlas, VideoIdentity
from t2l_cli.engine.atlas.quality import Quality, measure
from t2l_cli.engine.fit.field import resize
from t2l_cli.engine.fit.finish import discretise
from t2l_cli.engine.fit.scene import Scene, pack, unpack
from t2l_cli.engine.fit.training import Training, pace
from t2l_cli.engine.motion.camera import fit_camera
from t2l_cli.engine.motion.detectors import MaskFunction, detect
from t2l_cli.engine.motion.flow import Flow, FlowFunction, Work, check_cuts, estimate, reduce_frame
from t2l_cli.engine.motion.foreground import find_foreground
from t2l_cli.engine.motion.masks import FrameMask, check_frame_mask, check_masks, propagate
from t2l_cli.engine.motion.track import object_path
from t2l_cli.engine.runtime import Runtime, memory_guard, resolve
from t2l_cli.errors import RequestError
from t2l_cli.progress import Tick

T = TypeVar("T")
LEAST_SIDE = 24  # minimum side of a frame, px


class AtlasFit:
    """Fits an atlas to a video.

    Attributes: ``size``, the working size (h, w); ``ready``, whether ``result()`` is available.
    Attributes that the front end sets: ``flow``, at working size; ``masks``, the first guess of the foreground,
    (T, H, W) uint8, 0 or 255; ``found_foreground``, False if nothing except the camera moves, so that only the
    background is fitted.
    """

    flow: Flow
    masks: Tensor
    found_foreground: bool

    def __init__(
        self,
        frames: Tensor,
        config: FitConfig,
        video: VideoIdentity,
        masks: Tensor | FrameMask | MaskFunction | None = None,
        flow: FlowFunction | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        """Prepare the fit of ``frames``, (T, 3, H, W) uint8 on the CPU.

        ``masks``: (T, H, W), in [0, 1] or uint8 0 to 255; or a mask of one frame; or a function that finds the mask in
        a frame; None: from motion. ``flow(a, b)``: the flow (2, h, w) px between two frames (3, h, w) uint8; None: DIS.
        Raises RequestError for a video that is too short or too small, for masks that do not fit it, and for more steps
        than there may be.
        """
        if len(frames) < 2:
            raise RequestError("a video of one frame has no motion to tell its layers by: edit it with t2l edit-image.")
        if min(frames.shape[-2:]) < LEAST_SIDE:
            raise RequestError(f"the video is {frames.shape[-1]} x {frames.shape[-2]} px, {LEAST_SIDE} are the least.")
        self.frames, self.config, self.video = frames, config, video
        self.runtime = runtime or resolve(config.device)
        self.size = working_size((frames.shape[-2], frames.shape[-1]), config.size)
        pace(config, len(frames), self.size)  # raises before the work where the steps are too many
        self._given: Tensor | FrameMask | MaskFunction | None = masks
        if isinstance(masks, FrameMask):
            self._given = FrameMask(masks.t, check_frame_mask(masks, frames))
        elif isinstance(masks, Tensor):
            self._given = check_masks(masks, frames)
        self._flow_function = flow
        self.training: Training | None = None
        self._resumed: dict[str, Any] | None = None
        self._atlas: tuple[int, Atlas] | None = None  # with the number of steps that it was made after
        self._quality: tuple[int, Quality] | None = None
        self._steps = self._iterate()

    def __iter__(self) -> Iterator[Tick]:
        """The steps, each with the name of its stage. A second iteration continues the first.

        Raises RequestError if the scene changes within the video, DivergedError, and DeviceMemoryError.
        """
        return self._steps

    @property
    def ready(self) -> bool:
        """Whether the front end is done, so that ``result()`` is available."""
        return self.training is not None

    def result(self) -> Atlas:
        """The current atlas, at the video's size, on the CPU. RequestError before the front end is done."""
        training = self._trained()
        if self._atlas is None or self._atlas[0] != training.done:
            with memory_guard(self.runtime.device):
                self._atlas = (training.done, discretise(training.model, self.frames, self.video, self._origin()))
        return self._atlas[1]

    def quality(self) -> Quality:
        """Figures of ``result()``, with advice where one is poor. RequestError before the front end is done."""
        done = self._trained().done
        if self._quality is None or self._quality[0] != done:
            self._quality = (done, measure(self.result(), self.frames, self.flow))
        return self._quality[1]

    def state(self) -> dict[str, Any]:
        """The current state of the fit, between two steps, for ``resume``: tensors, numbers, strings and lists of them.

        RequestError before the front end is done.
        """
        training = self._trained()
        return {"scene": pack(training.scene), "training": training.state()}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from ``state()`` of a fit of the same video and settings. Call it before the first step.

        On a CPU the result is bit for bit that of an uninterrupted fit. A broken state, or one of another video, raises
        RequestError at the first step.
        """
        self._resumed = state

    def _trained(self) -> Training:
        if self.training is None:
            raise RequestError("there is no atlas yet: the video's motion is still being looked at.")
        return self.training

    def _origin(self) -> dict[str, Any]:
        training = self._trained()
        return {
            "made_by": "fit-atlas",
            "steps": training.done,
            "size": list(self.size),
            "camera": training.scene.camera.model,
            "foreground": self.found_foreground,
            "settings": dataclasses.asdict(self.config),
        }

    def _iterate(self) -> Iterator[Tick]:
        small = torch.stack([reduce_frame(frame, self.size) for frame in self.frames])
        if self._resumed is None:
            self.flow = yield from _told("optical flow", estimate(self.frames, self.size, self._flow_function))
            check_cuts(small, self.flow, self.video.start)
            scene = yield from self._scene(small)
            self.training = self._begin(scene)
        else:
            try:
                scene = unpack(self._resumed["scene"], small)
                self.flow = scene.flow
                training = self._begin(scene)
                training.resume(self._resumed["training"])
            except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
                raise RequestError("the state of the fit to go on with is broken, or of another video.") from error
            self.training, self._resumed = training, None
        yield from self.training.steps

    def _begin(self, scene: Scene) -> Training:
        """The training on ``scene``; sets ``found_foreground`` and ``masks``."""
        size = (self.frames.shape[-2], self.frames.shape[-1])
        self.found_foreground = scene.mask is not None
        found = torch.zeros(len(scene.frames), *scene.size) if scene.mask is None else scene.mask
        self.masks = _as_pictures(found, size)
        with memory_guard(self.runtime.device):
            return Training(scene, self.config, self.runtime.device)

    def _scene(self, small: Tensor) -> Generator[Tick, None, Scene]:
        """The scene that the front end finds in ``small``, the frames at working size."""
        if self._given is None:
            seen = yield from _told("mask", find_foreground(small, self.flow))
            mask, camera = seen.masks.float(), seen.camera
        else:
            mask = yield from self._given_mask(small)
            yield Tick(0, 1, "camera")
            camera = fit_camera(self.flow, mask > 0)
        if not (mask > 0.5).any():
            return Scene(small, self.flow, camera, None, None)
        yield Tick(0, 1, "object")
        path = object_path(self.flow, mask > 0.5, small)
        return Scene(small, self.flow, camera, mask, path, sure=isinstance(self._given, Tensor | FrameMask))

    def _given_mask(self, small: Tensor) -> Generator[Tick, None, Tensor]:
        """The user's masks, or the detector's, at working size, (T, h, w) in [0, 1]."""
        given = self._given
        assert given is not None
        if isinstance(given, Tensor):
            return _reduced(given, self.size)
        if isinstance(given, FrameMask):
            return propagate(_reduced(given.mask[None], self.size)[0] > 0.5, given.t, self.flow, small).float()
        found = yield from _told("mask", detect(self.frames, given, self.flow))
        if not found.any():
            raise RequestError(
                f"no {self.config.mask_class or 'such thing'} is seen in the video: give --mask, or no mask at all."
            )
        return found.float()


def working_size(size: tuple[int, int], short: int) -> tuple[int, int]:
    """The size (h, w) of frames of ``size`` (H, W), reduced to a short side of ``short`` px; never enlarged."""
    scale = min(1.0, short / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _told(stage: str, work: Work[T]) -> Generator[Tick, None, T]:
    """Run ``work``, yield its progress as ticks of ``stage``, and return its result."""
    while True:
        try:
            done, n = next(work)
        except StopIteration as end:
            return cast(T, end.value)
        yield Tick(done - 1, n, stage)


def _reduced(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (N, H, W) bool reduced to ``size``: (N, h, w) in [0, 1], the part of each pixel that is covered."""
    return torch.cat([F.interpolate(mask[None, None].float(), size=size, mode="area")[0] for mask in masks])


def _as_pictures(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (T, h, w) in [0, 1] enlarged to the video's ``size``: (T, H, W) uint8, 0 or 255."""
    return torch.cat([(resize(mask[None, None], size)[0] > 0.5).to(torch.uint8) * 255 for mask in masks])
