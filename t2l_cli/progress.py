"""How work tells of itself: ticks of what is done, and the reporter who hears of it.

The same protocol serves training, downloads and anything that is counted, whoever asked for the work: a terminal, a
batch, a worker or a notebook.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from t2l_cli.media.compositing import Bytes

Glimpse = Callable[[], "Bytes"]
"""Makes a picture of the work as it is now, (H, W, 3) uint8; that takes some time."""

Unit = Literal["steps", "frames", "bytes", "jobs", "edits"]


@dataclass(frozen=True)
class Tick:
    """One more part of the work is done: ``i`` (from 0) of ``n``; n is 0 where nobody knows how many there are."""

    i: int
    n: int
    stage: str = ""  # which part of the work, in words for a person; "" where there is only one
    note: str = ""  # what had to be changed to go on, for the user to know
    unit: Unit = "steps"  # what is counted
    job: str = ""  # in a batch: the output of the job that this is about; a tick of unit "jobs" tells its end

    @property
    def terms(self) -> Mapping[str, float]:
        """The weighted terms of the loss by name, where the work has one."""
        return {}


Show = Callable[[Tick], None]
_Tick = TypeVar("_Tick", bound=Tick)
_Item = TypeVar("_Item")


class Reporter(Protocol):
    """Who hears of the work, and may end it."""

    def note(self, text: str) -> None:
        """Something that may be left unsaid."""

    def warn(self, text: str) -> None:
        """Something that should be seen."""

    def preview(self, path: Path) -> None:
        """A picture of the work so far was written."""

    def offer(self, glimpse: Glimpse) -> None:
        """The work can be looked at now, between two steps, by calling ``glimpse``; nobody has to."""

    def track(self) -> AbstractContextManager[Show]:
        """Within the block, ticks are shown by calling what it gives."""

    def should_stop(self) -> bool:
        """Whether the work should end after the step at hand and keep what it has. Asked between steps."""

    def patience(self) -> AbstractContextManager[None]:
        """Within the block, a wish to stop waits until ``should_stop`` is asked.

        Elsewhere there is nothing to lose, and a reporter may raise KeyboardInterrupt at any time.
        """


class Silent:
    """A reporter that says nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""

    def preview(self, path: Path) -> None:
        """Nothing."""

    def offer(self, glimpse: Glimpse) -> None:
        """Nothing is looked at."""

    def track(self) -> AbstractContextManager[Show]:
        """Ticks go nowhere."""
        return nullcontext(lambda tick: None)

    def should_stop(self) -> bool:
        """Never."""
        return False

    def patience(self) -> AbstractContextManager[None]:
        """Nothing has to wait."""
        return nullcontext()


class Both:
    """Several reporters as one: each hears everything, and each may end the work."""

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def note(self, text: str) -> None:
        """Told to each."""
        for reporter in self._reporters:
            reporter.note(text)

    def warn(self, text: str) -> None:
        """Told to each."""
        for reporter in self._reporters:
            reporter.warn(text)

    def preview(self, path: Path) -> None:
        """Told to each."""
        for reporter in self._reporters:
            reporter.preview(path)

    def offer(self, glimpse: Glimpse) -> None:
        """Offered to each."""
        for reporter in self._reporters:
            reporter.offer(glimpse)

    @contextmanager
    def track(self) -> Iterator[Show]:
        """Ticks are shown to each."""
        with ExitStack() as stack:
            shows = [stack.enter_context(reporter.track()) for reporter in self._reporters]

            def show(tick: Tick) -> None:
                for one in shows:
                    one(tick)

            yield show

    def should_stop(self) -> bool:
        """Whether one of them wants it."""
        return any(reporter.should_stop() for reporter in self._reporters)

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Asked of each."""
        with ExitStack() as stack:
            for reporter in self._reporters:
                stack.enter_context(reporter.patience())
            yield


@contextmanager
def tracked(ticks: Iterable[_Tick], reporter: Reporter) -> Iterator[Iterator[_Tick]]:
    """``ticks``, for a loop; the reporter hears of each before the loop does."""

    def told() -> Iterator[_Tick]:
        for tick in ticks:
            show(tick)
            yield tick

    with reporter.track() as show:
        yield told()


@contextmanager
def counted(
    items: Iterable[_Item], n: int, stage: str, reporter: Reporter, unit: Unit = "frames"
) -> Iterator[Iterator[_Item]]:
    """The ``n`` ``items``, for a loop; the reporter hears of each when it is worked off."""

    def told() -> Iterator[_Item]:
        for i, item in enumerate(items):
            yield item
            show(Tick(i, n, stage, unit=unit))

    with reporter.track() as show:
        yield told()


@contextmanager
def downloading(name: str, reporter: Reporter) -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with the bytes so far and the bytes in all, or None; the reporter hears of them."""

    def tell(done: int, total: int | None) -> None:
        show(Tick(done - 1, total or 0, f"downloading {name}", unit="bytes"))

    with reporter.track() as show:
        yield tell


class Pace:
    """Steps (or frames, or bytes) per second, measured from the end of the first one on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: tuple[float, int] | None = None
        self.ticks = 0
        self.rate: float | None = None  # per s; None before the second tick

    def tick(self, i: int) -> None:
        """Number ``i`` is done."""
        now = self._clock()
        self.ticks += 1
        if self._start is None:
            self._start = (now, i)
            return
        began, first = self._start
        self.rate = (i - first) / max(now - began, 1e-9)

    def left(self, steps: int) -> float | None:
        """Seconds that ``steps`` more will take."""
        return steps / self.rate if self.rate else None


def duration(seconds: float) -> str:
    """``seconds`` for a person: 42 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
