"""The checks themselves: programs that misbehave on purpose, each in one way, are caught."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import pictures, properties, runner
from tests.fuzz.case import Case

Program = Callable[[], None]


def _run(program: Program, case: Case, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(runner, "main", program)
    return properties.complaints(case, runner.run(case, case.folder.parent / "home"))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "case").mkdir()
    made = Case(tmp_path / "case", ["composite", "photo.png", "layer.png", "-o", "out.png"], output="out.png")
    made.put("photo.png", pictures.plain())
    made.size = (32, 24)
    return made


def _good() -> None:
    Path("out.png").write_bytes(pictures.plain())
    print("out.png")
    sys.exit(0)


def _refusing() -> None:
    print("Error: no.\nDo this instead.", file=sys.stderr)
    sys.exit(2)


def _refusing_after(act: Program) -> Program:
    def program() -> None:
        act()
        _refusing()

    return program


def _good_after(act: Program) -> Program:
    def program() -> None:
        act()
        _good()

    return program


def _says(text: str, code: int) -> Program:
    def program() -> None:
        sys.stderr.write(text)
        sys.exit(code)

    return program


def _names_nothing() -> None:
    print("missing.png")
    sys.exit(0)


def _wrong_size() -> None:
    Path("out.png").write_bytes(pictures.plain((24, 32)))
    print("out.png")
    sys.exit(0)


def _hungry() -> None:
    bytearray(3 << 30)
    _good()


@pytest.mark.parametrize("program", [_good, _refusing, _says("Error: the disk is full.\n", 1)])
def test_a_good_program_has_no_complaints(program: Program, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(program, case, monkeypatch) == []


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (_says("Error: no.\n", 3), "exit code is 3"),
        (_says("", 2), "0 errors"),
        (_says("Error: a\nError: b\n", 2), "2 errors"),
        (_says("Error: a\nb\nc\nd\n", 1), "4 lines"),
        (_says("Error: a\nError: FORGED\n", 2), "lines of its own"),
        (_says("Error: a\rFORGED\n", 2), "lines of its own"),
        (_says("Error: \x1b[2J\n", 2), "control characters"),
        (_says("Error: x\nThis is a bug in t2l; run with --verbose.\n", 1), "bug"),
        (_says("Traceback (most recent call last)\n", 1), "traceback"),
        (_says("Error: NaN; the last good result is kept.\n", 1), "there is none"),
        (lambda: [][0], "left the program"),
        (_refusing_after(Path("new").touch), "created ['new']"),
        (_refusing_after(lambda: os.write(1, b"out.png\n")), "something was printed"),
        (_good_after(Path("more.txt").touch), "'more.txt' was created"),
        (_good_after(lambda: Path("photo.png").write_bytes(b"")), "'photo.png' was changed"),
        (_good_after(lambda: Path("photo.png").unlink()), "'photo.png' was deleted"),
        (_good_after(lambda: Path(os.environ["TMPDIR"], "left").touch()), "temporary files: ['left']"),
        (_names_nothing, "is not there"),
        (lambda: sys.exit(0), "nothing was printed"),
        (_wrong_size, "has the size (24, 32)"),
        (_hungry, "GiB of memory"),
    ],
)
def test_a_bad_program_is_caught(program: Program, words: str, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert words in "\n".join(_run(program, case, monkeypatch))


@pytest.mark.parametrize(("limit", "work"), [("CPU_LIMIT", lambda: None), ("WALL_LIMIT", lambda: time.sleep(600))])
def test_what_takes_too_long_is_ended(limit: str, work: Program, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, limit, 0.2)

    def endless() -> None:
        while True:
            work()

    (complaint, *_) = _run(endless, case, monkeypatch)
    assert "too long" in complaint
    assert "endless" in complaint


def test_a_result_that_is_not_the_source_is_seen(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = pictures.decoded(pictures.plain())
    assert truth is not None
    assert truth.rgb is not None
    case.pixels = truth.rgb.copy()
    assert _run(_good, case, monkeypatch) == []
    case.pixels[0, 0, 0] += 1
    (case.folder / "out.png").unlink()
    monkeypatch.setattr(runner, "main", _good)
    assert properties.complaints(case, runner.run(case, case.folder.parent / "again")) == [
        "'out.png' differs from the source, over which nothing was laid"
    ]
