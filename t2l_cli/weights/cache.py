"""The cache folder of model weights: finding, storing and removing checked files.

    <cache>/clip/<owner>--<repository>/<file>        the weights, under their name in the repository
    <cache>/clip/<owner>--<repository>/source.json   where they came from and their SHA-256
    <cache>/clip/<owner>--<repository>/open_clip_config.json   of a model that is named by its repository (hf-hub:)
    <cache>/clip/<owner>--<repository>/hub.json      the SHA-256 of weights that lie in the hub's own cache
    <cache>/torchvision/<network>/                   the same for torchvision's networks, "torchvision/<network>" below
    <cache>/locks/<owner>--<repository>.lock         held by the process that downloads

The folder may be copied to another machine unchanged. Files in the cache of the Hugging Face hub's own client are used
where they lie, and never changed. This module imports neither torch nor open_clip.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import platformdirs

from t2l_cli.errors import RequestError, WeightsError
from t2l_cli.media.atomic import temporary_beside
from t2l_cli.media.paths import reason, sha256_of, shown
from t2l_cli.media.records import built, read_json

_RECORD, _HUB_RECORD = "source.json", "hub.json"
TORCHVISION = "torchvision"  # the owner that stands for PyTorch's own server


@dataclass(frozen=True)
class CachedWeights:
    """A checked weights file in the cache."""

    path: Path
    sha256: str  # "" where the file was not read for it
    size: int  # bytes


@dataclass(frozen=True)
class _Record:
    """source.json or hub.json: the file, with its size and modification time when its checksum was computed."""

    file: str
    sha256: str
    size: int
    mtime_ns: int
    repo: str
    revision: str


def cache_dir() -> Path:
    """T2L_CACHE_DIR, otherwise this system's cache folder of the user. It need not exist."""
    chosen = os.environ.get("T2L_CACHE_DIR")
    return Path(os.path.abspath(os.path.expanduser(chosen))) if chosen else Path(platformdirs.user_cache_dir("t2l"))


def weights_dir(repo: str) -> Path:
    """The cache folder for the weights of ``repo``, "owner/name"."""
    owner, _, name = repo.partition("/")
    return cache_dir() / TORCHVISION / name if owner == TORCHVISION else _clips() / f"{owner}--{name}"


def _clips() -> Path:
    return cache_dir() / "clip"


def find(repo: str, check: bool = True) -> CachedWeights | None:
    """The cached weights of ``repo``, or None if they are missing or damaged.

    A file whose size and modification time match its record is trusted. If only the size matches (as in a copied
    folder), the file is hashed again with ``check``, and trusted without.
    """
    folder = weights_dir(repo)
    record = _read(folder)
    if record is None:
        return None
    path = folder / record.file
    try:
        state = path.stat()
    except OSError:
        return None
    if state.st_size != record.size:
        return None
    if check and state.st_mtime_ns != record.mtime_ns:
        if sha256_of(path) != record.sha256:
            return None
        with contextlib.suppress(OSError):  # in a read-only cache the file is hashed at every start
            _write(folder, record.file, record.sha256, record.repo, record.revision)
    return CachedWeights(path, record.sha256, record.size)


def find_in_hub(repo: str, files: Sequence[str], check: bool = True) -> CachedWeights | None:
    """The first of ``files`` of ``repo`` that lies in the hub's own cache, or None.

    Its checksum is computed once and kept in hub.json; without ``check`` it may be "". A file that the hub's client
    stored by its SHA-256 and that has another one by now is damaged, and is not used.
    """
    folder = weights_dir(repo)
    for name in files:
        path = hub_file(repo, name)
        if path is None:
            continue
        known, state = _read(folder, _HUB_RECORD), path.stat()
        if known and (known.file, known.size, known.mtime_ns) == (name, state.st_size, state.st_mtime_ns):
            return CachedWeights(path, known.sha256, known.size)
        if not check:
            return CachedWeights(path, "", state.st_size)
        sha256, stored_as = sha256_of(path), path.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", stored_as) and stored_as != sha256:
            continue
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            _keep(folder / _HUB_RECORD, _Record(name, sha256, state.st_size, state.st_mtime_ns, repo, ""))
        return CachedWeights(path, sha256, state.st_size)
    return None


def hub_file(repo: str, name: str) -> Path | None:
    """The file ``name`` of ``repo`` in the hub's own cache (HF_HUB_CACHE, HF_HOME); None if it is not there."""
    import huggingface_hub

    home = os.environ.get("HF_HOME")  # read now, where the hub's client reads them when it is imported
    folder = os.environ.get("HF_HUB_CACHE") or (os.path.join(os.path.expanduser(home), "hub") if home else None)
    try:
        found = huggingface_hub.try_to_load_from_cache(repo, name, cache_dir=folder)
    except (OSError, ValueError):  # ValueError: no name of a repository
        return None
    return Path(found) if isinstance(found, str) and os.path.isfile(found) else None


def repositories() -> list[str]:
    """The repositories ("owner/name") whose weights are recorded in the cache, wherever they lie."""
    records = (_read(folder, name) for folder in sorted(_clips().glob("*--*")) for name in (_RECORD, _HUB_RECORD))
    return list(dict.fromkeys(record.repo for record in records if record))


def store(part: Path, repo: str, sha256: str, revision: str) -> CachedWeights:
    """Move the finished and checked download ``part`` to its place in the cache. OSError if that fails."""
    folder = weights_dir(repo)
    path = folder / part.name
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    _write(folder, path.name, sha256, repo, revision)
    return CachedWeights(path, sha256, path.stat().st_size)


def discard(repo: str) -> int:
    """Delete the cached weights of ``repo`` and return the number of bytes freed, 0 if there were none."""
    folder = weights_dir(repo)
    if not folder.exists():
        return 0
    with locked(repo):
        freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise WeightsError(f"could not remove {shown(folder)}: {reason(error)}.") from error
    return freed


@contextlib.contextmanager
def locked(repo: str) -> Iterator[Path]:
    """Wait for the lock of ``repo``, shared by all processes, hold it, and yield the repository's folder, now made."""
    folder = weights_dir(repo)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        locks = cache_dir() / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(locks / f"{folder.name}.lock")
        lock.acquire()
    except OSError as error:
        raise WeightsError(
            f"the weights cache {shown(cache_dir())} cannot be written: {reason(error)}. "
            "Set T2L_CACHE_DIR to a folder that can."
        ) from error
    try:
        yield folder
    finally:
        lock.release()


def _read(folder: Path, name: str = _RECORD) -> _Record | None:
    try:
        record = built(_Record, read_json(folder / name), name)
        record.file.encode()
    except (OSError, ValueError, RequestError):
        return None
    # The record names a file of its own folder and nothing else, whoever wrote it.
    return record if Path(record.file).name == record.file else None


def _write(folder: Path, name: str, sha256: str, repo: str, revision: str) -> None:
    state = (folder / name).stat()
    _keep(folder / _RECORD, _Record(name, sha256, state.st_size, state.st_mtime_ns, repo, revision))


def _keep(path: Path, record: _Record) -> None:
    temporary = temporary_beside(path)
    temporary.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    os.replace(temporary, path)
