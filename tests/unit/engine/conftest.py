"""A tiny CLIP of the real kind, seeded, for the engine's tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import open_clip
import pytest
import torch

from t2l_cli.engine.clip import Clip


@cache
def tiny_model(pool_type: str = "tok", layers: int = 3, custom_text: bool = False, **vision: Any) -> torch.nn.Module:
    """A random open_clip CLIP: 32 px, patches of 8, width 32."""
    kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = kind(
            embed_dim=16,
            vision_cfg={
                "image_size": 32,
                "patch_size": 8,
                "width": 32,
                "head_width": 16,
                "layers": layers,
                "pool_type": pool_type,
                **vision,
            },
            text_cfg={"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
        )
        # open_clip starts text embeddings small and biases at zero; larger random ones make every mistake show.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
        if not custom_text:
            model.positional_embedding.data.normal_(std=0.3)
    return model


@pytest.fixture(scope="session")
def make_tiny_clip() -> Callable[..., Clip]:
    """Build a tiny Clip: ``make_tiny_clip(pool_type="avg", layers=2, custom_text=True)``."""

    def make(**kwargs: Any) -> Clip:
        return Clip(tiny_model(**kwargs), open_clip.get_tokenizer("ViT-B-32"))

    return make


@pytest.fixture(scope="session")
def tiny_clip(make_tiny_clip: Callable[..., Clip]) -> Clip:
    """The tiny Clip with class-token pooling."""
    return make_tiny_clip()


@pytest.fixture(scope="session", params=["tok", "avg"])
def either_clip(request: pytest.FixtureRequest, make_tiny_clip: Callable[..., Clip]) -> Clip:
    """The tiny Clip with class-token pooling, then with average pooling."""
    return make_tiny_clip(pool_type=request.param)
