"""What every job has in common: it is asked for by plain data, told to a reporter, and ends in a result.

A request is a frozen dataclass of text, numbers and configurations, so that it can be stored, compared and sent to
another process (``to_json``, ``from_json``). A job carries one out. Nothing here knows a terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from t2l_cli.errors import DivergedError, RequestError, StoppedError, T2LError, code_of
from t2l_cli.jobs.naming import claimed
from t2l_cli.media.paths import STDIO, shown
from t2l_cli.media.records import built, plain
from t2l_cli.progress import Reporter, Silent, Tick, tracked

Status = Literal["done", "interrupted", "failed"]
Ended = Literal["done", "interrupted", "diverged"]  # of a training
_Request = TypeVar("_Request")


@dataclass(frozen=True)
class Failure:
    """Why a job failed: the error's ``code`` (see ``errors``) and its message."""

    code: str
    message: str


@dataclass(frozen=True)
class Result:
    """What a job left behind. An interrupted job wrote what it had; so does one whose training diverged."""

    status: Status
    files: tuple[str, ...]  # paths written; empty where the result went to the standard output
    record: dict[str, Any]  # of the run, as in run.json
    error: Failure | None = None  # of a failed job


def failure_of(error: Exception) -> Failure:
    """Why a job failed, in a line, whatever happened to it."""
    if isinstance(error, T2LError):
        return Failure(error.code, str(error))
    if isinstance(error, MemoryError):
        return Failure("memory", "this machine's memory does not hold the job.")
    return Failure(code_of(error), f"{type(error).__name__}: {error}".split("\n", 1)[0][:500])


def to_json(request: object) -> str:
    """A request, or a result, as JSON."""
    return json.dumps(plain(request))


def from_json(kind: type[_Request], text: str) -> _Request:
    """The request that ``to_json`` wrote; RequestError where the text is not one."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"a {kind.__name__} is written in JSON: {error}.") from error
    return built(kind, data, kind.__name__)


def existing(path: str | None, option: str) -> str | None:
    """``path``, of the file that ``option`` names; RequestError where there is none."""
    if path is not None and not os.path.isfile(path):
        raise RequestError(f"there is no file {shown(path)} for {option}.")
    return path


def absolute(path: str | None) -> str | None:
    """``path`` for a record: absolute; "-" and None stay."""
    return path if path is None or path == STDIO else str(Path(path).absolute())


class Timings:
    """Seconds that the named parts of a run took, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        """The time since the last lap went into ``name``."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._since, 3)
        self._since = now


class Job(ABC):
    """One piece of work. Iterate it for its steps, or call ``run()``; then look at the result, or ``save()`` it.

    ``write()`` does all of that for a request with an output. Errors are T2LError; whatever is to be said goes to the
    ``reporter``, by default to nobody.
    """

    def __init__(self, reporter: Reporter | None) -> None:
        self.reporter: Reporter = reporter or Silent()

    @abstractmethod
    def __iter__(self) -> Iterator[Tick]:
        """The steps. Iterating again goes on where it was left."""

    def run(self) -> Self:
        """Do all steps that are left."""
        for _ in self:
            pass
        return self

    @property
    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What was asked for, what was chosen, and how far the work is: plain data."""

    @abstractmethod
    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the result; RequestError or OutputError where that is not possible."""

    @abstractmethod
    def write(self) -> Result:
        """Do the work that the request asks for, and write its outputs; they are checked first, and claimed."""

    def say_notes(self, notes: tuple[str, ...] | list[str]) -> None:
        """Tell the reporter what was converted or left out."""
        for note in notes:
            self.reporter.note(f"note: {note}")


class Stepless(Job):
    """A job that is done at once, when its result is looked at or written."""

    def __iter__(self) -> Iterator[Tick]:
        """No steps."""
        return iter(())


class Training(Job):
    """A job in steps that has something to keep on its way: an edit, or the fit of an atlas.

    Where the reporter wants to stop, or the training diverges, what there is so far is written.
    """

    advice = "Try another --seed or a lower --lr."  # where it diverges

    def __init__(self, reporter: Reporter | None, output: str, run_dir: str | None) -> None:
        super().__init__(reporter)
        self.output, self.run_dir = Path(output), None if run_dir is None else Path(run_dir)
        self.timings = Timings()
        self.failure: DivergedError | None = None  # what ended the training
        self.finished = False  # whether all steps were taken
        self.written: str | None = None  # the path of the result, once there is one

    @property
    def beside(self) -> list[Path]:
        """The files that are written beside the output."""
        return []

    @abstractmethod
    def check_outputs(self) -> None:
        """RequestError where an output cannot or should not be written."""

    @abstractmethod
    def prepare(self) -> None:
        """Do what comes before the first step, such as reading files and loading networks."""

    @abstractmethod
    def steps(self) -> Iterator[Tick]:
        """The steps that are left."""

    @property
    @abstractmethod
    def has_result(self) -> bool:
        """Whether there is something to keep."""

    @abstractmethod
    def after_step(self, tick: Tick) -> None:
        """Keep what is to be kept of a step, in a run directory or for a later run."""

    @abstractmethod
    def write_outputs(self) -> tuple[str, ...]:
        """Write the result as it is now, and the run directory; the outputs' paths."""

    @property
    def ended(self) -> Ended:
        """How the training ended, for the record: done, interrupted or diverged."""
        if self.failure is not None:
            return "diverged"
        return "done" if self.finished and not self.reporter.should_stop() else "interrupted"

    def __iter__(self) -> Generator[Tick, None, None]:
        """The steps. Iterating again goes on where it was left. DivergedError and DeviceMemoryError end them."""
        self.prepare()
        self.timings.lap("start")
        try:
            with tracked(self.steps(), self.reporter) as steps:
                yield from steps
        except DivergedError as error:
            self.failure = error
            raise
        finally:
            self.timings.lap("optimise")
        self.finished = True

    def write(self) -> Result:
        """Train and write the outputs, however the training ends.

        StoppedError and DivergedError where it ends before there is anything to keep.
        """
        self.check_outputs()
        with claimed(self.output, self.run_dir, self.beside):
            self.prepare()
            with self.reporter.patience():
                self.train()
                files = self.write_outputs()
                record, stopped = self.record, self.reporter.should_stop()
        if self.failure is not None:
            message = f"{self.failure} The result so far is kept. {self.advice}"
            return Result("failed", files, record, Failure(self.failure.code, message))
        return Result("interrupted" if stopped else "done", files, record)

    def train(self) -> None:
        """Take the steps to their end, until the reporter wants to stop, or to a divergence that leaves a result.

        StoppedError and DivergedError where there is none.
        """
        with contextlib.suppress(DivergedError), contextlib.closing(iter(self)) as steps:  # it is kept in ``failure``
            for tick in steps:
                self.after_step(tick)
                if self.reporter.should_stop():
                    break
        if not self.has_result:
            if self.failure is None:
                raise StoppedError
            raise DivergedError(f"{self.failure} There is no result yet. {self.advice}") from self.failure


def need_output(output: str) -> None:
    """RequestError where a job that is to write its result was given no place for it."""
    if not output:
        raise RequestError("there is no output to write to: name one, or use save().")


def need_result(job: Training) -> None:
    """T2LError where nothing is trained yet."""
    if not job.has_result:
        raise T2LError("nothing is there yet: iterate the job for its steps, or call run().")
