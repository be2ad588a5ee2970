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

from t2l_cli.engine.layers import EditLayer
from t2l_cli.errors import RequestError
from t2l_cli.jobs.record import RunDir, check_run_dir
from t2l_cli.media import atomic
from t2l_cli.media.compositing import rgba
from t2l_cli.media.images import Picture

RECORD = '{"command": "edit-image", "config": {}}'


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
        disk.setattr(atomic, "flush_file", full)
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


def test_a_run_dir_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(RequestError, match="not empty"):
        check_run_dir(tmp_path, overwrite=False)
    with pytest.raises(RequestError, match=r"holds mine\.txt, no file of a run"):
        check_run_dir(tmp_path, overwrite=True)
    check_run_dir(tmp_path / "new", overwrite=False)
    with pytest.raises(RequestError, match="is a file"):
        check_run_dir(tmp_path / "mine.txt", overwrite=True)
    with pytest.raises(RequestError, match="does not exist"):
        check_run_dir(tmp_path / "no" / "run", overwrite=False)


def test_what_a_run_leaves_is_known_and_nothing_else(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    own = ["layer.png", "alpha.png", "composite.png", "losses.csv", "run.json", "snapshots/step-00001.png"]
    for folder in (run_dir, run_dir / "foreground", run_dir / "background"):  # the latter as edit-video leaves them
        (folder / "snapshots").mkdir(parents=True)
        for name in own:
            (folder / name).touch()
    (run_dir / "run.json").write_text(RECORD)
    for name in ("mask-00000.png", "rebuilt-00012.png", ".DS_Store"):  # fit-atlas; a file manager
        (run_dir / name).touch()
    check_run_dir(run_dir, True)
    (run_dir / "out.png").touch()
    check_run_dir(run_dir, True, [], [run_dir / "out.png"])
    for name in ("out.png", ".env", "foreground/photo.jpg", "snapshots/mine.png", "step-00001.png", "foreground/a/"):
        (run_dir / name).mkdir() if name.endswith("/") else (run_dir / name).touch()
        with pytest.raises(RequestError, match=f"holds {name.rstrip('/')}, no file of a run"):
            check_run_dir(run_dir, True)
        (run_dir / name).rmdir() if name.endswith("/") else (run_dir / name).unlink()
    (run_dir / "losses.csv").unlink()
    (tmp_path / "out.png").touch()
    (run_dir / "losses.csv").symlink_to(tmp_path / "out.png")  # it would be written where it points to
    with pytest.raises(RequestError, match=r"holds losses\.csv"):
        check_run_dir(run_dir, True)


SIGNS = {
    "run.json": RECORD,
    "losses.csv": "step,stage,lr,total,cosine\r\n1,,0.1,3,1\r\n",
    "foreground/losses.csv": "step,stage,lr,total\r\n",
    "background/losses.csv": "",
}


@pytest.mark.parametrize("mine", ["mask-00001.png", "composite.psd", "layer.png", "snapshots/step-1.png"])
@pytest.mark.parametrize("sign", SIGNS)
def test_files_that_are_only_called_like_a_runs_are_left_alone(mine: str, sign: str, tmp_path: Path) -> None:
    """It takes the record of a run, or of one that was killed its losses."""
    for path in (tmp_path / mine, tmp_path / sign):
        path.parent.mkdir(exist_ok=True)
    (tmp_path / mine).touch()
    for words in (None, "{}", "epoch,loss\n", '{"command": "edit-image"}', '{"config": {}}', "["):
        if words is not None:
            (tmp_path / sign).write_text(words)
        with pytest.raises(RequestError, match="says that it is of a run"):
            check_run_dir(tmp_path, True)
    (tmp_path / sign).write_text(SIGNS[sign])
    check_run_dir(tmp_path, True)


def test_folders_without_files_and_outputs_need_no_sign(tmp_path: Path) -> None:
    """A run that was killed before its first step left folders; an output may lie in the run directory."""
    (tmp_path / "foreground/snapshots").mkdir(parents=True)
    (tmp_path / "out.png").touch()
    (tmp_path / ".DS_Store").touch()
    check_run_dir(tmp_path, True, [], [tmp_path / "out.png"])


def test_what_a_killed_run_left_is_its_own(tmp_path: Path) -> None:
    edit: Any = Edit()
    for steps in range(3):
        run_dir = RunDir(tmp_path / "run", pytest.fail)
        for i in range(steps):
            run_dir.add(FakeStep(i, [], n=8), edit)  # type: ignore[arg-type]
        check_run_dir(tmp_path / "run", True)


def test_inputs_and_outputs_stay_out_of_a_run_dirs_own_files(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for name in ("alpha.png", "run.json", "photo.png"):
        (run_dir / name).touch()
        with pytest.raises(RequestError, match=f"holds the input {run_dir / name}"):
            check_run_dir(run_dir, True, ["-", None, run_dir / name], [run_dir / "photo.png"])
    for output in (run_dir, tmp_path):
        with pytest.raises(RequestError, match="lies in the output"):
            check_run_dir(run_dir, True, [], [output])
    for name in ("layer.png", "losses.csv", "foreground", "snapshots", "foreground/alpha.png"):
        with pytest.raises(RequestError, match="has the name of a file of --run-dir"):
            check_run_dir(run_dir, True, [], [run_dir / name])
    (run_dir / "run.json").write_text(RECORD)
    check_run_dir(run_dir, True, [], [run_dir / "photo.png", run_dir / "composite.png", tmp_path / "layer.png"])


def test_snapshots_of_the_run_before_go(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "step-00001.png").touch()
    (tmp_path / "snapshots" / "mine.png").touch()
    RunDir(tmp_path, pytest.fail)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["mine.png"]
