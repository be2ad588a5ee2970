"""What comes back from a run.json, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from t2l_cli.cli.settings import read_run
from t2l_cli.errors import RequestError
from t2l_cli.settings import PHOTO, edit_config


def _written(tmp_path: Path, config: object, **more: object) -> Path:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"source": "photo.jpg", "config": config, **more}))
    return path


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    config = edit_config(PHOTO, ("a", "b"), "fine", {"roi": "swan", "lr": 0.01, "distance": "cosine"})
    earlier = read_run(_written(tmp_path, dataclasses.asdict(config), mask="m.png"))
    assert earlier.config == config
    assert (earlier.source, earlier.mask, earlier.clip_weights) == ("photo.jpg", "m.png", None)


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        {},
        {"prompts": "swan"},
        {"prompts": [1]},
        {"prompts": []},
        {"prompts": ["swan"], "optim": {"steps": "many"}},
        {"prompts": ["swan"], "optim": {"steps": True}},
        {"prompts": ["swan"], "optim": {"steps": float("nan")}},
        {"prompts": ["swan"], "optim": {"lr": float("nan")}},
        {"prompts": ["swan"], "optim": []},
        {"prompts": ["swan"], "colour": "red"},
        {"prompts": ["swan"], "views": {"n_views": None}},
    ],
)
def test_a_broken_run_is_refused(tmp_path: Path, config: object) -> None:
    with pytest.raises(RequestError, match=r"run\.json|prompt|learning rate"):
        read_run(_written(tmp_path, config))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b"3", b'{"source": 3, "config": {"prompts": ["a"]}}'])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(data)
    with pytest.raises(RequestError, match=r"run\.json"):
        read_run(path)


def test_a_missing_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No such file"):
        read_run(tmp_path / "run.json")
