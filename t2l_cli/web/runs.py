"""The trainings of the studio: one at a time, while the others wait; all are kept in the studio's folder.

A run called 0003-red-cup is the picture 0003-red-cup.png, or a video, and beside it a run directory of that name, as
`t2l edit-image -o 0003-red-cup.png --run-dir 0003-red-cup` makes them. Nothing here knows the page.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import t2l_cli
from t2l_cli.config import EditConfig
from t2l_cli.errors import RequestError, StoppedError
from t2l_cli.jobs.earlier import read_run
from t2l_cli.jobs.job import failure_of
from t2l_cli.jobs.judge import Judges
from t2l_cli.jobs.naming import cut, slug
from t2l_cli.jobs.photo import PhotoJob
from t2l_cli.jobs.preview import Preview
from t2l_cli.jobs.report.collect import Edit, collect
from t2l_cli.jobs.video import VideoJob
from t2l_cli.media.compositing import Bytes
from t2l_cli.progress import Both, Pace, Show, Silent, Tick, duration

if TYPE_CHECKING:
    from t2l_cli.web.sources import Source

State = Literal["waiting", "working", "done", "interrupted", "failed"]
MOST_NOTES = 30  # of a run, that are kept to be shown
LONGEST_NAME = 60  # bytes of the prompt in a run's name
_NUMBER = re.compile(r"(\d{4,})-")


@dataclass
class Run(Silent):
    """A training as the page sees it; the training's thread is the one that changes it."""

    name: str
    prompts: tuple[str, ...]
    seed: int
    video: bool
    state: State = "waiting"
    about: str = ""  # what it is doing, or why it failed
    notes: list[str] = field(default_factory=list)
    look: Bytes | None = None  # the work as it was a moment ago, (H, W, 3)
    version: int = 0  # grows with each change that can be seen
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in ("waiting", "working")

    def stop(self) -> None:
        """Ask for the end; what there is so far is kept."""
        self._stop.set()

    def become(self, state: State, about: str = "") -> None:
        """Change the state."""
        self.state, self.about = state, about
        self.version += 1

    def note(self, text: str) -> None:
        """Keep it for the page."""
        self.notes = [*self.notes, text][-MOST_NOTES:]
        self.version += 1

    def warn(self, text: str) -> None:
        """The same as a note."""
        self.note(text)

    def should_stop(self) -> bool:
        """Whether somebody asked for the end."""
        return self._stop.is_set()

    @contextmanager
    def track(self) -> Iterator[Show]:
        """Say how far the work is."""
        pace, last = Pace(), 0

        def show(tick: Tick) -> None:
            nonlocal pace, last
            if tick.i < last:  # another part of the work
                pace = Pace()
            last = tick.i
            pace.tick(tick.i)
            self.about = _in_words(tick, pace)
            self.version += 1

        yield show


def _in_words(tick: Tick, pace: Pace) -> str:
    left = pace.left(tick.n - tick.i - 1) if tick.n else None
    parts = [
        f"{tick.stage}: " if tick.stage else "",
        f"{tick.i + 1:,} of {tick.n:,} {tick.unit}" if tick.n else f"{tick.i + 1:,} {tick.unit}",
        "" if left is None else f", {duration(left)} left",
    ]
    return "".join(parts)


class _Looks(Preview):
    """Keeps the last picture that a training offered."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.warn)
        self._run = run

    def show(self, picture: Bytes) -> None:
        """Keep ``picture``."""
        self._run.look = picture
        self._run.version += 1


class Runs:
    """The runs of a folder: those of this session, and those that were there before."""

    def __init__(self, folder: Path, offline: bool = False) -> None:
        self.folder = folder
        self._offline = offline
        self._threads = ThreadPoolExecutor(1, "t2l-training")
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}  # of this session
        self._judges = Judges(failures=False)

    def add(self, source: Source, prompts: Sequence[str], seed: int, **asked: Any) -> Run:
        """Put an edit of the ``source`` into the queue. T2LError and TypeError, at once, for what cannot be.

        asked: more keywords of ``edit_image``, or for a video of ``edit_video``.
        """
        if not prompts:
            raise RequestError("say what it should show.")
        with self._lock:
            run = Run(self._new_name(prompts[0]), tuple(prompts), seed, source.video)
            edit: Any = t2l_cli.edit_video if source.video else t2l_cli.edit_image
            job: PhotoJob | VideoJob = edit(
                source.path,
                prompts,
                seed=seed,
                offline=self._offline,
                output=self.folder / f"{run.name}{'.mp4' if source.video else '.png'}",
                run_dir=self.folder / run.name,
                judge=self._judges,
                reporter=Both(run, _Looks(run)),
                **asked,
            )
            self._runs[run.name] = run
        self._threads.submit(self._work, run, job)
        return run

    def _new_name(self, prompt: str) -> str:
        names = [*self._runs, *(path.name for path in self.folder.iterdir())]
        numbers = [int(found[1]) for name in names if (found := _NUMBER.match(name))]
        return f"{max(numbers, default=0) + 1:04}-{cut(slug(prompt), LONGEST_NAME)}"

    def _work(self, run: Run, job: PhotoJob | VideoJob) -> None:
        if run.should_stop():
            run.become("interrupted", "stopped before it began")
            return
        run.become("working", "getting ready")
        try:
            result = job.write()
        except StoppedError:
            run.become("interrupted", "stopped before there was anything to keep")
        except Exception as error:  # whatever it is, it is this run's, and the page goes on
            run.become("failed", failure_of(error).message)
        else:
            run.become(result.status, "" if result.error is None else result.error.message)

    def get(self, name: str) -> Run | None:
        """The run of this session with this name."""
        return self._runs.get(name)

    def stop(self, name: str) -> None:
        """End the run ``name`` if it goes on or waits."""
        run = self.get(name)
        if run is not None:
            run.stop()
            if run.state == "waiting":
                run.about = "will not begin"
                run.version += 1

    @property
    def queue(self) -> list[Run]:
        """The run at work and those that wait for it, in their order."""
        return [run for run in self._runs.values() if not run.ended]

    @property
    def names(self) -> list[str]:
        """All runs, the newest first: of this session, and what the folder holds of earlier ones."""
        kept = (path.parent.name for path in self.folder.glob("*/run.json"))
        return sorted({*self._runs, *(name for name in kept if _NUMBER.match(name))}, key=_number, reverse=True)

    def edit(self, name: str) -> Edit | None:
        """What is known of a run that left a result; None where it has not."""
        record = self.folder / name / "run.json"
        if not _NUMBER.match(name) or Path(name).name != name or not record.is_file():
            return None
        return _edit(record, record.stat().st_mtime_ns)

    def config(self, name: str) -> tuple[EditConfig, str]:
        """The configuration of a run that left a result, and the frames of its video ("a:b", or "").

        RequestError where its record is broken.
        """
        earlier = read_run(self.folder / name / "run.json")
        assert earlier.config is not None
        return earlier.config, earlier.excerpt or ""

    def close(self) -> None:
        """Stop everything, and wait until what there is so far is kept."""
        for run in self.queue:
            run.stop()
        self._threads.shutdown()


@lru_cache(maxsize=256)  # each look at a record takes the checksum of its source
def _edit(record: Path, written: int) -> Edit | None:
    try:
        return collect([str(record)])[0]
    except RequestError:  # it is broken
        return None


def _number(name: str) -> tuple[int, str]:
    found = _NUMBER.match(name)
    return (int(found[1]) if found else 0), name
