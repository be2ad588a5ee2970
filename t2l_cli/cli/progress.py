"""An iterator of steps, shown while it passes: bars on a terminal, a plain line every 10 % elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

from t2l_cli.cli.terminal import Terminal

if TYPE_CHECKING:
    from t2l_cli.engine.optimize import Step

ESTIMATE_AFTER = 4  # steps; the first one is left out of the rate: it warms caches up
READ_EVERY = 0.5  # s between looks at the loss terms: on an accelerator each look waits for the step to end
PLAIN_PARTS = 10  # lines a run where there is no terminal

_T = TypeVar("_T")

Download = Callable[[int, int | None], None]
"""Told the bytes so far and, where known, the bytes in all."""


class _Display(Protocol):
    """One way to show how far the work is."""

    def show(self, step: Step, pace: Pace) -> None:
        """Show ``step``, which is done."""


class Pace:
    """Steps a second, measured from the end of the first step on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: float | None = None
        self._count = 0
        self.rate: float | None = None  # steps/s; None before the second step

    def tick(self) -> None:
        """Count one step that is done."""
        now = self._clock()
        if self._start is None:
            self._start = now
            return
        self._count += 1
        self.rate = self._count / max(now - self._start, 1e-9)

    def left(self, steps: int) -> float | None:
        """Seconds that ``steps`` more will take."""
        return None if self.rate is None else steps / self.rate

    @property
    def steps(self) -> int:
        """Steps counted so far."""
        return 0 if self._start is None else self._count + 1


def track(steps: Iterator[Step], terminal: Terminal) -> Generator[Step, None, None]:
    """Pass ``steps`` on and show them on stderr; after the first few, say how long all of them will take."""
    pace, n = Pace(), 0
    with _display(terminal) as display:
        for step in steps:
            if step.n != n:  # another part of the work, with a pace of its own
                pace, n = Pace(), step.n
            pace.tick()
            display.show(step, pace)
            if step.note:
                terminal.note(f"note: {step.note}")
            seconds = pace.left(step.n)
            if pace.steps == ESTIMATE_AFTER and seconds is not None:
                terminal.note(f"about {duration(seconds)} for all {step.n} steps")
            yield step


@contextlib.contextmanager
def counted(items: Iterable[_T], n: int, stage: str, terminal: Terminal) -> Iterator[Iterator[_T]]:
    """The ``n`` ``items``, for a loop; how many of them are worked off is shown on stderr."""
    from t2l_cli.engine.losses import Losses
    from t2l_cli.engine.optimize import Step

    pace = Pace()

    def shown() -> Iterator[_T]:
        for i, item in enumerate(items):
            yield item
            pace.tick()
            display.show(Step(i, n, Losses({}), 0.0, stage), pace)

    with _display(terminal) as display:
        yield shown()


@contextlib.contextmanager
def _display(terminal: Terminal) -> Iterator[_Display]:
    if terminal.quiet:
        yield _Silent()
    elif terminal.animated:
        with _Bars(terminal) as bars:
            yield bars
    else:
        yield _Lines(terminal)


class _Silent:
    def show(self, step: Step, pace: Pace) -> None:
        pass


class _Lines:
    """A plain line for every tenth of a stage."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def show(self, step: Step, pace: Pace) -> None:
        done, n = step.i + 1, step.n
        if done * PLAIN_PARTS // n == step.i * PLAIN_PARTS // n:
            return
        stage = f"{step.stage}: " if step.stage else ""
        line = f"{stage}step {done}/{n} ({100 * done // n} %), {_pace(pace, n - done)}, {losses(step)}"
        self._terminal.note(line.rstrip(", "))


class _Bars:
    """A bar with the loss terms below it."""

    def __init__(self, terminal: Terminal) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.text import Text

        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}")
        )
        self._task = self._progress.add_task("editing", total=None, pace="")
        self._terms = Text("", style="dim", no_wrap=True, overflow="ellipsis")
        group = Group(self._progress, self._terms)
        self._live = Live(group, console=terminal.console, refresh_per_second=8, redirect_stdout=False)
        self._read_at = 0.0

    def __enter__(self) -> _Bars:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def show(self, step: Step, pace: Pace) -> None:
        done = step.i + 1
        text = _pace(pace, step.n - done)
        self._progress.update(self._task, description=step.stage or "editing", completed=done, total=step.n, pace=text)
        now = time.monotonic()
        if now - self._read_at >= READ_EVERY or done == step.n:
            self._read_at = now
            self._terms.plain = losses(step)


def _pace(pace: Pace, steps_left: int) -> str:
    seconds = pace.left(steps_left)
    if seconds is None or pace.rate is None:
        return "measuring"
    rate = f"{pace.rate:.2f} steps/s" if pace.rate >= 0.2 else f"{1 / pace.rate:.0f} s/step"
    return f"{rate}, {duration(seconds)} left"


def losses(step: Step) -> str:
    """The total and the terms of ``step`` in a line."""
    terms = step.terms
    if not terms:
        return ""
    return f"loss {sum(terms.values()):.4g}  " + "  ".join(f"{name} {value:.4g}" for name, value in terms.items())


def duration(seconds: float) -> str:
    """``seconds`` for a person: 42 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@contextlib.contextmanager
def download(terminal: Terminal, name: str) -> Iterator[Download]:
    """A function to call with (bytes so far, bytes in all or None), shown as a bar or as plain lines."""
    if terminal.animated:
        from rich import progress

        columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.DownloadColumn())
        speed = (progress.TransferSpeedColumn(), progress.TimeRemainingColumn())
        with progress.Progress(*columns, *speed, console=terminal.console, redirect_stdout=False) as bar:
            task = bar.add_task(f"downloading {name}", total=None, visible=False)
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
    else:
        yield _plain_download(terminal, name)


def _plain_download(terminal: Terminal, name: str) -> Download:
    told = -1

    def tell(done: int, total: int | None) -> None:
        nonlocal told
        part = done * PLAIN_PARTS // total if total else done // 100_000_000
        if part > told:
            told = part
            size = f" of {total / 1e6:.0f}" if total else ""
            terminal.note(f"downloading {name}: {done / 1e6:.0f}{size} MB")

    return tell
