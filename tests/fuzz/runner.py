"""Runs a case inside this process, as the installed program would run it, and notes all that can be seen of it."""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import io
import os
import resource
import signal
import stat
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from t2l_cli.__main__ import main
from tests.fuzz import stand_ins
from tests.fuzz.case import Case

CPU_LIMIT = 20.0  # s of processor time for a case
WALL_LIMIT = 120.0  # s, for what waits for something that never comes
MEMORY_LIMIT = 4 << 30  # bytes of address space beyond what is mapped already

Snapshot = dict[str, tuple[str, str]]  # path below the folder -> kind, digest of what it holds


@dataclass
class Outcome:
    """What can be seen of a run."""

    code: int | None = None  # None: an exception left the program
    out: bytes = b""
    err: bytes = b""
    raised: str = ""  # the traceback of what left the program
    stuck: str = ""  # where it was when its time was over
    peak: int = 0  # bytes of memory at most, beyond those before
    before: Snapshot = field(default_factory=dict)
    after: Snapshot = field(default_factory=dict)
    temporary: list[str] = field(default_factory=list)  # what is left in TMPDIR


def run(case: Case, home: Path) -> Outcome:
    """Run ``case``; ``home`` is an empty folder for caches and temporary files."""
    outcome = Outcome(before=snapshot(case.folder))
    temporary = home / "tmp"
    temporary.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_surroundings(case, home, temporary))
        stack.enter_context(stand_ins.in_place(case.real))
        stack.enter_context(_limits(case, outcome))
        stack.enter_context(_streams(case, home, outcome))
        try:
            main()
        except SystemExit as end:
            outcome.code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except BaseException:
            outcome.raised = traceback.format_exc()
    outcome.after = snapshot(case.folder)
    outcome.temporary = sorted(os.listdir(temporary))
    return outcome


def snapshot(folder: Path) -> Snapshot:
    """All that lies in ``folder``, at any depth, links not followed."""
    found: Snapshot = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                entry = "link", os.readlink(path)
            elif stat.S_ISREG(mode):
                entry = "file", hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                entry = "folder" if stat.S_ISDIR(mode) else f"special {stat.S_IFMT(mode):o}", ""
            found[str(path.relative_to(folder))] = entry
    return found


@contextlib.contextmanager
def _surroundings(case: Case, home: Path, temporary: Path) -> Iterator[None]:
    """Arguments, working directory and environment of the case; whatever the program changes is put back."""
    import torch

    threads, folder = torch.get_num_threads(), os.getcwd()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    own = {
        "HOME": str(home),
        "T2L_CACHE_DIR": str(home / "cache"),
        "HF_HOME": str(home / "huggingface"),
        "XDG_CACHE_HOME": str(home / "xdg"),
        "TMPDIR": str(temporary),
        "COLUMNS": "80",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("T2L_")}
    with (
        mock.patch.dict(os.environ, kept | own | case.env, clear=True),
        mock.patch.object(tempfile, "tempdir", str(temporary)),
        mock.patch.object(sys, "argv", ["t2l", *case.argv]),
        warnings.catch_warnings(),
    ):
        os.chdir(case.folder)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.chdir(folder)
            torch.set_num_threads(threads)


class _Pipe(threading.Thread):
    """A pipe and the reader at its other end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._end, self.number = os.pipe()
        self.data = b""
        self.start()

    def run(self) -> None:
        with os.fdopen(self._end, "rb") as file:
            self.data = file.read()


@contextlib.contextmanager
def _streams(case: Case, home: Path, outcome: Outcome) -> Iterator[None]:
    """The three standard streams, also for libraries that write past Python; what came out goes into ``outcome``."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    (home / "stdin").write_bytes(case.stdin)
    source = {"pipe": home / "stdin", "full": Path("/dev/zero"), "closed": None}[case.input]
    out, err = _Pipe(), _Pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    handles = [None if source is None else os.open(source, os.O_RDONLY)]
    handles += [
        {"pipe": pipe.number, "full": full, "closed": None}[k] for pipe, k in ((out, case.stdout), (err, case.stderr))
    ]
    made: list[Any] = []
    saved, before = [os.dup(number) for number in range(3)], (sys.stdin, sys.stdout, sys.stderr)
    try:
        for number, handle in enumerate(handles):
            os.close(number) if handle is None else os.dup2(handle, number)
        for handle in {out.number, err.number, full, *handles} - {None}:
            os.close(handle)
        made = [_text(number, handle is None) for number, handle in enumerate(handles)]
        sys.stdin, sys.stdout, sys.stderr = made
        yield
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        for stream in filter(None, made):
            stream.buffer.raw.close()  # what could not be written is not to come out later
        sys.stdin, sys.stdout, sys.stderr = before
        for number, handle in enumerate(saved):
            os.dup2(handle, number)
            os.close(handle)
        out.join()
        err.join()
        outcome.out, outcome.err = out.data, err.data


def _text(number: int, closed: bool) -> Any:
    """A standard stream as Python makes it at its start."""
    if closed:
        return None
    raw = io.FileIO(number, "w" if number else "r", closefd=False)
    buffer: Any = io.BufferedWriter(raw) if number else io.BufferedReader(raw)
    errors = "backslashreplace" if number == 2 else "strict"
    return io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=number == 2)


@contextlib.contextmanager
def _limits(case: Case, outcome: Outcome) -> Iterator[None]:
    """Bounds on time and memory; what was used goes into ``outcome``."""

    class TimeIsOver(BaseException):
        pass

    def ring(number: int, frame: FrameType | None) -> None:
        outcome.stuck = outcome.stuck or "".join(traceback.format_stack(frame)[-12:])
        raise TimeIsOver

    space, file_size = (resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE))
    before, handler = _reset_peak(), signal.signal(signal.SIGPROF, ring)
    start = time.process_time()
    alarm = threading.Timer(WALL_LIMIT, signal.pthread_kill, (threading.get_ident(), signal.SIGPROF))
    alarm.start()
    faulthandler.dump_traceback_later(2 * WALL_LIMIT, exit=True)  # a library that does not let go
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + MEMORY_LIMIT, space[1]))
    if case.room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (case.room, file_size[1]))
    signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT, 1.0)
    try:
        yield
    finally:
        alarm.cancel()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, space)
        resource.setrlimit(resource.RLIMIT_FSIZE, file_size)
        faulthandler.cancel_dump_traceback_later()
        outcome.peak = _status("VmHWM") - before
        if not outcome.stuck and time.process_time() - start > CPU_LIMIT:
            outcome.stuck = "(in a library)"


def _status(field_name: str) -> int:
    """A figure of this process in bytes, as Linux tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field_name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> int:
    """Let the peak of memory begin anew; the bytes in use now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")
