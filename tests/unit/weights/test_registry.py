"""What a model's name means."""

from __future__ import annotations

import pytest

from t2l_cli.errors import RequestError
from t2l_cli.weights import registry
from t2l_cli.weights.registry import list_models, resolve


@pytest.mark.parametrize(
    ("name", "exact", "repo"),
    [
        ("ViT-B-32", "ViT-B-32-quickgelu:openai", "timm/vit_base_patch32_clip_224.openai"),
        ("ViT-B-32:openai", "ViT-B-32-quickgelu:openai", "timm/vit_base_patch32_clip_224.openai"),
        ("ViT-B-16", "ViT-B-16-quickgelu:openai", "timm/vit_base_patch16_clip_224.openai"),
        ("ViT-L-14", "ViT-L-14-quickgelu:openai", "timm/vit_large_patch14_clip_224.openai"),
        ("ViT-B-32:laion2b-s34b-b79k", "ViT-B-32:laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("ViT-H-14", "ViT-H-14:laion2b_s32b_b79k", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    ],
)
def test_names(name: str, exact: str, repo: str) -> None:
    spec = resolve(name)
    assert (spec.name, spec.repo) == (exact, repo)
    assert spec.files == ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    assert spec.quick_gelu == ("quickgelu" in exact)


def test_the_weights_own_picture_statistics_are_kept() -> None:
    assert resolve("ViT-L-14:laion2b_s32b_b82k").preprocess["mean"] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit-b32", "Did you mean .*ViT-B-32"),
        ("minni", "Did you mean .*mini"),
        ("", "no CLIP model ''"),
        ("hf-hub:some/where", "no CLIP model"),
        ("local-dir:/etc", "no CLIP model"),
        ("ViT-B-32:openia", "ViT-B-32 has no weights 'openia'; there are openai, "),
        ("RN50", "picture side is not one of open_clip's own vision transformers"),
        ("ViT-B-16-SigLIP", "vision transformers"),
    ],
)
def test_bad_names_are_one_line(name: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_every_listed_name_means_itself() -> None:
    entries = list_models()
    assert entries[0].name == "mini"
    assert len({entry.name for entry in entries}) == len(entries) > 50
    assert [entry.name for entry in entries[1:3]] == ["raft", "mask-rcnn"]
    for entry in entries[3:]:
        assert resolve(entry.name).name == entry.name


def test_mini_is_not_pulled_and_not_removed() -> None:
    assert registry.pull("mini") == registry.MINI_WEIGHTS
    with pytest.raises(RequestError, match="part of the program"):
        registry.remove("mini")
