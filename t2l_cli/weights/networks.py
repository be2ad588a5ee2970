"""torchvision's networks, built without weights and filled from files that hold only tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from t2l_cli.errors import WeightsError
from t2l_cli.media.paths import shown
from t2l_cli.weights import vision
from t2l_cli.weights.download import Progress
from t2l_cli.weights.loading import check_weights


def load_raft(offline: bool = False, progress: Progress | None = None) -> nn.Module:
    """RAFT, ready for use: frozen, float32, on the CPU. WeightsError if its weights are unavailable or do not fit."""
    from torchvision.models.optical_flow import raft_large

    return _filled(lambda: raft_large(weights=None), vision.pull(vision.RAFT, offline, progress), "RAFT")


def load_mask_rcnn(offline: bool = False, progress: Progress | None = None) -> nn.Module:
    """Mask R-CNN with a ResNet-50, as :func:`load_raft`."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn_v2

    path = vision.pull(vision.MASK_RCNN, offline, progress)
    return _filled(lambda: maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None), path, "Mask R-CNN")


def _filled(build: Callable[[], nn.Module], path: Path, name: str) -> nn.Module:
    check_weights(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    with torch.random.fork_rng(devices=[]):
        network = build()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"the weights {shown(path)} do not fit {name}.") from error
    return network.eval().requires_grad_(False)
