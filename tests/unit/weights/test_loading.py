"""Weights files become models, and nothing else."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch

from t2l_cli.errors import RequestError, T2LError, WeightsError
from t2l_cli.weights.loading import check_weights, fetch_clip, load_clip

State = dict[str, torch.Tensor]


class Runs:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.mark),)


def save(path: Path, state: State) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_a_local_file_gives_the_model_it_was_saved_from(
    tmp_path: Path, state: State, published: str, suffix: str
) -> None:
    path = save(tmp_path / f"w{suffix}", state)
    clip = load_clip(published, weights=path, offline=True)
    assert clip.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = clip.model.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert not clip.model.training
    assert not any(p.requires_grad for p in clip.model.parameters())
    assert clip.tokenizer(["a red cup", "fog"]).shape == (2, 77)
    assert clip.model.visual.preprocess_cfg["mean"] == (0.5, 0.5, 0.5)


def test_half_precision_weights_become_float32(tmp_path: Path, state: State, published: str) -> None:
    path = save(tmp_path / "half.safetensors", {key: value.half() for key, value in state.items()})
    assert {p.dtype for p in load_clip(published, weights=path).model.parameters()} == {torch.float32}


def test_quickgelu_follows_the_weights(
    published: str, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED[published]["made"], "quick_gelu", True)
    model = load_clip(published, weights=save(tmp_path / "w.pt", state)).model
    assert "QuickGELU" in repr(model.visual)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_that_runs_code_does_not_run(
    tmp_path: Path, state: State, published: str, wrapped: bool, legacy: bool
) -> None:
    mark = tmp_path / "ran"
    evil = Runs(mark)
    torch.save(
        {"state_dict": state, "x": evil} if wrapped else evil,
        tmp_path / "w.pt",
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(WeightsError, match="holds more than tensors"):
        load_clip(published, weights=tmp_path / "w.pt")
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt", ".ckpt", ".npz", ".pkl"])
def test_a_plain_pickle_does_not_run_under_any_suffix(tmp_path: Path, published: str, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    with pytest.raises(WeightsError):
        load_clip(published, weights=path)
    assert not (tmp_path / "ran").exists()


def test_torchscript_is_refused(tmp_path: Path, published: str) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "ViT-B-32.pt")
    with pytest.raises(WeightsError, match="TorchScript archive"):
        load_clip(published, weights=tmp_path / "ViT-B-32.pt")


def test_weights_of_another_model_and_files_that_are_none(tmp_path: Path, state: State, published: str) -> None:
    cases: dict[str, object] = {
        "short.pt": dict(list(state.items())[:3]),
        "wide.safetensors": {**state, "visual.proj": torch.zeros(3, 3)},
        "empty.pt": {},
        "list.pt": [torch.zeros(2)],
        "numbers.pt": {"a": 1},
        "text.bin": b"dear reader",
        "text.safetensors": b"dear reader",
        "cut.safetensors": None,
        "array.npy": np.zeros(3).tobytes(),
    }
    for name, content in cases.items():
        path = tmp_path / name
        if content is None:
            path.write_bytes(save(tmp_path / "whole.safetensors", state).read_bytes()[:-100])
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif path.suffix == ".safetensors":
            save(path, content)
        else:
            torch.save(content, path)
        with pytest.raises(WeightsError) as caught:
            load_clip(published, weights=path)
        assert str(path) in str(caught.value), name
        assert "\n" not in str(caught.value), name


@pytest.mark.parametrize("legacy", [True, False])
def test_damage_of_any_kind_is_one_line(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.ones(3, 4), "b": torch.arange(5)}, path, _use_new_zipfile_serialization=not legacy)
    whole, rng, said = path.read_bytes(), random.Random(0), list[str]()
    for i in range(500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.randrange(len(data))] if i % 4 == 0 else data)
        try:
            check_weights(path)
        except WeightsError as error:
            said.append(str(error))
    assert len(said) > 250
    assert not any("\n" in text for text in said)


def test_missing_file_folder_and_model_without_weights(tmp_path: Path, published: str) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(RequestError):
            load_clip(published, weights=path)
    with pytest.raises(RequestError, match="give your own with --clip-weights"):
        load_clip("ViT-S-32")
    with pytest.raises(RequestError, match="weights of its own"):
        load_clip("mini", weights=tmp_path / "w.pt")


def test_a_weights_file_named_like_a_tag_is_a_file(
    tmp_path: Path, state: State, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "made.pt", state)
    assert load_clip(published, weights=Path("made.pt")).model is not None
    with pytest.raises(T2LError):
        check_weights(Path("made"))


def test_a_fetched_clip_is_checked_but_not_built(
    tmp_path: Path, state: State, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "w.safetensors", state)
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a safetensors file"):
        fetch_clip(published, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="told to stay offline"):
        fetch_clip(published, offline=True)
    monkeypatch.setattr(open_clip, "create_model", None)
    fetch_clip(published, path, offline=True)
    with pytest.raises(WeightsError):
        load_clip(published, path, offline=True)
