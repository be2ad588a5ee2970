from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from rich.console import Console

from t2l_cli.cli.terminal import Terminal
from t2l_cli.progress import Silent, Tick, counted, downloading, tracked


@dataclass(frozen=True)
class FakeStep(Tick):
    @property
    def terms(self) -> dict[str, float]:
        return {"cosine": 1.0, "screen": 0.5}


def _tracked(terminal: Terminal, n: int) -> list[Tick]:
    with tracked((FakeStep(i, n) for i in range(n)), terminal) as steps:
        return list(steps)


@pytest.mark.parametrize("n", [1, 3, 10, 25, 1000])
def test_a_pipe_gets_a_line_every_tenth(n: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert [step.i for step in _tracked(Terminal(), n)] == list(range(n))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert len(lines) == min(n, 10)
    assert lines[-1].startswith(f"step {n}/{n} (100 %)")
    assert "cosine 1" in lines[-1]


def test_the_whole_time_is_estimated_once(capsys: pytest.CaptureFixture[str]) -> None:
    _tracked(Terminal(), 50)
    assert capsys.readouterr().err.count("for all 50 steps") == 1


def test_what_a_step_has_to_say_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with tracked((FakeStep(i, 2, note="less memory" if i else "") for i in range(2)), Terminal()) as steps:
        list(steps)
    assert capsys.readouterr().err.count("note: less memory\n") == 1


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_tracked(Terminal(quiet=True), 20)) == 20
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_the_terms() -> None:
    terminal = Terminal()
    screen = io.StringIO()
    terminal.console = Console(file=screen, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    assert terminal.animated
    _tracked(terminal, 20)
    assert "20/20" in screen.getvalue()
    assert "cosine 1" in screen.getvalue()


def test_a_dumb_terminal_gets_lines() -> None:
    terminal = Terminal()
    terminal.console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert not terminal.animated


@pytest.mark.parametrize("total", [1000, None])
def test_a_download_is_told_in_lines(total: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    tell: Callable[[int, int | None], None]
    with downloading("ViT-B-32", Terminal()) as tell:
        for done in range(0, 1001, 50):
            tell(done, total)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 11
    assert all("ViT-B-32" in line for line in lines)


def test_what_is_counted_is_told_when_it_is_worked_off(capsys: pytest.CaptureFixture[str]) -> None:
    with counted("abcd", 4, "mapping back", Terminal()) as letters:
        assert next(letters) == "a"
        assert capsys.readouterr().err == ""
        assert list(letters) == ["b", "c", "d"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"mapping back: frame {i}/4 ({25 * i} %)" for i in (1, 2, 3, 4)
    ]


def test_bars_are_taken_down_where_the_work_fails() -> None:
    terminal = Terminal()
    screen = io.StringIO()
    terminal.console = Console(file=screen, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with pytest.raises(ZeroDivisionError), counted(range(3), 3, "", terminal) as numbers:
        print([1 / (1 - number) for number in numbers])
    assert screen.getvalue().endswith("\x1b[?25h"), "the cursor is shown again"


def test_without_a_terminal_the_same_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with counted(range(3), 3, "", Silent()) as numbers:
        assert list(numbers) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
