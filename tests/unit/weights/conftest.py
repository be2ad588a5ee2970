"""A hub on loopback and a tiny open_clip model whose weights it serves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import open_clip
import open_clip.pretrained
import pytest
import safetensors.torch
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for the helper modules beside the tests, also in child processes

from hub import CONFIG, REPO, Hub

TINY = "tiny-t2l-test"


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / f"{TINY}.json"
    path.write_text(json.dumps(CONFIG))
    return path


@pytest.fixture(scope="session")
def state(config_file: Path) -> dict[str, torch.Tensor]:
    open_clip.add_model_config(config_file)
    torch.manual_seed(7)
    return open_clip.create_model(TINY, load_weights=False).state_dict()


@pytest.fixture(scope="session")
def weights(state: dict[str, torch.Tensor]) -> bytes:
    """The tiny model's weights in the safetensors format."""
    return safetensors.torch.save({key: value.contiguous() for key, value in state.items()})


@pytest.fixture
def published(state: object, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make open_clip list weights for the tiny model; its name."""
    config = {"hf_hub": f"{REPO}/", "url": "", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, TINY, {"made": config})
    return TINY


@pytest.fixture
def hub(weights: bytes, published: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub that has the tiny model's weights, as HF_ENDPOINT."""
    served = Hub()
    served.files[f"{REPO}/open_clip_model.safetensors"] = weights
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    yield served
    served.close()
