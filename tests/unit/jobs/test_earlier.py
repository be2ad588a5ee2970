"""What comes back from a run.json, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from t2l_cli.config import EditConfig
from t2l_cli.errors import RequestError
from t2l_cli.jobs.earlier import read_run
from t2l_cli.media.records import plain
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
    ("clip", "kept"), [("mini", "mini"), (("mini", "ViT-B-32"), ["mini", "ViT-B-32"]), (["mini"], "mini")]
)
def test_one_clip_is_kept_as_a_text_and_several_as_a_list(tmp_path: Path, clip: Any, kept: object) -> None:
    config = EditConfig(("a",), clip=clip)
    assert plain(config)["clip"] == kept
    again = read_run(_written(tmp_path, plain(config))).config
    assert again == config
    assert read_run(_written(tmp_path, {"prompts": ["a"], "clip": kept})).config == config


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
        {"prompts": ["swan"], "clip": 3},
        {"prompts": ["swan"], "clip": []},
        {"prompts": ["swan"], "clip": ["mini", 3]},
        {"prompts": ["swan"], "views": {"n_views": None}},
        {"prompts": ["swan"], "views": {"crop": []}},
        {"prompts": ["swan"], "views": {"crop": [0.5, 0.7, 0.9]}},
        {"prompts": ["swan"], "views": {"rotate": float("inf")}},
        {"prompts": ["swan"], "augment": {"scale": [1.0, float("inf")]}},
        {"prompts": ["swan"], "augment": {"scale": [0, 0]}},
        {"prompts": ["swan"], "augment": {"jitter": 10**400}},
        {"prompts": ["swan"], "optim": {"steps": float("inf")}},
        {"prompts": ["swan"], "optim": {"steps": [[[[]]]]}},
        {"prompts": ["swan"], "segment": {"background_reduction": 0}},
        {"prompts": ["swan"], "segment": {"relevancy_frames": 0}},
    ],
)
def test_a_broken_run_is_refused(tmp_path: Path, config: object) -> None:
    with pytest.raises(
        RequestError, match=r"run\.json|prompt|CLIPs|learning rate|must be between|must be at least"
    ) as caught:
        read_run(_written(tmp_path, config))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b"3", b'{"source": 3, "config": {"prompts": ["a"]}}'])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(data)
    with pytest.raises(RequestError, match=r"run\.json"):
        read_run(path)


@pytest.mark.parametrize("name", ["source", "mask", "clip_weights", "atlas"])
@pytest.mark.parametrize("value", ["a\0b", "\ud800", 3, ["a"]])
def test_a_run_of_something_else_than_a_path_is_refused(tmp_path: Path, name: str, value: object) -> None:
    path = _written(tmp_path, {"prompts": ["swan"]}, **{name: value})
    with pytest.raises(RequestError, match=rf'run\.json: "{name}" ') as caught:
        read_run(path)
    assert str(caught.value).isprintable()


def test_a_run_nested_deeply_or_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"source": ' + "[" * 100_000)
    with pytest.raises(RequestError, match="nested too deeply"):
        read_run(tmp_path / "run.json")
    with pytest.raises(RequestError, match="larger than 16 MB"):
        read_run(Path("/dev/zero"))


def test_a_missing_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No such file"):
        read_run(tmp_path / "run.json")
