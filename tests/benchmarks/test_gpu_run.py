"""What runs the parts of benchmarks/gpu.py: nothing that a part does takes the others' figures, or the time."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import pytest
from gpu_parts.report import JSON_NAME, MARKDOWN_NAME, Report
from gpu_parts.run import Outcome, Part, Row, Task, can_load, run_all

PARTS = """
import os, subprocess, sys, time
from gpu_parts.run import Row

def quick(task):
    yield Row("first", {"time, s": 1.0})
    yield Row("second", {"time, s": 2.0})
    yield Row("first", {"time, s": 1.5})

def failing(task):
    yield Row("before", {"time, s": 3.0})
    raise ValueError("no such | kernel")

def dying(task):
    yield Row("before", {"time, s": 4.0})
    os._exit(3)

def endless(task):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield Row("pids", {"own": os.getpid(), "child": child.pid})
    time.sleep(60)

def patient(task):
    yield Row("left", {"time, s": task.left()})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fake_parts.py").write_text(PARTS)
    (tmp_path / "needy_parts.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def outcome(name: str, share: float = 1.0) -> Outcome:
    return Outcome(Part(name, f"A {name} part", f"fake_parts:{name}", share, {"time, s": "at most 2"}))


def run(outcomes: list[Outcome], folder: Path, seconds: float = 60.0, start: str = "fork") -> Report:
    report = Report(folder, {"commit": "abc", "command": "python"}, outcomes)
    task = Task(None, "cpu", time.monotonic() + seconds, folder, start=start)
    run_all(outcomes, task, lambda *_: report.write())
    return report


def written(folder: Path) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = json.loads((folder / JSON_NAME).read_text())["parts"]
    return parts


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_part_that_fails_or_dies_keeps_what_it_has_and_the_next_goes_on(folder: Path, start: str) -> None:
    run([outcome("failing"), outcome("dying"), outcome("quick")], folder, start=start)
    failing, dying, quick = written(folder)
    assert (failing["status"], failing["error"]) == ("failed", "ValueError: no such | kernel")
    assert (dying["status"], dying["error"]) == ("failed", "the process ended with exit code 3")
    for part in (failing, dying):
        assert [row["name"] for row in part["rows"]] == ["before"]  # type: ignore[attr-defined]
    assert (quick["status"], quick["error"]) == ("done", "")
    assert quick["rows"] == [
        {"name": "first", "figures": {"time, s": 1.5}},
        {"name": "second", "figures": {"time, s": 2.0}},
    ]


def test_a_part_without_end_is_ended_in_time_with_all_that_it_started(folder: Path) -> None:
    began = time.monotonic()
    endless, after = outcome("endless"), outcome("quick")
    run([endless, after], folder, seconds=6.0)
    assert time.monotonic() - began < 6.0
    assert (endless.status, after.status) == ("out of time", "done")
    assert written(folder)[0]["rows"], "what it had is kept"
    pids = endless.rows["pids"].figures
    assert not alive(pids["own"])
    assert not alive(pids["child"])


def test_an_interruption_ends_the_part_that_runs(folder: Path) -> None:
    endless = outcome("endless")

    def interrupt(_: Outcome, row: Row | None) -> None:
        if row is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all([endless], Task(None, "cpu", time.monotonic() + 60, folder), interrupt)
    assert not alive(endless.rows["pids"].figures["own"])


def test_time_is_shared_and_what_is_saved_serves_the_next(folder: Path) -> None:
    parts = [outcome("quick", 2.0), outcome("patient", 1.0), Outcome(Part("x", "X", "y", 5.0), "cannot run")]
    run(parts, folder, seconds=40.0)
    left = parts[1].rows["left"].figures["time, s"]
    assert isinstance(left, float)
    assert 30 < left <= 40  # it is the last that can run, and the first took a moment of its 27 s
    assert parts[2].status == "cannot run"


def test_without_time_no_part_begins(folder: Path) -> None:
    began = time.monotonic()
    parts = [outcome("endless"), outcome("quick")]
    run(parts, folder, seconds=-1.0)
    assert time.monotonic() - began < 1.0
    assert [part["status"] for part in written(folder)] == ["out of time", "out of time"]


def test_a_part_whose_package_is_missing_says_so(folder: Path) -> None:
    assert can_load(Part("x", "X", "needy_parts:run", 1.0)) == "No module named 'no_such_package'"
    assert can_load(Part("x", "X", "fake_parts:quick", 1.0)) == ""


def test_the_report_has_a_table_a_part_and_no_figure_that_is_not_finite(tmp_path: Path) -> None:
    part = Part("gradients", "Gradients", "a:b", 1.0, {"cosine": "at least 0.9"})
    rows = {"x|y": Row("x|y", {"cosine": float("nan")}), "z": Row("z", {"cosine": 0.98765432, "time, s": 12345.6})}
    found = Outcome(part, "failed", "a | b\nc", 1.0, rows)
    report = Report(tmp_path, {"commit": "abc", "command": "python x"}, [found], {"card": "Some Card"})
    report.write()
    (saved,) = written(tmp_path)
    assert [row["figures"] for row in saved["rows"]] == [  # type: ignore[attr-defined]
        {"cosine": None},
        {"cosine": 0.98765432, "time, s": 12345.6},
    ]
    assert (tmp_path / MARKDOWN_NAME).read_text().splitlines()[4:] == [
        "### Gradients",
        "",
        "| | cosine | time, s |",
        "| --- | --- | --- |",
        "| x\\|y | not finite |  |",
        "| z | 0.9877 | 12346 |",
        "| asked | at least 0.9 |  |",
        "",
        "failed: a \\| b c",
    ]
    assert "card Some Card. Commit abc." in (tmp_path / MARKDOWN_NAME).read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == [JSON_NAME, MARKDOWN_NAME]


def alive(pid: object) -> bool:
    """Whether the process still runs; one that has ended and waits for its parent does not."""
    assert isinstance(pid, int)
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False
