"""results.jsonl: one line for each job that ended, and the one record of what is done.

Beside it, ``.results.jsonl.begun`` names the jobs that began and have not ended, so that what a killed run left of them
is known as this program's own; ``.results.jsonl.lock`` is held by the batch at work. A shard has results-I.jsonl.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec

from t2l_cli.errors import OutputError, RequestError
from t2l_cli.jobs.job import Failure
from t2l_cli.media.paths import reason, sha256_of, shown
from t2l_cli.media.records import plain

RESULTS = "results"


@dataclass(frozen=True)
class Stamp:
    """A file, or a folder with all its files, as it was."""

    size: int  # bytes
    mtime_ns: int  # of the newest file
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A line of results.jsonl: a job that ended."""

    output: str  # the job's name: its output's path in the batch's folder
    status: Literal["done", "failed"]
    command: str
    source: str
    prompts: tuple[str, ...]
    fingerprint: str  # of settings and inputs
    inputs: dict[str, Stamp] = field(default_factory=dict)  # by what they are: source, mask, ...
    files: dict[str, Stamp] = field(default_factory=dict)  # the outputs, by their paths in the batch's folder
    seconds: float = 0.0
    ended: str = ""  # when, UTC
    worker: str = ""
    weights_sha256: tuple[str, ...] = ()  # of each CLIP
    error: Failure | None = None


def stamp(path: str | Path) -> Stamp:
    """The stamp of a file or folder; OSError where it cannot be read."""
    size, mtime_ns = _look(Path(path))
    return Stamp(size, mtime_ns, _digest(Path(path)))


def stamp_now(path: str | Path, before: Stamp | None) -> Stamp | None:
    """The stamp of ``path``; it is read only where size or time is not as ``before``. None where it cannot be read."""
    try:
        size, mtime_ns = _look(Path(path))
        if before is not None and (size, mtime_ns) == (before.size, before.mtime_ns):
            return before
        return Stamp(size, mtime_ns, _digest(Path(path)))
    except OSError:
        return None


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _look(path: Path) -> tuple[int, int]:
    stats = [file.stat() for file in _files(path)]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def _digest(path: Path) -> str:
    if not path.is_dir():
        return sha256_of(path)
    whole = hashlib.sha256()
    for file in _files(path):
        whole.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


_NOT_IN_A_FINGERPRINT = {  # where and how, not what: paths (their bytes count), and the machine
    *("source", "output", "overwrite", "run_dir", "mask", "clip_weights", "atlas", "earlier"),
    *("offline", "device", "threads", "resume"),
}


def fingerprint(request: object, inputs: Mapping[str, Stamp]) -> str:
    """What decides on a job's result, as a SHA-256: the settings of its ``request`` and the bytes of its inputs.

    Neither where files lie nor the device is a part of it, so that another machine can go on. CLIP counts by its name,
    which stands for published weights, or by the bytes of the user's own file.
    """
    told = {"settings": _settings(plain(request)), "inputs": {name: inputs[name].sha256 for name in sorted(inputs)}}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _settings(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _settings(value) for key, value in data.items() if key not in _NOT_IN_A_FINGERPRINT}
    return data


def results_file(folder: Path, shard: int | None = None) -> Path:
    """The file of results of a whole batch, or of its shard."""
    return folder / (f"{RESULTS}.jsonl" if shard is None else f"{RESULTS}-{shard}.jsonl")


def shard_files(folder: Path) -> list[Path]:
    """The files of results that shards wrote, by number."""
    found = [path for path in folder.glob(f"{RESULTS}-*.jsonl") if path.stem.partition("-")[2].isdecimal()]
    return sorted(found, key=lambda path: int(path.stem.partition("-")[2]))


def read_entries(path: Path) -> dict[str, Entry]:
    """The last line of each job, by the job's name; a last line that was cut is left out.

    RequestError where the file cannot be read, or is not a batch's.
    """
    entries: dict[str, Entry] = {}
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                if not line.endswith(b"\n"):
                    if not entries and not _may_be_cut(line):
                        raise ValueError("it is not one that was cut")
                    break
                entry = msgspec.convert(json.loads(line), Entry)  # json: it knows names that are no UTF-8, too
                entries[entry.output] = entry
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RequestError(f"cannot read {shown(path)}: {reason(error)}.") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RequestError(f"{shown(path)}, line {number}: this is no line of a batch: {error}.") from error
    return entries


def _may_be_cut(line: bytes) -> bool:
    """Whether ``line``, without a line break and the only one of its file, may be the beginning of a batch's."""
    try:
        value = json.loads(line)
    except ValueError:
        start = b'{"output": "'
        return line.startswith(start) or start.startswith(line)
    return isinstance(value, dict) and value.keys() >= {"output", "status", "fingerprint"}


def known_entries(folder: Path) -> dict[str, Entry]:
    """What is known of each job in ``folder``, by its name: of the whole batch, and of its shards."""
    entries: dict[str, Entry] = {}
    for path in (results_file(folder), *shard_files(folder)):
        for name, entry in read_entries(path).items():
            if name not in entries or entries[name].ended <= entry.ended:
                entries[name] = entry
    return entries


def begun_jobs(folder: Path) -> set[str]:
    """The jobs in ``folder`` that began and did not end."""
    return {name for path in folder.glob(f".{RESULTS}*.jsonl.begun") for name in _begun_in(path)}


def _begun_in(path: Path) -> set[str]:
    names: set[str] = set()
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):  # a cut line
                began, name = json.loads(line)
                (names.add if began else names.discard)(name)
    return names


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file of results ``path``; RequestError where another batch works on it, or its folder takes no file."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RequestError(
            f"another batch is at work in {shown(path.parent)} right now; wait for it or choose another --output."
        ) from error
    except OSError as error:
        raise RequestError(f"cannot write in the folder {shown(path.parent)}: {reason(error)}.") from error
    try:
        yield
    finally:
        lock.release()


class Ledger:
    """The file of results of a batch at work: it holds the lock, and adds a line whenever a job ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begun = path.with_name(f".{path.name}.begun")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Ledger:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.path))
            read_entries(self.path)  # it raises where the file is somebody else's, before anything is cut off it
            self._results = stack.enter_context(_Lines(self.path))
            self._beginnings = stack.enter_context(_Lines(self._begun))
            self._flusher = stack.enter_context(ThreadPoolExecutor(1))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not _begun_in(self._begun):
            self._begun.unlink(missing_ok=True)
        self._stack.close()

    def begin(self, name: str) -> None:
        """Note that a job begins: from now on, its outputs are this program's own."""
        self._beginnings.append([1, name], flush=False)
        self._flusher.submit(self._beginnings.flush)  # on the disk long before an output is, and nobody waits for it

    def end(self, entry: Entry) -> None:
        """Add the line of a job that ended; OutputError where it cannot be written."""
        self._results.append(plain(entry))
        self._beginnings.append([0, entry.output], flush=False)  # without it, the job is only looked at again


class _Lines:
    """A file that grows by whole lines of JSON, each flushed to the disk. A cut last line is taken off at the start."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Lines:
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._size = _whole_lines(self._path)
            os.ftruncate(self._file, self._size)
        except OSError as error:
            raise RequestError(f"cannot write {shown(self._path)}: {reason(error)}.") from error
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)

    def append(self, value: Any, flush: bool = True) -> None:
        data = json.dumps(value).encode() + b"\n"
        try:
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, data[written:])
            if flush:
                self.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise OutputError(f"could not write {shown(self._path)}: {reason(error)}.") from error
        self._size += len(data)

    def flush(self) -> None:
        """Have all lines on the disk."""
        os.fsync(self._file)


def _whole_lines(path: Path) -> int:
    """The bytes of the file up to its last line break."""
    size = path.stat().st_size
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            place = file.read(end - start).rfind(b"\n")
            if place >= 0:
                return start + place + 1
            end = start
    return 0
