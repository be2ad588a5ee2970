"""The CLIPs that a configuration names, loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import t2l_cli as t2l
from t2l_cli.config import EditConfig
from t2l_cli.errors import RequestError, T2LError, WeightsError
from t2l_cli.jobs.judge import Judges, check_judge, load_judge
from t2l_cli.progress import Silent
from t2l_cli.weights import loading


def test_a_clip_named_twice_is_loaded_once() -> None:
    judge = load_judge(EditConfig(("red",), clip=("mini", "mini"), device="cpu"), None, True, Silent())
    assert judge.clips[0] is judge.clips[1]
    assert judge.weights_sha256[0] == judge.weights_sha256[1]
    assert len(judge.weights_sha256[0]) == 64


def test_a_weights_file_is_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, asked = loading.load_clip, []

    def load(name: str, weights: Path | None, *rest: Any) -> loading.LoadedClip:
        asked.append((name, weights))
        return plain("mini", None, *rest)

    monkeypatch.setattr(loading, "load_clip", load)
    config = EditConfig(("red",), clip=("ViT-B-32", "mini", "ViT-B-32"), device="cpu")
    judge = load_judge(config, "own.pt", True, Silent())
    assert asked == [("ViT-B-32", Path("own.pt")), ("mini", None), ("ViT-B-32", None)]
    assert len(judge.clips) == 3


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"clip": "ViT-B-33"}, RequestError, "there is no CLIP model 'ViT-B-33'"),
        ({"clip": ("mini", "ViT-B-32")}, WeightsError, "told to stay offline"),
        ({"clip": "mini", "device": "cuda:99"}, RequestError, "cuda"),
        ({"clip": "mini", "precision": "fp16", "device": "cpu"}, RequestError, "needs a CUDA GPU"),
    ],
)
def test_what_cannot_be_loaded_is_known_before(settings: dict[str, Any], kind: type[T2LError], words: str) -> None:
    config = EditConfig(("red",), **settings)
    for look in (check_judge, load_judge):
        with pytest.raises(kind, match=words):
            look(config, None, True, Silent())


def test_to_check_a_judge_builds_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    config = EditConfig(("red",), clip="mini", device="cpu")
    with pytest.raises(RequestError, match="weights of its own"):
        check_judge(config, "own.pt", True, Silent())
    monkeypatch.setattr(loading, "LoadedClip", None)
    check_judge(config, None, True, Silent())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "is mini, the edit asks for ViT-B-32:"),
        ({"clip": ("mini", "mini")}, "is mini, the edit asks for mini and mini:"),
        (
            {"clip": "mini", "clip_weights": "own.pt"},
            "has published weights, the edit asks for the weights .*own.pt:",
        ),
    ],
)
def test_a_judge_is_not_passed_off_as_another_one(tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    """Its name would be in the record, and whoever repeats the edit would take another CLIP."""
    if "clip_weights" in asked:
        (tmp_path / "own.pt").touch()
        asked = asked | {"clip_weights": tmp_path / "own.pt"}
    judge = load_judge(EditConfig(("red",), clip="mini", device="cpu"), None, True, Silent())
    photo = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(t2l.RequestError, match=message):
        t2l.edit_image(photo, "red cup", judge=judge, **asked)
    with pytest.raises(t2l.RequestError, match=message):
        t2l.edit_video("video.mp4", "red cup", judge=judge, **asked)
    assert t2l.edit_image(photo, "red cup", judge=judge, clip="mini", device="auto").judge is judge


def test_a_judge_elsewhere_is_another_one() -> None:
    config = EditConfig(("red",), clip="mini", device="cpu")
    judge = load_judge(config, None, True, Silent())
    judge.check(dataclasses.replace(config, precision="fp32"), None)
    for change, words in (
        ({"device": torch.device("cuda:1")}, "computes on cuda:1, the edit asks for cpu:"),
        ({"dtype": torch.float16}, "computes in torch.float16, the edit asks for torch.float32:"),
    ):
        there = dataclasses.replace(judge, runtime=dataclasses.replace(judge.runtime, **change))
        with pytest.raises(t2l.RequestError, match=words):
            there.check(config, None)


def test_weights_are_the_same_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loading.load_clip
    monkeypatch.setattr(loading, "load_clip", lambda name, weights, *rest: plain("mini", None, *rest))
    monkeypatch.chdir(tmp_path)
    config = EditConfig(("red",), device="cpu")
    judge = load_judge(config, "own.pt", True, Silent())
    judge.check(config, str(tmp_path / "own.pt"))
    with pytest.raises(t2l.RequestError, match=r"has the weights .*own.pt, the edit asks for published weights:"):
        judge.check(config, None)


def test_jobs_share_judges() -> None:
    judges, photo = Judges(), np.zeros((20, 30, 3), np.uint8)
    first, second = (t2l.edit_image(photo, text, judge=judges, clip="mini", device="cpu") for text in ("red", "blue"))
    assert first.judge is second.judge
    other = t2l.edit_image(photo, "red", judge=judges, clip=("mini", "mini"), device="cpu")
    assert len(other.judge.clips) == 2
