"""Models that are named by their repository (hf-hub:owner/name), the alias robust, and the hub's own cache."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import COMMIT, CONFIG, REPO, Hub

from t2l_cli.errors import RequestError, WeightsError
from t2l_cli.weights import cache, download, loading, names, registry

NAME = f"hf-hub:{REPO}"
WEIGHTS, CONFIGURATION = "open_clip_model.safetensors", "open_clip_config.json"
STATISTICS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}


def configuration(**changes: Any) -> bytes:
    return json.dumps({"model_cfg": CONFIG | changes, "preprocess_cfg": STATISTICS}).encode()


@pytest.fixture
def described(hub: Hub) -> Hub:
    """The hub, with the tiny model's configuration beside its weights."""
    hub.files[f"{REPO}/{CONFIGURATION}"] = configuration()
    return hub


def in_hubs_own_cache(repo: str, files: dict[str, bytes]) -> Path:
    """Put files into the hub's own cache as its client does; returns the folder of blobs."""
    folder = Path(os.environ["HF_HOME"]) / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot, blobs = folder / "snapshots" / COMMIT, folder / "blobs"
    for part in (snapshot, blobs, folder / "refs"):
        part.mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for name, data in files.items():
        blob = blobs / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    return blobs


def test_a_repository_is_downloaded_once_and_loaded_as_it_describes_itself(
    described: Hub, state: dict[str, torch.Tensor], weights: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    clip = loading.load_clip(NAME)
    assert caplog.records == [], "open_clip's warning that the weights are random"
    assert clip.name == NAME
    assert clip.sha256 == hashlib.sha256(weights).hexdigest()
    assert all(torch.equal(value, state[key]) for key, value in clip.model.state_dict().items())
    assert clip.model.visual.image_mean == STATISTICS["mean"]
    assert clip.tokenizer(["a red cup", "fog"]).shape == (2, 77)
    requests = described.requests
    assert loading.load_clip(NAME, offline=True).sha256 == clip.sha256
    assert described.requests == requests
    assert set(described.gets.values()) == {1}


def test_robust_is_such_a_repository(described: Hub, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true one is fetched by its name and file names; here a stand-in is served as it."""
    repo = names.ALIASES["robust"].removeprefix("hf-hub:")
    for file in (WEIGHTS, CONFIGURATION):
        described.files[f"{repo}/{file}"] = described.files[f"{REPO}/{file}"]
    assert registry.pull("robust").read_bytes() == weights
    assert loading.load_clip("robust", offline=True).name == names.ALIASES["robust"]
    (entry,) = (entry for entry in registry.list_models() if entry.name == "robust")
    assert (entry.cached, entry.size, entry.about, entry.licence) == (True, len(weights), False, "mit")
    assert registry.remove("robust") > len(weights)
    assert not cache.weights_dir(repo).exists()


def test_a_repository_in_the_cache_is_listed_and_removed(described: Hub, weights: bytes) -> None:
    def names() -> list[str]:
        return [entry.name for entry in registry.list_models() if entry.cached]

    described.files = {
        f"other/{name.split('/')[1]}/{name.split('/')[2]}": data for name, data in described.files.items()
    }
    registry.pull("hf-hub:other/tiny")
    assert names() == ["mini", "hf-hub:other/tiny"]
    assert registry.list_models()[-1].resolution == CONFIG["vision_cfg"]["image_size"]
    strange = cache.weights_dir("some/one")
    strange.mkdir()
    record = (cache.weights_dir("other/tiny") / "source.json").read_text()
    (strange / "source.json").write_text(record.replace("other/tiny", "../somewhere"))
    assert names() == ["mini", "hf-hub:other/tiny"]
    assert registry.remove("hf-hub:other/tiny") > len(weights)
    assert names() == ["mini"]


def test_offline_a_repository_that_is_not_here_is_one_message(described: Hub) -> None:
    with pytest.raises(WeightsError, match=f"the weights of {NAME} are not on this machine"):
        loading.load_clip(NAME, offline=True)
    assert described.requests == 0


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"vision_cfg": {"layers": [1, 1, 1, 1], "width": 8}}, RequestError, "a ResNet, is not a plain vision"),
        ({"vision_cfg": {"timm_model_name": "convnext_atto"}}, RequestError, "convnext_atto, is not a plain vision"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:evil/net"}}, RequestError, "is not a plain vision"),
        ({"vision_cfg": 3}, WeightsError, "not the configuration"),
        ({"embed_dim": "wide"}, WeightsError, "not the configuration"),
        ({"vision_cfg": CONFIG["vision_cfg"] | {"width": 32}}, WeightsError, "do not fit the model"),
        ({"vision_cfg": CONFIG["vision_cfg"] | {"colour": "red"}}, WeightsError, "do not fit the model"),
    ],
)
def test_what_cannot_be_used_is_refused(
    described: Hub, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    described.files[f"{REPO}/{CONFIGURATION}"] = configuration(**changes)
    with pytest.raises(error, match=words) as caught:
        loading.load_clip(NAME)
    assert "\n" not in str(caught.value)
    if "fit" not in words:
        assert described.gets[f"{REPO}/{WEIGHTS}"] == 0, "the weights must not be downloaded in vain"


@pytest.mark.parametrize("data", [b"{", b"[]", b"3", b"{}", b"\xff", b'{"model_cfg": null}'])
def test_a_file_that_is_no_configuration(described: Hub, data: bytes) -> None:
    described.files[f"{REPO}/{CONFIGURATION}"] = data
    with pytest.raises(WeightsError, match="not the configuration of an open_clip model"):
        registry.pull(NAME)


def test_a_repository_without_a_configuration(hub: Hub) -> None:
    with pytest.raises(WeightsError, match=r"has no weights .* that t2l can read .open_clip_config\.json"):
        loading.load_clip(NAME)


def test_weights_from_a_file_for_a_repositorys_model(described: Hub, weights: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(weights)
    assert loading.load_clip(NAME, tmp_path / "w.safetensors").sha256 == hashlib.sha256(weights).hexdigest()
    assert described.gets[f"{REPO}/{WEIGHTS}"] == 0


@pytest.mark.parametrize("name", [NAME, "tiny-t2l-test"])
def test_the_hubs_own_cache_is_used_where_it_lies(
    described: Hub, weights: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hubs_own_cache(REPO, {WEIGHTS: weights, CONFIGURATION: configuration()})
    clip = loading.load_clip(name, offline=True)
    assert clip.sha256 == hashlib.sha256(weights).hexdigest()
    assert registry.pull(name).is_relative_to(os.environ["HF_HOME"])
    assert described.requests == 0
    assert not list(cache.cache_dir().rglob("*.safetensors")), "not copied"
    hashed: list[Path] = []
    monkeypatch.setattr(cache, "sha256_of", lambda path: hashed.append(path) or "")
    assert loading.load_clip(name, offline=True).sha256 == clip.sha256
    assert hashed == [], "its checksum is recorded"
    assert [(e.cached, e.size) for e in registry.list_models() if e.name.startswith("tiny")] == [(True, len(weights))]


def test_what_lies_there_is_not_removed(hub: Hub, published: str, weights: bytes) -> None:
    blobs = in_hubs_own_cache(REPO, {WEIGHTS: weights})
    loading.load_clip(published, offline=True)
    with pytest.raises(
        RequestError, match=r"the Hugging Face hub's own cache, which t2l does not change: .*models--tester"
    ):
        registry.remove(published)
    assert [path.read_bytes() for path in blobs.iterdir()] == [weights]


def test_ours_is_removed_although_the_hubs_has_it_too(hub: Hub, published: str, weights: bytes) -> None:
    registry.pull(published)
    in_hubs_own_cache(REPO, {WEIGHTS: weights})
    assert registry.remove(published) >= len(weights)
    assert registry.pull(published).is_relative_to(os.environ["HF_HOME"])


def test_another_folder_for_the_hubs_cache(
    hub: Hub, published: str, weights: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_hubs_own_cache(REPO, {WEIGHTS: weights})
    (Path(os.environ["HF_HOME"]) / "hub").rename(tmp_path / "elsewhere")
    assert download.cache.hub_file(REPO, WEIGHTS) is None
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert registry.pull(published, offline=True).exists()


def test_damaged_and_gone_files_of_the_hubs_cache_are_downloaded_instead(
    hub: Hub, published: str, weights: bytes
) -> None:
    blobs = in_hubs_own_cache(REPO, {WEIGHTS: weights})
    (blob,) = blobs.iterdir()
    blob.write_bytes(weights[:-5] + b"wrong")
    assert registry.pull(published).parent == cache.weights_dir(REPO)
    registry.remove(published)
    blob.unlink()
    assert registry.pull(published).read_bytes() == weights
    assert hub.gets[f"{REPO}/{WEIGHTS}"] == 2


def test_the_name_of_a_tokenizer_makes_no_line_of_its_own(described: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CONFIG["text_cfg"] | {"hf_tokenizer_name": "x\nError: forged"}
    described.files[f"{REPO}/{CONFIGURATION}"] = configuration(text_cfg=text)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: name == "transformers" or find(name, *more))
    with pytest.raises(WeightsError) as error:
        loading.load_clip(NAME)
    assert str(error.value) == rf"the tokenizer of {NAME} could not be had ('x\nError: forged')."
