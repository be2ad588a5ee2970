"""CLIP, ready to judge: found or downloaded, and brought to the device that a configuration asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t2l_cli.config import EditConfig
from t2l_cli.progress import Reporter, downloading

if TYPE_CHECKING:
    from t2l_cli.engine.clip import Clip
    from t2l_cli.engine.runtime import Runtime


@dataclass(frozen=True)
class Judge:
    """CLIP on its device, how to compute there, and the SHA-256 of CLIP's weights."""

    clip: Clip
    runtime: Runtime
    weights_sha256: str | None


def load_judge(config: EditConfig, weights: str | None, offline: bool, reporter: Reporter) -> Judge:
    """The CLIP that ``config`` names, from the file ``weights`` or from the cache; a download is reported."""
    from t2l_cli.engine.clip import Clip
    from t2l_cli.engine.runtime import resolve
    from t2l_cli.weights.loading import load_clip
    from t2l_cli.weights.registry import MINI, MINI_ABOUT

    if config.clip == MINI:
        reporter.note(MINI_ABOUT)
    runtime = resolve(config.device, config.precision)
    with downloading(config.clip, reporter) as tell:
        loaded = load_clip(config.clip, None if weights is None else Path(weights), offline, tell)
    return Judge(Clip(loaded.model, loaded.tokenizer, runtime.device, runtime.dtype), runtime, loaded.sha256)
