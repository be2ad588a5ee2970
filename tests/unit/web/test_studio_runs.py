"""The studio's queue, with trainings of a few steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2l_cli.errors import RequestError
from t2l_cli.web.runs import Run, Runs
from t2l_cli.web.sources import Source, Sources
from tests.tiny_videos import picture

QUICK: dict[str, Any] = {"clip": "mini", "views": 1, "size": 129}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "studio").mkdir()
    return tmp_path / "studio"


@pytest.fixture
def source(folder: Path, tmp_path: Path) -> Source:
    Image.fromarray(picture(0, (160, 132))).save(tmp_path / "a.png")
    return Sources(folder / "sources").keep(tmp_path / "a.png")


@pytest.fixture
def runs(folder: Path) -> Iterator[Runs]:
    made = Runs(folder, offline=True)
    yield made
    made.close()


def wait(run: Run, *states: str) -> None:
    end = time.monotonic() + 300
    while run.state not in states:
        assert time.monotonic() < end, run
        time.sleep(0.02)


def test_runs_wait_for_each_other_stop_and_are_kept(runs: Runs, source: Source, folder: Path) -> None:
    endless = runs.add(source, ["red cup"], 3, steps=100_000, **QUICK)
    waiting = runs.add(source, ["blue cup"], 4, steps=2, **QUICK)
    given_up = runs.add(source, ["green cup"], 5, steps=2, **QUICK)
    assert [run.name for run in (endless, waiting, given_up)] == ["0001-red-cup", "0002-blue-cup", "0003-green-cup"]
    end = time.monotonic() + 300
    while "of 100,000 steps" not in endless.about:
        assert time.monotonic() < end, endless
        time.sleep(0.02)
    assert [run.state for run in runs.queue] == ["working", "waiting", "waiting"]
    runs.stop(given_up.name)
    runs.stop(endless.name)
    wait(given_up, "interrupted")
    assert [run.state for run in (endless, waiting)] == ["interrupted", "done"]
    assert runs.queue == []
    assert runs.names == ["0003-green-cup", "0002-blue-cup", "0001-red-cup"]

    for run, status in ((endless, "interrupted"), (waiting, "done")):
        edit = runs.edit(run.name)
        assert edit is not None
        assert edit.result is not None
        assert (edit.status, edit.prompts, edit.before) == (status, run.prompts, source.path)
        assert (folder / f"{run.name}.png").is_file()
    assert runs.edit(given_up.name) is None
    assert runs.edit("../studio") is None

    later = Runs(folder)
    assert later.names == ["0002-blue-cup", "0001-red-cup"]
    assert later.get("0002-blue-cup") is None
    assert later.edit("0002-blue-cup") == runs.edit("0002-blue-cup")
    later.close()


def test_what_cannot_be_is_said_at_once_and_what_fails_is_kept_in_words(runs: Runs, source: Source) -> None:
    with pytest.raises(RequestError, match="--steps must be"):
        runs.add(source, ["red cup"], 0, steps=0)
    with pytest.raises(RequestError, match="say what it should show"):
        runs.add(source, [], 0)
    with pytest.raises(TypeError, match="stepz"):
        runs.add(source, ["red cup"], 0, stepz=1)
    assert runs.names == []
    failed = runs.add(source, ["red cup"], 0, clip="ViT-B-32", steps=2)
    wait(failed, "failed")
    assert "offline" in failed.about
    after = runs.add(source, ["red cup"], 0, steps=2, **QUICK)
    wait(after, "done")
    assert (failed.name, after.name) == ("0001-red-cup", "0002-red-cup")


def test_names_come_from_the_prompt_alone(runs: Runs, source: Source, folder: Path) -> None:
    run = runs.add(source, ["../../etc/passwd; rm -rf $HOME\n" + "long " * 100], 0, steps=1, **QUICK)
    runs.stop(run.name)
    assert "/" not in run.name
    assert run.name.startswith("0001-etc-passwd-rm-rf-home-long")
    assert len(run.name) < 80
    wait(run, "interrupted", "done")
    assert {path.name for path in folder.iterdir()} <= {"sources", run.name, f"{run.name}.png"}
