"""A batch: many jobs, one record of what is done, and a second run that goes on where the first one ended."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from t2l_cli.errors import RequestError, StoppedError, T2LError
from t2l_cli.jobs.batch.photos import Photo, find_photos, watch_photos
from t2l_cli.jobs.batch.plan import Decision, Inputs, Names, Planned, decide, plan
from t2l_cli.jobs.batch.results import RESULTS, Entry, Ledger, Stamp, begun_jobs, known_entries, results_file, stamp
from t2l_cli.jobs.batch.rows import Row, Wrong, read_manifest
from t2l_cli.jobs.batch.shards import Shard, parse_shard
from t2l_cli.jobs.batch.work import Here, Outcome, Task, Workers
from t2l_cli.jobs.job import Failure, Result
from t2l_cli.media.atomic import remove_stale, write_atomically
from t2l_cli.media.paths import reason, shown
from t2l_cli.progress import Reporter, Silent, Tick

_Todo = tuple[Planned, Decision]
MOST_LISTED = 20  # failures in the last lines; all of them are in results.jsonl


@dataclass(frozen=True)
class BatchRequest:
    """One batch: plain data. Its jobs are those of ``sources`` or of a ``manifest``."""

    output: str  # the folder of all outputs
    sources: tuple[str, ...] = ()  # photos, folders, patterns
    prompts: tuple[str, ...] = ()
    manifest: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)  # options of edit-image, by name, for all jobs
    run_dirs: str | None = None  # where each job has a run directory
    recursive: bool = False
    each_prompt: bool = False  # a job for each prompt, instead of one for all of them
    name: str | None = None  # template of the outputs' names
    keep_going: bool = False  # leave out what cannot be, and do the rest
    fail_fast: bool = False  # end with the first failure
    overwrite: bool = False
    watch: bool = False  # wait for new photos
    workers: int | None = None
    ray: str | None = None  # a cluster's address, "auto" for the one at hand, "local" for one of this machine's own
    gpus_per_worker: float | None = None
    cpus_per_worker: float | None = None
    threads: int | None = None  # of the CPU, per worker
    ship: bool = False  # send sources and results through Ray, where workers see other files
    shard: str | None = None

    def __post_init__(self) -> None:
        if not self.output:
            raise RequestError("name the folder of the results: -o DIR.")
        if bool(self.sources) == (self.manifest is not None):
            raise RequestError('name photos or a manifest: t2l batch photos/ --prompt "snowy street" -o out.')
        if self.sources and not self.prompts and "config" not in self.values:
            raise RequestError('say what the photos should show: --prompt "snowy street".')
        if self.keep_going and self.fail_fast:
            raise RequestError("--keep-going and --fail-fast exclude each other.")
        if self.ship and not self.on_ray:
            raise RequestError("--ship sends files to Ray's workers: add --ray ADDRESS.")
        if self.ship and (self.run_dirs is not None):
            raise RequestError("--ship brings back the results alone: leave --run-dir out.")
        for option, value in (("--workers", self.workers), ("--threads", self.threads)):
            if value is not None and not 1 <= value <= 100_000:
                raise RequestError(f"{option} must be between 1 and 100000, not {value}.")
        for option, share in (("--gpus-per-worker", self.gpus_per_worker), ("--cpus-per-worker", self.cpus_per_worker)):
            if share is not None and not 0 <= share <= 1000:
                raise RequestError(f"{option} must be between 0 and 1000, not {share}.")
        if self.watch and self.manifest is not None:
            raise RequestError("--watch waits for photos in a folder, not for rows of a manifest.")

    @property
    def on_ray(self) -> bool:
        """Whether other processes do the work."""
        return self.ray is not None or (self.workers or 1) > 1


@dataclass
class Counts:
    """How far a batch is."""

    jobs: int = 0  # in all
    skipped: int = 0  # done by an earlier run
    done: int = 0
    failed: int = 0
    left_out: int = 0  # wrong rows, and jobs that were refused
    failures: dict[Failure, list[str]] = field(default_factory=dict)  # the first ones, and the sources that have them

    def add(self, entry: Entry) -> bool:
        """A job ended. Whether it failed for a reason that was not there before."""
        if entry.error is None:
            self.done += 1
            return False
        self.failed += 1
        fresh = entry.error not in self.failures
        if not fresh or len(self.failures) < MOST_LISTED:
            sources = self.failures.setdefault(entry.error, [])
            if len(sources) < MOST_LISTED:
                sources.append(entry.source)
        return fresh

    def lines(self) -> list[str]:
        """The failures in words."""
        lines = [_said(sources, failure) for failure, sources in self.failures.items()]
        more = self.failed - sum(len(sources) for sources in self.failures.values())
        return [*lines, f"... and {more} more, in {RESULTS}.jsonl"] if more else lines


class Batch:
    """A batch at work. Iterate it for the entries of its jobs as they end, or call ``run()``.

    ``jobs`` is what it would do. Errors are T2LError; a job's own failure is an entry.
    """

    def __init__(
        self, request: BatchRequest, reporter: Reporter | None = None, workers: Callable[[], Workers] | None = None
    ) -> None:
        """workers: who does the work; by default as the request says."""
        self.request = request
        self.reporter: Reporter = reporter or Silent()
        self.folder = Path(request.output)
        self.shard: Shard | None = None if request.shard is None else parse_shard(request.shard)
        self.counts = Counts()
        self._workers = workers or self._chosen_workers
        self._names = Names(request.name)
        self._inputs = Inputs()
        self._wrong = 0  # rows that were left out
        self._seconds = 0.0

    def _chosen_workers(self) -> Workers:
        request = self.request
        if not request.on_ray:
            return Here(request.threads)
        from t2l_cli.jobs.batch.ray_workers import RayWorkers

        gpus = 0.0 if request.values.get("device") == "cpu" else request.gpus_per_worker
        return RayWorkers(request.ray, request.workers, gpus, request.cpus_per_worker, request.threads, request.ship)

    @cached_property
    def jobs(self) -> list[Planned]:
        """All jobs, or those of the shard. RequestError where one cannot be, with a line for each."""
        request = self.request
        if request.run_dirs is not None and not Path(request.run_dirs).parent.is_dir():
            raise RequestError(f"the folder {shown(Path(request.run_dirs).parent)} for --run-dir does not exist.")
        if request.manifest is not None:
            if not Path(request.manifest).is_file():
                raise RequestError(f"there is no file {shown(request.manifest)} for --jobs.")
            rows: Iterable[Row | Wrong] = read_manifest(Path(request.manifest), request.values, request.prompts)
        else:
            rows = map(self._row, find_photos(request.sources, request.recursive, self.folder))
        jobs, wrong = self._planned(rows)
        if not jobs and not wrong and not request.watch:
            raise RequestError(f"there is nothing to do in {', '.join(map(shown, request.sources or ['--jobs']))}.")
        if wrong and request.manifest is None and len({one.what for one in wrong}) == 1:
            raise RequestError(wrong[0].what)  # it is the command line's fault, and not that of a photo
        if wrong:
            self._leave_out(f"{_counted(len(wrong), 'row')} cannot be", [str(one) for one in wrong])
            self._wrong = len(wrong)
        return [job for job in jobs if self._mine(job)]

    def _row(self, photo: Photo) -> Row:
        return Row(
            where=shown(photo.path),
            source=str(photo.path),
            label=photo.path.as_posix(),
            prompts=self.request.prompts,
            folder=photo.folder,
            values=self.request.values,
        )

    def _planned(self, rows: Iterable[Row | Wrong]) -> tuple[list[Planned], list[Wrong]]:
        request = self.request
        jobs, wrong = plan(rows, self._names, self.folder, request.each_prompt)
        if request.run_dirs is not None:
            jobs = [_with_run_dir(job, Path(request.run_dirs)) for job in jobs]
        if request.ship:
            problems = [_unshippable(job) for job in jobs]
            wrong += [Wrong(job.row.where, what) for job, what in zip(jobs, problems, strict=True) if what]
            jobs = [job for job, what in zip(jobs, problems, strict=True) if not what]
        for job in jobs:
            self._inputs.add(job)
        return jobs, wrong

    def _leave_out(self, what: str, lines: list[str], then: str = "") -> None:
        """RequestError for what cannot be; with --keep-going a warning."""
        text = "\n".join([f"{what}; {'left out' if self.request.keep_going else 'nothing was done'}.{then}", *lines])
        if not self.request.keep_going:
            raise RequestError(text)
        for line in text.split("\n"):
            self.reporter.warn(line)

    def preview(self) -> list[tuple[Planned, Decision]]:
        """Each job, and what would be done about it. Nothing is written."""
        known, begun = known_entries(self.folder), begun_jobs(self.folder)
        return [(job, self._decide(job, known, begun)) for job in self.jobs]

    def _decide(self, job: Planned, known: Mapping[str, Entry], begun: set[str]) -> Decision:
        overwrite = self.request.overwrite
        return decide(job, known.get(job.name), job.name in begun, self.folder, overwrite, self._inputs)

    def __iter__(self) -> Iterator[Entry]:
        """Do the jobs that are left; the entry of each as it ends.

        RequestError, before any work, where a job cannot be, where one would replace what is there, or where another
        batch is at work in the folder.
        """
        began = time.monotonic()
        self.counts = Counts()
        if self.request.watch and not any(Path(source).is_dir() for source in self.request.sources):
            raise RequestError("--watch needs a folder of photos to look at.")
        total = len(self.jobs)  # it raises for wrong rows, before a folder is made
        workers = self._workers()  # it raises where Ray is not installed
        _make_folder(self.folder)
        with Ledger(self._results) as ledger:
            todo: list[_Todo] = []
            refused: list[str] = []
            reading: list[str] = []
            for job, decision in self.preview():
                if decision.refused:
                    (reading if decision.state == "input" else refused).append(f"{job.row.where}: {decision.why}")
                elif decision.state != "done":
                    todo.append((job, decision))
            left_out = len(refused) + len(reading)
            self.counts = Counts(total, total - len(todo) - left_out, left_out=self._wrong + left_out)
            if reading:
                what = f"{_counted(len(reading), 'job')} would write over what the batch reads"
                self._leave_out(what, reading, " Choose another --output.")
            if refused:
                what = f"{_counted(len(refused), 'job')} would replace what is there"
                self._leave_out(what, refused, " Add --overwrite, or choose another --output.")
            if self.counts.skipped:
                self.reporter.note(f"{self.counts.skipped} of {_counted(total, 'job')} were done before")
            flying: dict[str, _Todo] = {}
            try:
                if todo or self.request.watch:
                    yield from self._work(todo, ledger, flying, workers)
            finally:
                for name in flying:  # what a worker that was ended could not remove itself
                    remove_stale((self.folder / name).parent)
                self._seconds = round(time.monotonic() - began, 3)

    def _work(self, todo: list[_Todo], ledger: Ledger, flying: dict[str, _Todo], workers: Workers) -> Iterator[Entry]:
        with workers, self.reporter.track() as show:
            show(Tick(self.counts.skipped - 1, self.counts.jobs, unit="jobs"))
            tasks = self._tasks(todo, ledger, flying)
            with contextlib.closing(workers.run(tasks, self.reporter, show)) as outcomes:
                for outcome in outcomes:
                    entry = self._settle(outcome, *flying.pop(outcome.name))
                    ledger.end(entry)
                    if self.counts.add(entry) and entry.error is not None:
                        self.reporter.warn(_said([entry.source], entry.error))
                    ended = self.counts.skipped + self.counts.done + self.counts.failed
                    show(Tick(ended - 1, self.counts.jobs, unit="jobs", job=entry.output))
                    yield entry
                    if entry.error is not None and self.request.fail_fast:
                        return

    def _tasks(self, todo: list[_Todo], ledger: Ledger, flying: dict[str, _Todo]) -> Iterator[Task | None]:
        """The tasks, each noted as begun when it is taken."""
        for one in chain(todo, self._watched(flying) if self.request.watch else ()):
            if one is None:
                yield None
                continue
            job, decision = one
            flying[job.name] = one
            ledger.begin(job.name)
            yield Task.of(job, decision.replace, self.request.ship)

    def _watched(self, flying: Mapping[str, _Todo]) -> Iterator[_Todo | None]:
        """The jobs of photos that are new or changed, or None: there is none right now."""
        request = self.request
        jobs: dict[str, list[Planned]] = {}
        for job in self.jobs:
            jobs.setdefault(job.row.source, []).append(job)
        folders = [Path(source) for source in request.sources if Path(source).is_dir()]
        self.reporter.note(f"waiting for photos in {', '.join(map(shown, folders))}; Ctrl-C ends it")
        for photos in watch_photos(folders, request.recursive, self.folder, set(jobs)):
            if self.reporter.should_stop():
                raise StoppedError
            fresh, wrong = self._planned(self._row(photo) for photo in photos if str(photo.path) not in jobs)
            for job in fresh:
                jobs.setdefault(job.row.source, []).append(job)
            for line in wrong:
                self.counts.left_out += 1
                self.reporter.warn(str(line))
            mine = [job for photo in photos for job in jobs.get(str(photo.path), ()) if self._mine(job)]
            self.counts.jobs += sum(self._mine(job) for job in fresh)
            yield from self._due([job for job in mine if job.name not in flying])
            yield None

    def _due(self, jobs: list[Planned]) -> Iterator[_Todo]:
        """Those that are not done; what would replace something is said and left out."""
        known, begun = (known_entries(self.folder), begun_jobs(self.folder)) if jobs else ({}, set())
        for job in jobs:
            decision = self._decide(job, known, begun)
            if decision.refused:
                then = "" if decision.state == "input" else " --overwrite would replace it."
                self.reporter.warn(f"{job.row.where}: {decision.why}; left out.{then}")
            elif decision.state != "done":
                yield job, decision

    def _mine(self, job: Planned) -> bool:
        return self.shard is None or self.shard.holds(job.name)

    def _settle(self, outcome: Outcome, job: Planned, decision: Decision) -> Entry:
        """The entry of a job that ended; what was shipped is written."""
        files, error = dict(outcome.files), outcome.error
        try:
            for path, data in outcome.shipped.items():
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, data, decision.replace)
                files[path] = stamp(path)
        except T2LError as failure:
            error = Failure(failure.code, str(failure))
        except OSError as failure:
            error = Failure("output", f"could not write {shown(path)}: {reason(failure)}.")
        row = job.row
        return Entry(
            output=job.name,
            status="done" if error is None else "failed",
            command=row.command,
            source=row.source,
            prompts=row.prompts,
            fingerprint=outcome.fingerprint,
            inputs=outcome.inputs,
            files=self._in_folder(files),
            seconds=outcome.seconds,
            ended=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            worker=outcome.worker,
            weights_sha256=outcome.weights_sha256,
            error=error,
        )

    def _in_folder(self, files: Mapping[str, Stamp]) -> dict[str, Stamp]:
        return {Path(path).relative_to(self.folder).as_posix(): found for path, found in files.items()}

    def run(self, tell: Callable[[Entry], None] | None = None) -> Result:
        """Do the jobs that are left; ``tell`` is told of each that ends. KeyboardInterrupt says how far it came."""
        try:
            for entry in self:
                if tell is not None:
                    tell(entry)
        except KeyboardInterrupt as error:
            error.args = (self._interrupted(),)
            raise
        except StoppedError as error:
            raise KeyboardInterrupt(self._interrupted()) from error
        return Result("failed" if self._failure else "done", (), self.record, self._failure)

    def _interrupted(self) -> str:
        counts = self.counts
        done = counts.skipped + counts.done
        return f"interrupted; {done} of {_counted(counts.jobs, 'job')} are done, the same command goes on."

    @property
    def _failure(self) -> Failure | None:
        counts = self.counts
        if not counts.failed and not counts.left_out:
            return None
        parts = [f"{counts.failed} of {_counted(counts.jobs, 'job')} failed"] if counts.failed else []
        parts += [f"{counts.left_out} were left out"] if counts.left_out else []
        again = "; the same command tries them again" if counts.failed else ""
        return Failure("failed", "\n".join([f"{' and '.join(parts)}{again}.", *counts.lines()]))

    def paths(self, entry: Entry) -> list[str]:
        """The paths of the files that a job wrote."""
        return [str(self.folder / name) for name in entry.files]

    @property
    def _results(self) -> Path:
        return results_file(self.folder, None if self.shard is None else self.shard.i)

    @property
    def record(self) -> dict[str, Any]:
        """How far it is, as plain data."""
        counts = self.counts
        return {
            "command": "batch",
            "output": str(self.folder.absolute()),
            "results": str(self._results.absolute()),
            **{name: getattr(counts, name) for name in ("jobs", "skipped", "done", "failed", "left_out")},
            "failures": [
                {"code": failure.code, "message": failure.message, "sources": sources}
                for failure, sources in counts.failures.items()
            ],
            "seconds": self._seconds,
        }


def _with_run_dir(job: Planned, folder: Path) -> Planned:
    if job.request.run_dir is not None:
        return job
    own = str(folder / PurePosixPath(job.name).with_suffix(""))
    return Planned(job.name, dataclasses.replace(job.request, run_dir=own), job.row)


def _unshippable(job: Planned) -> str:
    """Why a job cannot be sent to a worker that sees other files; "" where it can."""
    if job.request.run_dir is not None:
        return "--ship brings back the results alone: leave run_dir out."
    folders = [path for path in job.inputs.values() if Path(path).is_dir()]
    return f"--ship sends files, not the folder {shown(folders[0])}." if folders else ""


def _make_folder(folder: Path) -> None:
    try:
        if not folder.parent.is_dir():
            raise RequestError(f"the folder {shown(folder.parent)} for {shown(folder)} does not exist.")
        if folder.exists() and not folder.is_dir():
            raise RequestError(f"--output {shown(folder)} is a file; name a folder.")
        folder.mkdir(exist_ok=True)
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot write {shown(folder)}: {reason(error)}.") from error


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _said(sources: Sequence[str], failure: Failure) -> str:
    """Why the jobs of ``sources`` failed, in a line."""
    line = failure.message.replace("\n", " ")
    names = ", ".join(shown(source) for source in sources[:3]) + (", ..." if len(sources) > 3 else "")
    return line if names in line else f"{names}: {line}"
