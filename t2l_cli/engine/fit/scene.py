"""The scene that the front end finds in a video before the fit begins, and its conversion to plain tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from t2l_cli.engine.fit.field import Size
from t2l_cli.engine.motion.camera import Array, Camera
from t2l_cli.engine.motion.flow import Flow


@dataclass(frozen=True)
class Scene:
    """The result of the front end, at working size (h, w).

    frames: (T, 3, h, w) uint8. mask: (T, h, w) in [0, 1], the first guess of the foreground, or None. path: (T, 3, 3),
    the foreground's motion, or None. sure: whether the user gave the mask; then pixels well inside it are foreground.
    """

    frames: Tensor
    flow: Flow
    camera: Camera
    mask: Tensor | None
    path: Array | None
    sure: bool = False

    @property
    def size(self) -> Size:
        """(h, w)."""
        return self.frames.shape[-2], self.frames.shape[-1]


def pack(scene: Scene) -> dict[str, Any]:
    """``scene`` without its frames, as tensors, numbers and strings."""
    flow, camera = scene.flow, scene.camera
    return {
        "flow": [flow.forward, flow.backward, flow.forward_ok, flow.backward_ok],
        "camera": torch.from_numpy(np.ascontiguousarray(camera.matrices)),
        "camera_model": camera.model,
        "reference": camera.reference,
        "mask": scene.mask,
        "path": None if scene.path is None else torch.from_numpy(np.ascontiguousarray(scene.path)),
        "sure": scene.sure,
    }


def unpack(packed: dict[str, Any], frames: Tensor) -> Scene:
    """The inverse of ``pack``, for ``frames`` (T, 3, h, w) uint8.

    KeyError, TypeError or ValueError if ``packed`` is broken or belongs to other frames.
    """
    flow = Flow(*packed["flow"])
    n, size = len(frames), (frames.shape[-2], frames.shape[-1])
    mask, path = packed["mask"], packed["path"]
    camera = Camera(packed["camera"].numpy(), packed["camera_model"], int(packed["reference"]))
    shapes = [tuple(flow.forward.shape), tuple(flow.backward.shape), *(tuple(ok.shape) for ok in flow.oks)]
    fits = shapes == [(n - 1, 2, *size)] * 2 + [(n - 1, *size)] * 2 and camera.matrices.shape == (n, 3, 3)
    if mask is not None:
        fits = fits and tuple(mask.shape) == (n, *size) and tuple(path.shape) == (n, 3, 3)
    if not fits:
        raise ValueError("the scene is of other frames")
    return Scene(frames, flow, camera, mask, None if path is None else path.numpy(), bool(packed["sure"]))
