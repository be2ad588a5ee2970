"""The walk of an edit with an engine made of cardboard: how it ends, and what is kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from cardboard import HEIGHT, WIDTH, Cardboard
from PIL import Image

from t2l_cli.cli import editing
from t2l_cli.cli.editing import Request, run
from t2l_cli.cli.run_record import RunDir, check_run_dir
from t2l_cli.cli.terminal import Terminal
from t2l_cli.engine.optimize import Step
from t2l_cli.errors import DivergedError, RequestError
from t2l_cli.media.images import Picture


def _run(edit: Cardboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: Terminal, **more: Any) -> Path:
    picture = Picture(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    monkeypatch.setattr(editing, "_prepare", lambda request, terminal: (picture, edit, "0" * 64))
    output = tmp_path / "out.png"
    run(Request("in.png", output, edit.config, False, tmp_path / "run", None, None, True, **more), terminal)
    return output


def test_all_goes_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output = _run(Cardboard(), tmp_path, monkeypatch, Terminal())
    assert capsys.readouterr().out == f"{output}\n"
    assert set(np.unique(np.asarray(Image.open(output)))) == {0, 128}
    names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*.*")}
    snapshots = {name for name in names if name.startswith("snapshots")}
    assert names - snapshots == {"layer.png", "alpha.png", "composite.png", "losses.csv", "run.json"}
    assert len(snapshots) == 8
    assert len((tmp_path / "run" / "losses.csv").read_text().splitlines()) == 11
    assert json.loads((tmp_path / "run" / "run.json").read_text())["ended"] == "done"


def test_a_run_directory_that_takes_nothing_does_not_take_the_result_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").touch()
    output = _run(Cardboard(), tmp_path, monkeypatch, Terminal(quiet=True))
    assert Image.open(output).size == (WIDTH, HEIGHT)
    out, err = capsys.readouterr()
    assert out == f"{output}\n"
    assert err == f"--run-dir {tmp_path / 'run'} is not complete: Not a directory.\n"


def test_the_result_is_there_before_the_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        assert (tmp_path / "out.png").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDir, "finish", gone)
    with pytest.raises(KeyboardInterrupt):
        _run(Cardboard(), tmp_path, monkeypatch, Terminal(quiet=True))


def test_a_divergence_keeps_the_last_good_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DivergedError):
        _run(Cardboard(until=4), tmp_path, monkeypatch, Terminal())
    assert (tmp_path / "out.png").exists()
    assert capsys.readouterr().out == f"{tmp_path / 'out.png'}\n"
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["ended"], record["steps_done"]) == ("diverged", 4)


def test_a_divergence_at_once_writes_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DivergedError):
        _run(Cardboard(until=0), tmp_path, monkeypatch, Terminal())
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_ends_after_the_step_at_hand(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pressed(Cardboard):
        def __iter__(self) -> Iterator[Step]:
            for step in super().__iter__():
                if step.i == 2:
                    os.kill(os.getpid(), number)
                yield step

    with pytest.raises(typer.Exit) as caught:
        _run(Pressed(), tmp_path, monkeypatch, Terminal(quiet=True))
    assert caught.value.exit_code == 128 + number
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["ended"], record["steps_done"]) == ("interrupted", 3)


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


def test_a_run_dir_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = _run(Cardboard(), tmp_path, monkeypatch, Terminal())
    run_dir = tmp_path / "run"
    check_run_dir(run_dir, True, [tmp_path / "photo.png"], [output])
    for folder in (run_dir / "foreground", run_dir / "background"):  # as edit-video leaves it
        shutil.copytree(run_dir, folder, ignore=shutil.ignore_patterns("foreground"))
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
    (run_dir / "losses.csv").symlink_to(tmp_path / "out.png")  # it would be written where it points to
    with pytest.raises(RequestError, match=r"holds losses\.csv"):
        check_run_dir(run_dir, True)


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
    check_run_dir(run_dir, True, [], [run_dir / "photo.png", run_dir / "composite.png", tmp_path / "layer.png"])


def test_snapshots_of_the_run_before_go(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "step-00001.png").touch()
    (tmp_path / "snapshots" / "mine.png").touch()
    RunDir(tmp_path, pytest.fail)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["mine.png"]
