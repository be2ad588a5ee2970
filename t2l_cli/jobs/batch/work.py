"""A worker of a batch: it does one job after the other, and keeps CLIP and its texts between them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from t2l_cli.errors import RequestError, StoppedError
from t2l_cli.jobs.batch.plan import Planned
from t2l_cli.jobs.batch.results import Stamp, fingerprint, stamp
from t2l_cli.jobs.batch.rows import PHOTO_COMMAND, Request
from t2l_cli.jobs.job import Failure, Result, failure_of, from_json, to_json
from t2l_cli.jobs.judge import Judges
from t2l_cli.jobs.photo import PhotoJob, PhotoRequest
from t2l_cli.jobs.video import VideoJob
from t2l_cli.jobs.video_request import VideoRequest
from t2l_cli.media.atomic import temporary_folder
from t2l_cli.media.paths import reason, shown
from t2l_cli.progress import Both, Reporter, Show, Silent, Tick


@dataclass(frozen=True)
class Task:
    """A job on its way to a worker: plain data."""

    name: str
    command: str
    request: str  # JSON
    inputs: dict[str, str]  # the paths of its inputs, by what they are
    replace: bool = False  # whether its outputs that are there are replaced
    shipped: dict[str, bytes] | None = None  # the inputs themselves, where the worker cannot open the paths

    @classmethod
    def of(cls, job: Planned, replace: bool, ship: bool) -> Task:
        """The task of a planned job. An input that cannot be read is not shipped: the worker will say why."""
        shipped: dict[str, bytes] = {}
        for what, path in job.inputs.items() if ship else ():
            with contextlib.suppress(OSError):
                shipped[what] = Path(path).read_bytes()
        return cls(job.name, job.row.command, to_json(job.request), job.inputs, replace, shipped if ship else None)


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    name: str
    fingerprint: str = ""
    inputs: dict[str, Stamp] = field(default_factory=dict)
    files: dict[str, Stamp] = field(default_factory=dict)  # by path
    shipped: dict[str, bytes] = field(default_factory=dict)  # by path: files for whoever gave the task to write
    seconds: float = 0.0
    worker: str = ""
    weights_sha256: tuple[str, ...] = ()  # of each CLIP
    error: Failure | None = None


class Workers(Protocol):
    """Who does the jobs of a batch."""

    def __enter__(self) -> Workers: ...

    def __exit__(self, *error: Any) -> None: ...

    def run(self, tasks: Iterable[Task | None], reporter: Reporter, show: Show) -> Generator[Outcome, None, None]:
        """Do ``tasks``, and yield what becomes of each as it ends. Tasks are taken when somebody is free for them.

        None among the tasks: nothing is there to do right now. ``show`` is told how far the jobs are.
        """


class Here:
    """This process does the jobs, one after the other."""

    def __init__(self, threads: int | None = None) -> None:
        self._desk = Desk(threads)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: Any) -> None:
        """Nothing is left running."""

    def run(self, tasks: Iterable[Task | None], reporter: Reporter, show: Show) -> Generator[Outcome, None, None]:
        """See :class:`Workers`."""
        for task in tasks:
            if task is not None:
                yield self._desk.do(task, JobReporter(task.name, show, reporter.warn, reporter.should_stop))


class JobReporter(Silent):
    """The reporter of one of many jobs: it leaves notes unsaid, and a wish to stop ends the job without a result."""

    def __init__(self, name: str, show: Show, warn: Callable[[str], None], should_stop: Callable[[], bool]) -> None:
        self._name, self._show, self._warn, self._should_stop = name, show, warn, should_stop

    def warn(self, text: str) -> None:
        """Say it with the job's name."""
        self._warn(f"{shown(self._name)}: {text}")

    def track(self) -> AbstractContextManager[Show]:
        """Ticks bear the job's name."""
        return nullcontext(self._tell)

    def _tell(self, tick: Tick) -> None:
        self._show(dataclasses.replace(tick, job=self._name))

    def should_stop(self) -> bool:
        """StoppedError where the batch is to stop: what is half done is done again by the next one."""
        if self._should_stop():
            raise StoppedError
        return False


class Desk:
    """Does jobs, and keeps what the next one can use: CLIP by name, weights, device and precision."""

    def __init__(self, threads: int | None = None) -> None:
        """threads: of the CPU, for each job; None: as torch has it."""
        self._threads = threads
        self._judges = Judges()
        self.who = f"{platform.node()}:{os.getpid()}"

    def do(self, task: Task, reporter: Reporter) -> Outcome:
        """Do a task. Its failure is an outcome; StoppedError where the reporter wants to stop."""
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            outcome = self._outcome(task, reporter, stack)
        return dataclasses.replace(outcome, seconds=round(time.monotonic() - began, 3), worker=self.who)

    def _outcome(self, task: Task, reporter: Reporter, stack: contextlib.ExitStack) -> Outcome:
        outcome, names = Outcome(task.name), _Renamed()
        own: list[str] = []  # outputs whose files are this job's, also where it fails
        try:
            kind: Any = PhotoRequest if task.command == PHOTO_COMMAND else VideoRequest
            request: Request = dataclasses.replace(from_json(kind, task.request), overwrite=task.replace)
            paths = task.inputs
            if task.shipped is not None:
                folder = stack.enter_context(temporary_folder())
                request, paths = names.unpack(task, request, folder)
                reporter = _Mending(names, reporter)
            inputs = {what: _stamped(path) for what, path in paths.items()}
            outcome = dataclasses.replace(outcome, inputs=inputs, fingerprint=fingerprint(request, inputs))
            _make_room(request)
            if task.shipped is None:
                own = [path for path in request.outputs if task.replace or not os.path.lexists(path)]
            if self._threads is not None:
                from t2l_cli.engine.runtime import threads

                stack.enter_context(threads(self._threads))
            result, weights = self._write(request, reporter)
            outcome = dataclasses.replace(outcome, weights_sha256=weights, error=result.error)
            if task.shipped is None:
                return dataclasses.replace(outcome, files={file: _stamped(file) for file in result.files})
            return dataclasses.replace(outcome, shipped=names.read(result.files))
        except StoppedError:
            raise
        except Exception as error:  # whatever it is, it is this job's, and the others go on
            failure = failure_of(error)
            failure = dataclasses.replace(failure, message=names.mended(failure.message))
            files: dict[str, Stamp] = {}  # such as the painted layers of a video that could not be written
            for path in own:
                with contextlib.suppress(OSError):
                    files[path] = stamp(path)
            return dataclasses.replace(outcome, error=failure, files=files, shipped=names.left())

    def _write(self, request: Request, reporter: Reporter) -> tuple[Result, tuple[str, ...]]:
        """Do the work; the result, and the SHA-256 of each CLIP's weights."""
        job: PhotoJob | VideoJob
        if isinstance(request, PhotoRequest):
            job = PhotoJob(request, reporter, load=self._judges.of)
        else:
            job = VideoJob(request, reporter, self._judges.of)
        return job.write(), job.judge.weights_sha256


def _stamped(path: str) -> Stamp:
    try:
        return stamp(path)
    except OSError as error:
        raise RequestError(f"cannot read {shown(path)}: {reason(error)}.") from error


def _make_room(request: Request) -> None:
    """Make the folders that the outputs go into."""
    try:
        Path(request.output).parent.mkdir(parents=True, exist_ok=True)
        if request.run_dir is not None:
            Path(request.run_dir).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write {shown(request.output)}: {reason(error)}.") from error


class _Renamed:
    """The paths of shipped files: where they lie for this job, and what they are called in the batch."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}  # here -> in the batch
        self._outputs: tuple[Path, Path] | None = None  # the folder of the outputs here, and the one in the batch

    def unpack(self, task: Task, request: Request, folder: Path) -> tuple[Request, dict[str, str]]:
        """Write the shipped inputs into ``folder``; the request with their paths, and the paths."""
        paths = dict(task.inputs)
        for what, data in (task.shipped or {}).items():
            path = folder / what / Path(task.inputs[what]).name
            path.parent.mkdir()
            path.write_bytes(data)
            paths[what] = str(path)
            self._first[str(path)] = task.inputs[what]
        (folder / "output").mkdir()
        output = folder / "output" / Path(request.output).name
        self._outputs = output.parent, Path(request.output).parent
        self._first[str(output.parent)] = str(Path(request.output).parent)
        changes: dict[str, Any] = {what: paths[what] for what in paths if hasattr(request, what)}
        if isinstance(request, VideoRequest):
            changes["fit"] = dataclasses.replace(request.fit, source=paths["source"], mask=paths.get("mask"))
        return dataclasses.replace(request, output=str(output), overwrite=False, run_dir=None, **changes), paths

    def read(self, files: Iterable[str | Path]) -> dict[str, bytes]:
        """The outputs ``files`` by the batch's names for them."""
        _, there = self._outputs or (None, Path())
        return {str(there / Path(file).name): Path(file).read_bytes() for file in files}

    def left(self) -> dict[str, bytes]:
        """What a shipped job that failed left, such as painted layers, by the batch's names."""
        with contextlib.suppress(OSError):
            return self.read(sorted(self._outputs[0].iterdir())) if self._outputs else {}
        return {}

    def mended(self, text: str) -> str:
        """A message with the batch's names for paths."""
        for here, there in self._first.items():
            text = text.replace(shown(here), shown(there))
        return text


class _Mending(Both):
    """Tells a reporter of a shipped job's warnings, with the batch's names for paths."""

    def __init__(self, names: _Renamed, reporter: Reporter) -> None:
        super().__init__(reporter)
        self._names = names

    def warn(self, text: str) -> None:
        super().warn(self._names.mended(text))
