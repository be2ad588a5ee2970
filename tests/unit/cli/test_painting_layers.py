"""The layers of a video, trained one after the other: what is kept when one of them ends early."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cardboard import Cardboard

from t2l_cli.cli import video_editing
from t2l_cli.cli.interrupt import Interrupted, Interruption
from t2l_cli.cli.terminal import Terminal
from t2l_cli.config import video_config
from t2l_cli.engine import video
from t2l_cli.engine.optimize import Step
from t2l_cli.errors import DivergedError

BOTH = {"foreground": video_config(("red",)), "background": video_config(("blue",))}


class Pressed(Cardboard):
    """Somebody presses Ctrl-C at step 2."""

    def __iter__(self) -> Iterator[Step]:
        for step in super().__iter__():
            if step.i == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield step


def _painted(
    edits: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, press_before: int | None = None
) -> video_editing._Painted:
    """Paint both layers with ``edits``; while number ``press_before`` is prepared, Ctrl-C is pressed."""
    made = iter(range(len(edits)))

    def prepared(*_: object) -> Any:
        number = next(made)
        if number == press_before:
            os.kill(os.getpid(), signal.SIGINT)
        return edits[number]

    runtime = edits[0].runtime
    monkeypatch.setattr(video, "VideoEdit", prepared)
    monkeypatch.setattr(video_editing, "frames_in_memory", lambda excerpt: None)
    monkeypatch.setattr(video_editing, "load_eyes", lambda *_: (None, runtime, "0" * 64))
    monkeypatch.setattr(video_editing, "introduce", lambda *_: None)
    request: Any = SimpleNamespace(configs=BOTH, clip_weights=None, offline=True, run_dir=tmp_path / "run")
    with Interruption(quiet=True) as interruption:
        return video_editing._paint(request, None, None, Terminal(quiet=True), interruption)  # type: ignore[arg-type]


def test_both_layers_are_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    painted = _painted([Cardboard(), Cardboard()], tmp_path, monkeypatch)
    assert painted.layers.keys() == painted.records.keys() == {"foreground", "background"}
    assert {path.parent.name for path in tmp_path.rglob("layer.png")} == {"foreground", "background"}


def test_an_interruption_in_the_first_layer_leaves_the_second_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = _painted([Pressed(), Cardboard()], tmp_path, monkeypatch)
    assert [record["steps_done"] for record in painted.records.values()] == [3]


def test_an_interruption_before_the_second_layers_first_step_keeps_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = _painted([Cardboard(), Cardboard()], tmp_path, monkeypatch, press_before=1)
    assert painted.layers.keys() == {"foreground"}


def test_an_interruption_before_the_first_step_has_nothing_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        _painted([Cardboard(), Cardboard()], tmp_path, monkeypatch, press_before=0)


@pytest.mark.parametrize("until", [0, 4])
def test_a_divergence_of_the_second_layer_keeps_the_first(
    until: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = _painted([Cardboard(), Cardboard(until=until)], tmp_path, monkeypatch)
    assert isinstance(painted.failure, DivergedError)
    assert list(painted.layers) == ["foreground", "background"][: 2 if until else 1]


def test_a_divergence_of_the_first_layer_at_once_has_nothing_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DivergedError):
        _painted([Cardboard(until=0), Cardboard()], tmp_path, monkeypatch)
