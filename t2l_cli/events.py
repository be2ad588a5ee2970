"""What happens to a job, as lines of JSON for other programs: a reporter that writes events.

    {"event": "start", "job": "5f0c...", "time": "2026-11-26T16:16:08.123456Z", "command": "edit-image", "t2l": "0.2.0"}
    {"event": "step", ..., "stage": "", "done": 1, "total": 80, "unit": "steps", "losses": {"screen": 0.31}}
    {"event": "result", ..., "status": "done", "files": ["out.png"], "record": {...}, "error": null}

The last line is the result or the error. `t2l schema event` prints the JSON Schema, which is made of the classes here.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec

import t2l_cli
from t2l_cli.errors import RequestError
from t2l_cli.jobs.job import Failure, Status
from t2l_cli.jobs.job import Result as JobResult
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.records import plain
from t2l_cli.progress import Show, Silent, Tick, Unit

EVERY = 0.25  # s between two steps; a stage's last step, and the end of a batch's job, are always told
_FIRST = b'{"event": "start"'


class Event(msgspec.Struct, tag_field="event"):
    """What every line has. job: the same on every line of one job. time: in UTC."""

    job: str
    time: Annotated[datetime, msgspec.Meta(tz=True)]


class Start(Event, tag="start"):
    """A job begins. t2l: the program's version."""

    command: str
    t2l: str


class Step(Event, tag="step"):
    """So many of ``total`` (null: unknown) steps, frames, bytes or jobs are ``done``. losses: null where not finite.

    of: in a batch, the output of the job that this is about; such a step of unit "jobs" says that the job ended.
    """

    stage: str
    done: int
    total: int | None
    unit: Unit
    losses: dict[str, float | None]
    of: str = ""


class Preview(Event, tag="preview"):
    """A picture of the work so far was written."""

    path: str


class Note(Event, tag="note"):
    """Something to know, in words for a person."""

    text: str


class Warning(Event, tag="warning"):
    """Something that should be seen, in words for a person."""

    text: str


class Result(Event, tag="result"):
    """The last line of a job that left something: files, and the record of the run. error: of a failed one."""

    status: Status
    files: list[str]
    record: dict[str, Any]
    error: Failure | None


class Error(Event, tag="error"):
    """The last line of a job that left nothing. code: one of ``errors.CODES``. exit_code: the program's."""

    code: str
    message: str
    exit_code: int


AnyEvent = Start | Step | Preview | Note | Warning | Result | Error


class Events(Silent):
    """Writes the events of one job. What happens after its result or error is not told."""

    def __init__(self, log: Log, command: str, job: str | None = None) -> None:
        """command: for the start. job: its id; None: a new one."""
        self._log, self._job, self._ended = log, job or uuid.uuid4().hex, False
        self._tell(Start, command=command, t2l=t2l_cli.__version__)

    def note(self, text: str) -> None:
        """Tell a note."""
        self._tell(Note, text=text)

    def warn(self, text: str) -> None:
        """Tell a warning."""
        self._tell(Warning, text=text)

    def preview(self, path: Path) -> None:
        """Tell of a picture of the work so far."""
        self._tell(Preview, path=str(path))

    @contextlib.contextmanager
    def track(self) -> Iterator[Show]:
        """Tell steps, at most one per ``EVERY`` seconds, and the last one."""
        told, untold = -math.inf, None

        def show(tick: Tick) -> None:
            nonlocal told, untold
            if tick.note:
                self.note(tick.note)
            now = time.monotonic()
            untold = tick
            if now - told >= EVERY or tick.i + 1 == tick.n or tick.unit == "jobs":
                self._step(tick)
                told, untold = now, None

        try:
            yield show
        finally:
            if untold is not None:
                self._step(untold)

    def result(self, result: JobResult) -> None:
        """Tell the end of a job that left a result."""
        parts = {"status": result.status, "files": list(result.files), "record": result.record, "error": result.error}
        self._tell(Result, **parts)
        self._ended = True

    def error(self, code: str, message: str, exit_code: int) -> None:
        """Tell the end of a job that left none."""
        self._tell(Error, code=code, message=message, exit_code=exit_code)
        self._ended = True

    def _step(self, tick: Tick) -> None:
        parts = {"stage": tick.stage, "done": tick.i + 1, "total": tick.n or None, "unit": tick.unit}
        self._tell(Step, **parts, losses=dict(tick.terms), of=tick.job)

    def _tell(self, kind: Callable[..., Event], **parts: Any) -> None:
        if not self._ended:
            event = kind(job=self._job, time=datetime.now(UTC), **parts)
            self._log.write(json.dumps(plain(event)).encode() + b"\n")


class Log:
    """Where the lines go. From the first one on that cannot be written there are no more; the work goes on."""

    def __init__(self, write: Callable[[memoryview], int | None], lost: Callable[[OSError], None]) -> None:
        """write: of an unbuffered file. lost: told why there are no more lines."""
        self._write, self._lost = write, lost
        self._open = True
        self._whole = True  # whether the last line was written to its end: a signal can cut it

    def write(self, line: bytes) -> None:
        """Write ``line``, which ends in a line break."""
        if not self._open:
            return
        rest = memoryview(line if self._whole else b"\n" + line)
        self._whole = False
        try:
            while rest:
                count = self._write(rest)
                if count is None:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                rest = rest[count:]
        except OSError as error:
            self._open = False
            self._lost(error)
        self._whole = True


def opened(path: Path, overwrite: bool) -> BinaryIO:
    """The file for events, unbuffered, empty; pipes and devices are written to.

    RequestError where it cannot be written, or exists: with ``overwrite`` only older events are replaced.
    """
    try:
        if path.exists() and stat.S_ISREG(path.stat().st_mode):
            if not overwrite:
                raise RequestError(f"{shown(path)} exists; choose another file for --events or add --overwrite.")
            with path.open("rb") as file:
                if file.read(len(_FIRST)) not in (b"", _FIRST):
                    raise RequestError(f"{shown(path)} holds no events and is left as it is; choose another file.")
        return path.open("wb", buffering=0)
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot write the events to {shown(path)}: {reason(error)}.") from error
