"""torchvision's networks by name: RAFT for optical flow, Mask R-CNN for masks of objects by their class.

This module imports torchvision only when a URL is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from t2l_cli.weights import cache, download
from t2l_cli.weights.cache import CachedWeights
from t2l_cli.weights.download import Progress

RAFT, MASK_RCNN = "raft", "mask-rcnn"
NETWORKS = (RAFT, MASK_RCNN)
_INSTEAD = {
    RAFT: ("--flow dis, which needs none", "T2L_CACHE_DIR=FOLDER, a cache that has them"),
    MASK_RCNN: ("--mask PICTURE, or no mask at all", "T2L_CACHE_DIR=FOLDER, a cache that has them"),
}


def published(name: str) -> Any:
    """torchvision's entry (url, meta) for the weights of the network ``name``, one of ``NETWORKS``."""
    if name == RAFT:
        from torchvision.models.optical_flow import Raft_Large_Weights

        return Raft_Large_Weights.C_T_SKHT_V2.value
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights

    return MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1.value


def repo_of(name: str) -> str:
    """The name in the cache ("owner/name") of the weights of the network ``name``."""
    return f"{cache.TORCHVISION}/{name}"


def find(name: str) -> CachedWeights | None:
    """The weights of the network ``name``; None if they are not on this machine."""
    return cache.find(repo_of(name), check=False)


def pull(name: str, offline: bool = False, progress: Progress | None = None) -> Path:
    """The weights file of the network ``name``, downloaded if necessary; WeightsError if that fails."""
    return download.fetch_url(name, repo_of(name), published(name).url, offline, progress, _INSTEAD[name]).path
