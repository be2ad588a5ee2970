"""Parts of a benchmark, each in a process of its own with a time limit: what one part breaks, the next does not meet.

A part is a function that yields rows. Every row reaches the report at once, so that nothing is lost when a part fails
or runs out of time. This module does not import torch: a process that has used CUDA cannot be forked.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

GRACE = 1.25  # a part stops itself when its time is used; so many times later it is ended
CLOSING = 10.0  # s that a part which is done has to leave by itself
LOOK = 0.2  # s between two looks whether a part still lives
ERROR = "error"  # title of what a row says instead of figures, where a part goes on without them

Value = float | int | str | None


@dataclass(frozen=True)
class Row:
    """One line of a part's table: its name, and figures by their titles, which say the unit.

    A later row of the same name takes the place of an earlier one.
    """

    name: str
    figures: dict[str, Value]


@dataclass(frozen=True)
class Task:
    """What a part is asked for: ``sizes`` of the work, the device's name, when to stop, where to put pictures.

    video: the generated video that is drawn beside the other parts. start: how a part's process begins; "fork" has
    everything imported already, "spawn" also works where something in the parent has used CUDA.
    """

    sizes: Any
    device: str
    until: float  # of time.monotonic()
    folder: Path
    video: Path | None = None
    start: str = "fork"

    def left(self) -> float:
        """Seconds that the part has left."""
        return self.until - time.monotonic()


@dataclass(frozen=True)
class Part:
    """A part by its name, its title, its function as "module:function", its share of the time, and what is asked of it.

    asked: by the titles of the figures.
    """

    name: str
    title: str
    function: str
    share: float
    asked: dict[str, Value] = field(default_factory=dict)

    def load(self) -> Callable[[Task], Iterator[Row]]:
        """The function; ImportError where a package that it needs is not here."""
        module, _, name = self.function.partition(":")
        function: Callable[[Task], Iterator[Row]] = getattr(importlib.import_module(module), name)
        return function


@dataclass
class Outcome:
    """What came of a part. status: waiting, running, done, failed, out of time, cannot run."""

    part: Part
    status: str = "waiting"
    error: str = ""
    seconds: float = 0.0
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether nothing in it failed; it may have been too long for its time."""
        return self.status != "failed" and not any(ERROR in row.figures for row in self.rows.values())


def can_load(part: Part) -> str:
    """What keeps ``part`` from being run here, "" for nothing. It imports what the part needs."""
    try:
        part.load()
    except Exception as error:  # a package may be here and broken
        return str(error) or type(error).__name__
    return ""


def run_all(outcomes: list[Outcome], task: Task, on_news: Callable[[Outcome, Row | None], None]) -> None:
    """Run all parts that wait, one after the other, until ``task.until``.

    What time is left is shared by what is left of the parts, so what one saves serves the others. ``on_news`` is told
    when a part begins, of every row, and when the part ends (without a row).
    """
    for i, outcome in enumerate(outcomes):
        if outcome.status != "waiting":
            continue
        left = task.left()
        shares = sum(other.part.share for other in outcomes[i:] if other.status == "waiting")
        own = left * outcome.part.share / shares
        if left <= 0:
            outcome.status = "out of time"
            on_news(outcome, None)
            continue
        start = time.monotonic()
        outcome.status = "running"
        on_news(outcome, None)
        until = min(start + own * GRACE, task.until)
        _run(outcome, replace(task, until=start + own), until, on_news)
        outcome.seconds = time.monotonic() - start
        on_news(outcome, None)


def _run(outcome: Outcome, task: Task, until: float, on_news: Callable[[Outcome, Row | None], None]) -> None:
    context: Any = multiprocessing.get_context(task.start)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(outcome.part, task, sender))
    process.start()
    sender.close()
    try:
        for message in _messages(receiver, process, until):
            if isinstance(message, Row):
                outcome.rows[message.name] = message
                on_news(outcome, message)
            else:
                outcome.status, outcome.error = message
    finally:
        end(process, CLOSING if outcome.status == "done" else 0.0)


def _messages(receiver: Connection, process: BaseProcess, until: float) -> Iterator[Row | tuple[str, str]]:
    """The rows of ``process``, and at last its status with an error."""
    while time.monotonic() < until:
        living = process.is_alive()  # before the look: what it said last is still read
        if not receiver.poll(min(LOOK, max(0.0, until - time.monotonic()))):
            if not living:
                break
            continue
        try:
            message = receiver.recv()
        except EOFError:
            break
        yield message
        if not isinstance(message, Row):
            return
    else:
        yield "out of time", "ended when its time was used"
        return
    process.join(CLOSING)
    yield "failed", f"the process ended with exit code {process.exitcode}"


def _work(part: Part, task: Task, sender: Connection) -> None:
    """In the part's own process: send its rows, then its status."""
    os.setsid()  # a group of its own: what the part starts is ended with it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        for row in part.load()(task):
            sender.send(row)
        sender.send(("done", ""))
    except Exception as error:
        traceback.print_exc()
        sender.send(("failed", f"{type(error).__name__}: {error}"))
    sys.stdout.flush()
    sys.stderr.flush()


def end(process: BaseProcess, patience: float = 0.0) -> None:
    """End ``process`` and all that it started, after ``patience`` seconds in which it may leave by itself."""
    assert process.pid, "it was started"
    process.join(patience)
    process.kill()
    with contextlib.suppress(ProcessLookupError):  # no such group: it has left nothing
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


def in_background(work: Callable[..., None], *args: object) -> BaseProcess:
    """Start ``work`` in a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=_alone, args=(work, args))
    process.start()
    return process


def _alone(work: Callable[..., None], args: tuple[object, ...]) -> None:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    work(*args)
