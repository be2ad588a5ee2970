"""The file of an interrupted fit: written whole, now and then, and read as data."""

from __future__ import annotations

import os
import pickle
import resource
import time
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from t2l_cli.engine.fit.fit import AtlasFit
from t2l_cli.errors import OutputError, RequestError
from t2l_cli.jobs import fit_state
from t2l_cli.jobs.fit_state import FitState


class Fit:
    """Has a state and nothing else."""

    def state(self) -> dict[str, Any]:
        return {"step": 3, "tensors": [torch.arange(4), None], "model": "homography"}


FIT = cast("AtlasFit", Fit())


def test_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    state = FitState(tmp_path / "atlas.resume", "key")
    assert state.found() is None
    state.keep(FIT)
    back = state.load()
    assert back["step"] == 3
    assert torch.equal(back["tensors"][0], torch.arange(4))
    assert os.listdir(tmp_path) == ["atlas.resume"]
    state.drop()
    state.drop()
    assert os.listdir(tmp_path) == []


def test_is_of_one_video_mask_and_setting(tmp_path: Path) -> None:
    FitState(tmp_path / "a", "key").keep(FIT)
    other = FitState(tmp_path / "a", "another")
    assert other.found() is None
    with pytest.raises(RequestError, match="another video, mask or setting"):
        other.load()
    with pytest.raises(RequestError, match="there is no interrupted fit"):
        FitState(tmp_path / "b", "key").load()


def test_what_must_not_be_replaced_is_said(tmp_path: Path) -> None:
    state = FitState(tmp_path / "atlas.resume", "key")
    state.check(False)
    state.keep(FIT)
    state.check(False)
    other = FitState(state.path, "another")
    with pytest.raises(RequestError, match="interrupted fit of another video"):
        other.check(False)
    other.check(True)
    for overwrite in (False, True):
        with pytest.raises(RequestError, match="is the input itself"):
            state.check(overwrite, None, str(state.path))
    for mine in (b"mine", b"", pickle.dumps({"format": "mine"})):
        state.path.write_bytes(mine)
        for overwrite in (False, True):
            with pytest.raises(RequestError, match="not an interrupted fit"):
                state.check(overwrite)
    torch.save({"step": 3}, state.path)  # the user's own checkpoint
    with pytest.raises(RequestError, match="not an interrupted fit"):
        state.check(True)


def test_a_full_disk_is_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fit, "state", lambda self: {"tensor": torch.zeros(50_000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # the file would take 200,000
    try:
        with pytest.raises(OutputError, match="File too large"):
            FitState(tmp_path / "atlas.resume", "key").keep(FIT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize(
    "data", [b"", b"junk", b"more junk than four bytes", pickle.dumps([1]), pickle.dumps({"format": Harm()})]
)
def test_damage_is_said_and_no_code_runs(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(RequestError, match="not an interrupted fit, or damaged"):
        FitState(tmp_path / "a", "key").load()
    torch.save({"format": fit_state.FORMAT, "version": 1, "key": "key", "state": Harm()}, tmp_path / "b")
    with pytest.raises(RequestError, match="damaged"):
        FitState(tmp_path / "b", "key").load()
    assert not (tmp_path / "harm").exists()


def test_is_kept_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    state = FitState(tmp_path / "a", "key")
    state.keep_now_and_then(FIT)
    assert not state.path.exists()
    now += fit_state.EVERY
    state.keep_now_and_then(FIT)
    assert state.path.exists()
    state.drop()
    now += fit_state.EVERY - 1
    state.keep_now_and_then(FIT)
    assert not state.path.exists()


def test_a_place_that_takes_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not write"):
        FitState(tmp_path / "nowhere" / "a", "key").keep(FIT)
