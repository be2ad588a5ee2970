"""The run directory: losses.csv while it grows, and a disk that takes no more."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from t2l_cli.cli.run_record import RunDir
from t2l_cli.engine.layers import EditLayer
from t2l_cli.media import atomic
from t2l_cli.media.compositing import rgba
from t2l_cli.media.images import Picture


@dataclass(frozen=True)
class FakeStep:
    i: int
    read: list[int]
    n: int = 1000
    stage: str = ""
    lr: float = 0.1
    total: float = 3.0

    @property
    def terms(self) -> dict[str, float]:
        self.read.append(self.i)
        return {"cosine": 1.0, "screen": 2.0}


def test_an_accelerators_losses_are_read_some_steps_at_a_time(tmp_path: Path) -> None:
    read: list[int] = []
    edit: Any = SimpleNamespace(runtime=SimpleNamespace(check_every=4))
    run_dir = RunDir(tmp_path, pytest.fail)
    for i in range(6):
        run_dir.add(FakeStep(i, read), edit)  # type: ignore[arg-type]
        assert read == ([] if i < 3 else [0, 1, 2, 3])
    run_dir.keep_layer(np.zeros((2, 2, 4), np.uint8))
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert lines[0] == "step,stage,lr,total,cosine,screen"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4", "5", "6"]


class Edit:
    """Has a look at itself and nothing else."""

    runtime = SimpleNamespace(check_every=1)

    def preview(self) -> EditLayer:
        return EditLayer(torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2))


def _whole_run(run_dir: RunDir) -> None:
    edit: Any = Edit()
    for i in range(8):
        run_dir.add(FakeStep(i, [], n=8), edit)  # type: ignore[arg-type]
    pixels = np.zeros((20, 20, 3), np.uint8)
    run_dir.finish({"seed": 0}, Picture(pixels), rgba(pixels, pixels[..., 0]), Path("-"))


def test_a_folder_that_cannot_be_made_is_said_once_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    _whole_run(RunDir(tmp_path / "file" / "run", said.append))
    assert said == [f"--run-dir {tmp_path / 'file' / 'run'} is not complete: Not a directory."]


def test_a_disk_that_fills_up_is_said_once_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    said: list[str] = []
    run_dir = RunDir(tmp_path / "run", said.append)
    with monkeypatch.context() as disk:
        disk.setattr(atomic, "_flush", full)
        _whole_run(run_dir)
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert len((tmp_path / "run" / "losses.csv").read_text().splitlines()) == 9


def test_losses_that_cannot_be_written_are_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "losses.csv").symlink_to("/dev/full")
    said: list[str] = []
    _whole_run(RunDir(tmp_path, said.append))
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert {"layer.png", "alpha.png", "composite.png", "run.json"} <= set(os.listdir(tmp_path))
