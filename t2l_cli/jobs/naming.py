"""Where a result goes: its name when the user gives none, and the claim on it while a run works."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from t2l_cli.errors import RequestError
from t2l_cli.media.paths import STDIO, reason, shown

MAX_NAME = 120  # bytes for each of the two parts; file systems end at 255 for the whole


def slug(text: str) -> str:
    """``text`` as a part of a file name: its words in lower case, joined by hyphens; "edit" where it has none.

    Letters and digits of every script stay; what does not fit into ``MAX_NAME`` bytes is cut at a word where possible.
    """
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text).lower())
    whole = "-".join(words)
    short = cut(whole)
    if short != whole and "-" in short and whole[len(short)] != "-":
        short = short.rpartition("-")[0]
    return short.strip("-") or "edit"


def default_output(source: str | Path, prompt: str, suffix: str = ".png") -> Path:
    """``photo-crochet-swan.png`` for ``photo.jpg`` and "crochet swan"; stdin is called ``picture``."""
    stem = "picture" if str(source) == STDIO else Path(os.path.realpath(source)).stem
    return Path(f"{cut(stem)}-{slug(prompt)}{suffix}")


def _try_folder(folder: Path) -> None:
    # By doing it: the permission bits say nothing about read-only and virtual file systems.
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RequestError(f"cannot write in the folder {shown(folder)}: {reason(error)}.") from error


def cut(text: str, most: int = MAX_NAME) -> str:
    """The beginning of ``text`` that fits into ``most`` bytes."""
    return text.encode("utf-8", "surrogateescape")[:most].decode("utf-8", "ignore")


@contextlib.contextmanager
def claimed(output: Path, run_dir: Path | None = None, beside: Iterable[Path] = ()) -> Iterator[None]:
    """Hold ``output``, ``run_dir`` and the files ``beside`` the output for this run.

    RequestError where another run on this machine works on one of them, or this one writes its previews there.

    Also where the output's folder takes no file. All is found out before the work, not after it. A claim is a lock in
    the cache folder, which the system releases with the process; where no lock can be had, the writing itself still
    never replaces a file that came up meanwhile.
    """
    with contextlib.ExitStack() as claims:
        if str(output) != STDIO:
            _try_folder(output.parent)
            claims.enter_context(_lock(output, "--output"))
        for path in beside:
            claims.enter_context(_lock(path, "--output"))
        if run_dir is not None:
            claims.enter_context(_lock(run_dir, "--run-dir"))
        yield


@contextlib.contextmanager
def _lock(path: Path, option: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    from t2l_cli.weights.cache import cache_dir

    try:
        name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:24]
    except ValueError as error:
        raise RequestError(f"cannot write {shown(path)}: {reason(error)}.") from error
    folder = cache_dir() / "locks"
    lock = FileLock(folder / f"{name}.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RequestError(
            f"another run of t2l, or --preview, is writing {shown(path)} right now; choose another {option}."
        ) from error
    except OSError:
        pass
    try:
        yield
    finally:
        if lock.is_locked:  # else the file, if there is one, is another run's
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()  # before the release: whoever has it open finds it gone, and is refused
        lock.release()
