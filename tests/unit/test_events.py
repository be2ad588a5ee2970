"""Events: one line per happening, never too many, and the end last."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from t2l_cli import events
from t2l_cli.errors import CODES, DivergedError, RequestError, T2LError, WeightsError, code_of
from t2l_cli.events import EVERY, Events, Log, opened
from t2l_cli.jobs.job import Failure, Result
from t2l_cli.progress import Both, Reporter, Silent, Tick, tracked
from tests.fits_schema import fits


class Told:
    """Events into memory."""

    def __init__(self) -> None:
        self.file = io.BytesIO()
        self.events = Events(Log(self.file.write, pytest.fail), "edit-image", job="7")

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.getvalue().splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == kind]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(events.time, "monotonic", lambda: self.now)


class Loss(Tick):
    @property
    def terms(self) -> Mapping[str, float]:
        return {"screen": 0.5, "cosine": math.nan, "total": math.inf}


def test_every_kind_of_line_is_as_its_schema_says() -> None:
    told = Told()
    told.events.note("a\nb\udcff")
    told.events.warn("c")
    told.events.preview(Path("run/snapshots/step-00001.png"))
    with told.events.track() as show:
        show(Loss(0, 2, "fit"))
        show(Tick(1, 0, "downloading x", note="less memory", unit="bytes"))
    told.events.result(Result("failed", ("a.png",), {"seed": 1, "tries": [-math.inf]}, Failure("diverged", "x")))
    other = Told()
    other.events.error("request", "no", 2)
    for line in (*told.lines, *other.lines):
        fits(line, "event")
        assert (line["job"], datetime.fromisoformat(line["time"]).utcoffset()) == ("7", timedelta())
    assert {line["event"] for line in (*told.lines, *other.lines)} == {
        "start", "step", "preview", "note", "warning", "result", "error",
    }  # fmt: skip
    assert [note["text"] for note in told.of("note")] == ["a\nb\udcff", "less memory"]
    assert told.of("step")[0]["losses"] == {"screen": 0.5, "cosine": None, "total": None}
    assert told.of("step")[1]["total"] is None
    assert told.of("result")[0]["record"] == {"seed": 1, "tries": [None]}


def test_the_schema_refuses_what_is_no_event() -> None:
    told = Told()
    (line,) = told.lines
    for wrong in (line | {"event": "end"}, line | {"job": 3}, line | {"more": 1}, {"event": "start"}):
        with pytest.raises(jsonschema.ValidationError):
            fits(wrong, "event")


def test_steps_are_told_now_and_then_and_the_last_one_always(monkeypatch: pytest.MonkeyPatch) -> None:
    told, clock = Told(), Clock(monkeypatch)

    def steps(n: int, until: int) -> Iterator[Tick]:
        for i in range(until):
            yield Tick(i, n)
            clock.now += EVERY / 10

    with tracked(steps(1000, 1000), told.events) as all_of_them:
        assert len(list(all_of_them)) == 1000
    done = [line["done"] for line in told.of("step")]
    assert (done[0], done[-1]) == (1, 1000)
    assert 95 <= len(done) <= 102
    with tracked(steps(1000, 17), told.events) as some:
        list(some)
    assert [line["done"] for line in told.of("step")][-2:] == [11, 17]


def test_after_the_end_nothing_is_told() -> None:
    told = Told()
    told.events.result(Result("done", (), {}))
    told.events.note("late")
    told.events.error("bug", "later", 1)
    assert [line["event"] for line in told.lines] == ["start", "result"]


class Broken:
    """Takes ``whole`` lines, then ``error``."""

    def __init__(self, whole: int, error: BaseException) -> None:
        self.whole, self.error, self.data = whole, error, b""

    def write(self, data: memoryview) -> int:
        if self.data.count(b"\n") >= self.whole:
            self.whole = 10**9
            self.data += bytes(data[:5])
            raise self.error
        part = bytes(data[:40])  # as a pipe may
        self.data += part
        return len(part)


def test_a_reader_that_went_away_costs_the_lines_only() -> None:
    lost: list[OSError] = []
    file = Broken(2, BrokenPipeError())
    told = Events(Log(file.write, lost.append), "edit-image")
    for i in range(5):
        told.note(f"{i}")
    assert [type(error) for error in lost] == [BrokenPipeError]
    assert file.data.count(b"\n") == 2


def test_a_pipe_that_does_not_wait_costs_the_lines_when_it_is_full() -> None:
    lost: list[OSError] = []
    Events(Log(lambda data: None, lost.append), "edit-image").note("more")
    assert [type(error) for error in lost] == [BlockingIOError]


def test_a_line_that_a_signal_cut_spoils_no_other() -> None:
    file = Broken(1, KeyboardInterrupt())
    told = Events(Log(file.write, pytest.fail), "edit-image")
    with pytest.raises(KeyboardInterrupt):
        told.note("cut")
    told.error("stopped", "interrupted", 130)
    first, _, last = file.data.splitlines()
    assert [json.loads(line)["event"] for line in (first, last)] == ["start", "error"]


def test_a_file_of_events_is_replaced_on_demand_only_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with opened(path, overwrite=False) as file:
        Events(Log(file.write, pytest.fail), "edit-image")
    before = path.read_bytes()
    assert json.loads(before)["event"] == "start"
    with pytest.raises(RequestError, match="--overwrite"):
        opened(path, overwrite=False)
    assert path.read_bytes() == before
    opened(path, overwrite=True).close()
    assert path.read_bytes() == b""
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"a photo")
    for overwrite in (False, True):
        with pytest.raises(RequestError):
            opened(photo, overwrite)
    assert photo.read_bytes() == b"a photo"
    for wrong in (tmp_path, tmp_path / "no" / "folder", Path("\0")):
        with pytest.raises(RequestError):
            opened(wrong, overwrite=True)
    opened(Path(os.devnull), overwrite=False).close()


def test_several_reporters_are_one() -> None:
    class Ear(Silent):
        def __init__(self, stop: bool) -> None:
            self.heard: list[object] = []
            self.stop = stop

        def note(self, text: str) -> None:
            self.heard.append(text)

        warn = note

        def preview(self, path: Path) -> None:
            self.heard.append(path)

        def should_stop(self) -> bool:
            return self.stop

    ears = Ear(False), Ear(True)
    both: Reporter = Both(*ears)
    both.note("a")
    both.warn("b")
    both.preview(Path("c"))
    with both.patience(), both.track() as show:
        show(Tick(0, 1))
    assert [ear.heard for ear in ears] == [["a", "b", Path("c")]] * 2
    assert both.should_stop()
    assert not Both(ears[0]).should_stop()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (T2LError("a"), "failed"),
        (RequestError("a"), "request"),
        (WeightsError("a"), "weights"),
        (DivergedError("a"), "diverged"),
        (KeyboardInterrupt(), "stopped"),
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory"),
        (ImportError("torch"), "installation"),
        (OSError(28, "No space left"), "system"),
        (OSError("of a library"), "bug"),
        (ZeroDivisionError(), "bug"),
    ],
)
def test_every_exception_has_a_code_of_the_registry(error: BaseException, code: str) -> None:
    assert code_of(error) == code
    assert CODES[code].endswith(".")


def test_no_two_errors_share_a_code() -> None:
    kinds = [T2LError, *T2LError.__subclasses__()]
    assert len({kind.code for kind in kinds}) == len(kinds)
