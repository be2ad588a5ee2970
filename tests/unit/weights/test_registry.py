"""What a model's name means."""

from __future__ import annotations

import importlib.util

import open_clip
import pytest

from t2l_cli.errors import RequestError
from t2l_cli.weights import registry
from t2l_cli.weights.licences import NON_COMMERCIAL, licence_of
from t2l_cli.weights.registry import list_models, problem_of, resolve


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
        ("hf-hub:", "must be hf-hub:owner/name"),
        ("hf-hub:somewhere", "must be hf-hub:owner/name"),
        ("hf-hub:../..", "must be hf-hub:owner/name"),
        ("hf-hub:a/b/c", "must be hf-hub:owner/name"),
        ("hf-hub:a\nb/c", "must be hf-hub:owner/name"),
        ("local-dir:/etc", "no CLIP model"),
        ("ViT-B-32:openia", "ViT-B-32 has no weights 'openia'; there are openai, "),
        ("RN50", "picture side, a ResNet, is not a plain vision transformer"),
        ("convnext_base", "picture side, timm's convnext_base, is not a plain vision transformer"),
        ("robost", "Did you mean .*robust"),
    ],
)
def test_bad_names_are_one_line(name: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_every_listed_name_means_itself() -> None:
    entries = list_models()
    assert [entry.name for entry in entries[:4]] == ["mini", "raft", "mask-rcnn", "robust"]
    assert len({entry.name for entry in entries}) == len(entries) > 50
    for entry in entries[4:]:
        assert resolve(entry.name).name == entry.name


def test_what_the_list_says_of_a_model() -> None:
    entries = {entry.name: entry for entry in list_models()}
    default = entries["ViT-B-32-quickgelu:openai"]
    assert (default.licence, default.non_commercial, default.resolution, default.cached) == ("mit", False, 224, False)
    assert default.about
    assert 600e6 < (default.size or 0) < 610e6
    assert entries["ViT-B-32-quickgelu:metaclip_400m"].non_commercial
    assert (entries["MobileCLIP-B:datacompdr"].licence, entries["robust"].licence) == ("apple-amlr", "mit")
    assert entries["robust"].size == entries["ViT-B-32:laion2b_s34b_b79k"].size
    assert entries["PE-Core-B-16:meta"].licence == "apache-2.0"
    assert entries["mini"].resolution == 64


def test_no_name_without_weights_chooses_non_commercial_ones() -> None:
    """Where weights with another licence are published, a name without a tag means those."""
    for architecture in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        if problem_of(open_clip.get_model_config(architecture)) or not tags:
            continue
        allowed = [tag for tag in tags if not non_commercial(registry.spec_of(architecture, tag))]
        if allowed:
            assert not non_commercial(resolve(architecture)), architecture


def non_commercial(spec: registry.ModelSpec) -> bool:
    return licence_of(spec.repo) in NON_COMMERCIAL


@pytest.mark.parametrize("installed", [True, False])
def test_whether_a_text_side_can_be_had_hangs_on_the_package(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    if installed:
        assert resolve("ViT-B-16-SigLIP2").name == "ViT-B-16-SigLIP2:webli"
    else:
        with pytest.raises(RequestError, match=r"texts need a package .*pip install transformers"):
            resolve("ViT-B-16-SigLIP2")


def test_mini_is_not_pulled_and_not_removed() -> None:
    assert registry.pull("mini") == registry.MINI_WEIGHTS
    with pytest.raises(RequestError, match="part of the program"):
        registry.remove("mini")
