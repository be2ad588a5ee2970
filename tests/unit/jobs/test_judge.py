"""The CLIPs that a configuration names, loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t2l_cli.config import EditConfig
from t2l_cli.errors import RequestError, T2LError, WeightsError
from t2l_cli.jobs.judge import check_judge, load_judge
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
