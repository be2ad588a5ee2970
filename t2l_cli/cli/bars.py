"""What is done, shown while it grows: bars on a terminal, a plain line every 10 % elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from t2l_cli.media.paths import shown
from t2l_cli.progress import Pace, Tick, duration

if TYPE_CHECKING:
    from rich.console import Console

    from t2l_cli.cli.pictures import Picture
    from t2l_cli.media.compositing import Bytes

ESTIMATE_AFTER = 4  # steps; the first one is left out of the rate: it warms caches up
READ_EVERY = 0.5  # s between looks at the loss terms: on an accelerator each look waits for the step to end
PICTURES_PER_SECOND = 1  # refreshes of the screen with a picture on it: each sends it again
PLAIN_PARTS = 10  # lines per stage where there is no terminal
PLAIN_SECONDS = 60.0  # s after which a batch says where it is, though no tenth of it is done
PLAIN_BYTES = 100_000_000  # bytes per line of a download of unknown size


class Display(Protocol):
    """One way to show how far the work is."""

    def show(self, tick: Tick, pace: Pace) -> None:
        """Show ``tick``, which is done."""

    def close(self) -> None:
        """Take down what is still on the screen."""


class Track:
    """Shows one track of ticks on a display; after the first few steps it says how long all of them will take.

    A batch's jobs share one track, and each has a pace of its own.
    """

    def __init__(self, display: Display, say: Callable[[str], None]) -> None:
        self._display, self._say = display, say
        self._paces: dict[str, tuple[Pace, Tick]] = {}  # job -> its pace, and its last tick

    def __call__(self, tick: Tick) -> None:
        """Show ``tick``."""
        job = "" if tick.unit == "jobs" else tick.job
        pace, last = self._paces.get(job, (Pace(), tick))
        if tick.n != last.n or tick.i < last.i:  # another part of the work, with a pace of its own
            pace = Pace()
        self._paces[job] = pace, tick
        pace.tick(tick.i)
        self._display.show(tick, pace)
        if tick.unit == "jobs":
            self._paces.pop(tick.job, None)
        if tick.job:
            return
        if tick.note:
            self._say(f"note: {tick.note}")
        seconds = pace.left(tick.n)
        if tick.unit == "steps" and pace.ticks == ESTIMATE_AFTER and seconds is not None:
            self._say(f"about {duration(seconds)} for all {tick.n} steps")


class Nothing:
    """Shows nothing."""

    def show(self, tick: Tick, pace: Pace) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Lines:
    """A plain line for every tenth of a stage; of a batch also every minute, and none for the steps of its jobs."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told: dict[str, int] = {}
        self._said_at = time.monotonic()

    def show(self, tick: Tick, pace: Pace) -> None:
        """A line, where another tenth is done."""
        if tick.job and tick.unit not in ("jobs", "bytes"):
            return
        done = tick.i + 1
        part = done * PLAIN_PARTS // tick.n if tick.n else done // PLAIN_BYTES
        before, self._told[tick.stage] = self._told.get(tick.stage, 0 if tick.n else -1), part
        now = time.monotonic()
        if part == before and not (tick.unit == "jobs" and now - self._said_at >= PLAIN_SECONDS):
            return
        self._said_at = now
        stage = f"{tick.stage}: " if tick.stage else ""
        share = f" ({100 * done // tick.n} %)" if tick.n else ""
        line = f"{stage}{_count(tick)}{share}, {_pace(pace, tick)}, {losses(tick)}"
        self._say(line.rstrip(", "))

    def close(self) -> None:
        """Nothing is left to take down."""


class Bars:
    """A bar with the loss terms below it. Of a batch: a bar for all jobs, and one for each job in work."""

    def __init__(self, console: Console, picture: Picture | None = None) -> None:
        """picture: what is below, where there is one."""
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TaskID, TextColumn
        from rich.text import Text

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[pace]}"),
        )
        self._rows: dict[str, TaskID] = {}  # job -> its bar
        self._terms = Text("", style="dim", no_wrap=True, overflow="ellipsis")
        self._console = console
        self._picture = picture
        group = Group(self._progress, self._terms, *([] if picture is None else [picture]))
        often = 8 if picture is None else PICTURES_PER_SECOND
        self._live = Live(group, console=console, refresh_per_second=often, redirect_stdout=False)
        self._read_at = 0.0

    def show(self, tick: Tick, pace: Pace) -> None:
        """Move the bar, which appears with the first tick; the loss terms follow twice a second."""
        if not self._live.is_started:  # starting waits for a terminal that is slow to take the last picture
            self._live.start()
        done = tick.i + 1
        job = "" if tick.unit == "jobs" else tick.job
        if job not in self._rows:
            self._rows[job] = self._progress.add_task("", total=None, count="", pace="")
        what = printable_name(tick.job) if job else "all" if tick.unit == "jobs" else "editing"
        self._progress.update(
            self._rows[job],
            description=" ".join(filter(None, (what if job else "", tick.stage))) or what,
            completed=done,
            total=tick.n or None,
            count=_count(tick),
            pace=_pace(pace, tick),
        )
        if tick.unit == "jobs" and (ended := self._rows.pop(tick.job, None)) is not None:
            self._progress.remove_task(ended)
        now = time.monotonic()
        if not tick.job and (now - self._read_at >= READ_EVERY or done == tick.n):
            self._read_at = now
            self._terms.plain = losses(tick)

    def draw(self, picture: Bytes) -> None:
        """Draw ``picture`` (H, W, 3), uint8, below; the screen shows it when it is next refreshed."""
        if self._picture is not None:
            self._picture.draw(picture, self._console)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._live.stop()


NAME_WIDTH = 32  # characters of a job's name beside its bar


def printable_name(name: str) -> str:
    """A job's name in a few characters that can be printed."""
    name = shown(name)
    return name if len(name) <= NAME_WIDTH else f"...{name[3 - NAME_WIDTH :]}"


def _count(tick: Tick) -> str:
    """How much is done of how much: step 3/10, frame 3/10, 12.3 of 600.0 MB."""
    done = tick.i + 1
    if tick.unit == "bytes":
        return f"{done / 1e6:.0f} of {tick.n / 1e6:.0f} MB" if tick.n else f"{done / 1e6:.0f} MB"
    return f"{tick.unit[:-1]} {done}/{tick.n}"


def _pace(pace: Pace, tick: Tick) -> str:
    seconds = pace.left(tick.n - tick.i - 1) if tick.n else None
    if pace.rate is None or (tick.n and seconds is None):
        return "measuring"
    if tick.unit == "bytes":
        rate = f"{pace.rate / 1e6:.1f} MB/s"
    else:
        rate = f"{pace.rate:.2f} {tick.unit}/s" if pace.rate >= 0.2 else f"{1 / pace.rate:.0f} s/{tick.unit[:-1]}"
    return rate if seconds is None else f"{rate}, {duration(seconds)} left"


def losses(tick: Tick) -> str:
    """The total and the terms of the loss in a line; empty where the work has none."""
    terms = tick.terms
    if not terms:
        return ""
    return f"loss {sum(terms.values()):.4g}  " + "  ".join(f"{name} {value:.4g}" for name, value in terms.items())
