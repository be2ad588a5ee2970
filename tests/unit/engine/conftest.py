"""A tiny CLIP of the real kind, seeded, for the engine's tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any
from unittest import mock

import open_clip
import pytest
import timm
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


TIMM = {  # kind -> timm's name, open_clip's pooling and projection, and what else makes it small
    "siglip": ("vit_base_patch16_siglip_224", "map", "none", {}),
    "eva02": ("eva02_base_patch16_clip_224", "token", "", {}),
    "pe": ("vit_pe_core_base_patch16_224", "map", "", {"attn_pool_num_heads": 4}),
    "eva01": ("eva_giant_patch14_224", "token", "", {}),
    "gap": ("vit_medium_patch16_gap_256", "", "linear", {}),
}


@cache
def tiny_timm_model(kind: str) -> torch.nn.Module:
    """A random CLIP whose picture side is one of timm's: 32 px, patches of 8, width 32, two blocks."""
    name, pool, proj, more = TIMM[kind]
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2, **more}
    shrunk = partial(timm.create_model, **small)
    with torch.random.fork_rng(devices=[]), mock.patch.object(timm, "create_model", shrunk):
        torch.manual_seed(1)
        model = open_clip.CustomTextCLIP(
            embed_dim=32,
            vision_cfg={"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": 32},
            text_cfg={"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
        )
        for parameter in model.parameters():  # timm starts near zero; larger random values make every mistake show
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="session")
def make_tiny_timm_clip() -> Callable[[str], Clip]:
    """Build a tiny Clip of one of the kinds in ``TIMM``."""
    return lambda kind: Clip(tiny_timm_model(kind), open_clip.get_tokenizer("ViT-B-32"))


@pytest.fixture(params=TIMM)
def timm_clip(request: pytest.FixtureRequest, make_tiny_timm_clip: Callable[[str], Clip]) -> Clip:
    """A tiny Clip of each kind that timm makes.

    They pool by attention, class token or mean, and their positions are learned or rotary.
    """
    return make_tiny_timm_clip(request.param)
