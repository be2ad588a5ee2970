"""Ray does the jobs of a batch: actors on this machine or on a cluster, each with one job in flight.

Ray is used for what it is there for: processes, where they fit, and who of them died. Which job is done, is tried again
or has failed is decided by whoever reads the outcomes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from t2l_cli.errors import RequestError, StoppedError, T2LError, WorkerError
from t2l_cli.jobs.batch.work import Desk, JobReporter, Outcome, Task
from t2l_cli.jobs.job import Failure
from t2l_cli.media.paths import reason, shown
from t2l_cli.progress import Reporter, Show, Tick

LOCAL, AUTO = "local", "auto"
TRIES = 3  # of a job whose worker dies: it is submitted again, at most twice
STARTS = 3  # workers in a row that may die before they are ready
LOOK_EVERY = 0.5  # s
LOOKED_AT = 32  # workers whose steps are asked for; more of them are a crowd
SLOW = 30.0  # s without any worker, after which this is said
ANSWER = 10.0  # s in which a cluster must answer
PATIENCE = 5.0  # s that workers have to put down what they do
STORE, STORE_SHIPPING = 100 << 20, 1 << 30  # bytes of an embedded cluster's object store


class Worker:
    """An actor: a desk, and what others may ask it meanwhile (it has two threads)."""

    def __init__(self, threads: int | None, desk: Callable[[int | None], Desk] = Desk) -> None:
        self._desk = desk(threads)
        self._ticks: deque[Tick] = deque(maxlen=1)
        self._warnings: deque[str] = deque(maxlen=100)
        self._stop = False

    def ready(self) -> str:
        """Who it is, once it is there."""
        return self._desk.who

    def do(self, task: Task) -> Outcome | None:
        """Do a task; None where it was told to stop."""
        try:
            return self._desk.do(task, JobReporter(task.name, self._keep, self._warnings.append, lambda: self._stop))
        except StoppedError:
            return None

    def _keep(self, tick: Tick) -> None:
        self._ticks.append(tick)

    def news(self) -> tuple[Tick | None, list[str]]:
        """Its last step without the losses, which stay here, and what it warned of since it was asked last."""
        told = []
        while self._warnings:
            told.append(self._warnings.popleft())
        tick = self._ticks.pop() if self._ticks else None
        return tick and Tick(tick.i, tick.n, tick.stage, "", tick.unit, tick.job), told

    def stop(self) -> None:
        """Put down what it does, at its next step."""
        self._stop = True


_END = object()


@dataclass
class _Flight:
    """A task at an actor."""

    actor: Any
    task: Task
    tries: int


class RayWorkers:
    """Actors of Ray. See :class:`~t2l_cli.jobs.batch.work.Workers`."""

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        gpus: float | None = None,
        cpus: float | None = None,
        threads: int | None = None,
        ship: bool = False,
        desk: Callable[[int | None], Desk] = Desk,
    ) -> None:
        """gpus, cpus: of each worker. threads: of the CPU. desk: who does the jobs in a worker.

        RequestError where Ray is not installed.
        """
        self._ray = _ray()
        self._address, self._n, self._gpus, self._cpus = address or LOCAL, workers, gpus, cpus
        self._threads, self._ship, self._desk = threads, ship, desk
        self._actors: list[Any] = []
        self._starting: dict[Any, Any] = {}  # what says that it is ready -> actor
        self._flying: dict[Any, _Flight] = {}  # what will be the outcome -> where it is made
        self._news: dict[Any, None] = {}  # what was asked of the actors
        self._asked_at = 0.0
        self._own = False  # whether the connection to Ray is ours to end

    def __enter__(self) -> RayWorkers:
        if not self._ray.is_initialized():
            self._connect()
            self._own = True
        try:
            self._size()
        except BaseException:
            self._disconnect()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._put_down()
        finally:
            self._disconnect()

    def _connect(self) -> None:
        _check_reachable(self._address)
        options: dict[str, Any] = {"address": self._address}
        if self._address == LOCAL:
            options["include_dashboard"] = False
            options["object_store_memory"] = STORE_SHIPPING if self._ship else STORE
        with _as_it_was():
            try:
                self._ray.init(**options, log_to_driver=False, configure_logging=False)
            except Exception as error:  # of many kinds: no cluster there, another version of Ray, no room
                raise T2LError(f"Ray cannot be reached at {shown(self._address)}: {_lines(error)[0]}") from error

    def _disconnect(self) -> None:
        if self._own:
            self._own = False
            with _as_it_was():
                self._ray.shutdown()

    def _size(self) -> None:
        """Settle how many workers there are and what each gets. RequestError for what this machine cannot give."""
        there = self._ray.cluster_resources()
        cores, cards = float(there.get("CPU", 0)), float(there.get("GPU", 0))
        if self._gpus is None:
            self._gpus = 0.0 if not cards else 1.0 if self._n is None else min(1.0, _part(cards, self._n))
        if self._n is None:
            self._n = int(cards / self._gpus) if self._gpus else int(cores / (self._cpus or 1))
            self._n = max(1, self._n)
        if self._cpus is None:
            self._cpus = min(1.0, _part(cores, self._n)) if self._gpus else _part(cores, self._n)
        if self._threads is None:
            allowed = os.environ.get("OMP_NUM_THREADS", "")
            share = max(1, int(self._cpus))
            self._threads = min(share, int(allowed)) if allowed.isdecimal() and int(allowed) else share
        fits = self._n * self._gpus <= cards + 1e-6 and self._n * self._cpus <= cores + 1e-6
        if self._address == LOCAL and not fits:
            raise RequestError(
                f"this machine has {cores:g} cores and {cards:g} GPUs, too few for {self._n} workers of "
                f"{self._cpus:g} and {self._gpus:g}: give fewer --workers, or less to each."
            )

    def _start(self) -> Any:
        kind = self._ray.remote(Worker).options(
            num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0, max_task_retries=0, max_concurrency=2
        )
        actor = kind.remote(self._threads, self._desk)
        self._actors.append(actor)
        return actor

    def run(self, tasks: Iterable[Task | None], reporter: Reporter, show: Show) -> Generator[Outcome, None, None]:
        """See :class:`~t2l_cli.jobs.batch.work.Workers`. A job whose worker dies is given to another, at most twice."""
        waiting: deque[_Flight] = deque()  # tasks whose worker died
        left, starts = iter(tasks), 0
        idle: list[Any] = []
        done = False  # whether there are no more tasks
        began = time.monotonic()
        while True:
            while len(self._actors) < (self._n or 1):
                actor = self._start()
                self._starting[actor.ready.remote()] = actor
            while idle and (waiting or not done):
                flight = waiting.popleft() if waiting else None
                if flight is None:
                    task = next(left, _END)
                    done = task is _END
                    if not isinstance(task, Task):
                        break
                    flight = _Flight(None, task, 0)
                flight.actor = idle.pop()
                flight.tries += 1
                self._flying[flight.actor.do.remote(flight.task)] = flight
            if done and not waiting and not self._flying:
                return
            for ref in self._ended(reporter, show):
                if (actor := self._starting.pop(ref, None)) is not None:
                    starts = self._started(ref, actor, starts)
                    if actor in self._actors:
                        idle.append(actor)
                    continue
                flight = self._flying.pop(ref)
                outcome = self._outcome(ref, flight, waiting)
                if flight.actor in self._actors:
                    idle.append(flight.actor)
                if outcome is not None:
                    yield outcome
            if began and not idle and not self._flying and time.monotonic() - began > SLOW:
                began = 0.0
                reporter.warn("still waiting for Ray to start a worker: perhaps the cluster has no room for one.")

    def _ended(self, reporter: Reporter, show: Show) -> list[Any]:
        """The workers that are ready and the jobs that ended, after a moment; meanwhile, how far the others are."""
        if reporter.should_stop():
            raise StoppedError
        refs = [*self._starting, *self._flying]
        ended: list[Any] = []
        if refs:
            ended, _ = self._ray.wait(refs, num_returns=1, timeout=LOOK_EVERY)
        if self._news:
            told, _ = self._ray.wait(list(self._news), num_returns=len(self._news), timeout=0)
            for ref in told:
                del self._news[ref]
                with contextlib.suppress(self._ray.exceptions.RayError):  # it died: that is seen elsewhere
                    tick, warnings = self._ray.get(ref)
                    for text in warnings:
                        reporter.warn(text)
                    if tick is not None:
                        show(tick)
        elif time.monotonic() - self._asked_at >= LOOK_EVERY and len(self._flying) <= LOOKED_AT:
            self._asked_at = time.monotonic()
            self._news = {flight.actor.news.remote(): None for flight in self._flying.values()}
        return ended

    def _started(self, ref: Any, actor: Any, before: int) -> int:
        """Note that an actor is ready or died, and return how many died in a row. T2LError where it is hopeless."""
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._actors.remove(actor)
            if before + 1 >= STARTS:
                raise T2LError(
                    f"Ray's workers do not start: {_lines(error)[-1]}\nIs t2l installed on each node?"
                ) from error
            return before + 1
        return 0

    def _outcome(self, ref: Any, flight: _Flight, waiting: deque[_Flight]) -> Outcome | None:
        """What became of a job; None where it is to be done again."""
        try:
            outcome: Outcome | None = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            with contextlib.suppress(Exception):
                self._ray.kill(flight.actor)  # it may be there and only out of reach
            self._actors.remove(flight.actor)
            if flight.tries < TRIES:
                # What the dead worker wrote is written again, and over it.
                waiting.append(_Flight(None, dataclasses.replace(flight.task, replace=True), flight.tries))
                return None
            failure = WorkerError(f"its worker died {flight.tries} times: {_lines(error)[0]}")
            return Outcome(flight.task.name, error=Failure(failure.code, str(failure)))
        if outcome is None:
            raise StoppedError
        return outcome

    def _put_down(self) -> None:
        """End the actors: what they are at is put down at its next step, or with its process."""
        with contextlib.suppress(Exception):  # Ray's own, of a cluster that may be gone
            for flight in self._flying.values():
                flight.actor.stop.remote()
            if self._flying:
                self._ray.wait(list(self._flying), num_returns=len(self._flying), timeout=PATIENCE)
        for actor in self._actors:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        self._actors.clear()
        for refs in (self._starting, self._flying, self._news):
            refs.clear()


def _check_reachable(address: str) -> None:
    """T2LError where nobody answers at "host:port": Ray itself would ask for ever."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
    except OSError as error:
        raise T2LError(f"no Ray cluster answers at {shown(address)}: {reason(error)}.") from error


def _lines(error: Exception) -> list[str]:
    """Ray's message without its colours: the first line says what happened, the last one why."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return [line.strip()[:300] for line in text.splitlines() if line.strip()] or [type(error).__name__]


def _part(whole: float, n: int) -> float:
    """The share of each of ``n``: a whole number where it can be, as Ray wants it above 1."""
    return float(int(whole / n)) if whole >= n else int(10_000 * whole / n) / 10_000


def _ray() -> Any:
    try:
        with _as_it_was():
            import ray
    except ImportError as error:
        raise RequestError("several workers need Ray: python -m pip install ray.") from error
    return ray


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Within the context Ray reports nothing to its makers; after it, environment and signals are as before."""
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        yield
    finally:
        for name in [name for name in os.environ if name not in environment]:
            del os.environ[name]
        os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError, TypeError):  # not the main thread; a handler of C
                signal.signal(number, handler)
