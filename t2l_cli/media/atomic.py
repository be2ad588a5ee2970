"""Writes files and folders completely or not at all: under a temporary name in the same folder, then by a rename.

A run that is killed leaves its temporary files and folders behind. Their name holds the machine and the process
(.t2l-<machine>-<process>-<random>). The next run that writes to the folder removes them: if the process was on this
machine, as soon as it has ended; otherwise after a day without a change.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from t2l_cli.errors import OutputError, T2LError
from t2l_cli.media.paths import reason, shown

_NAME = re.compile(r"\.t2l-(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]{1,9})-[0-9a-f]{8}(\..*)?")
_OLD = "old"  # suffix of the folder that is being replaced, which for a moment may be the only copy
_DAY = 86_400  # s
swept_folders: set[Path] = set()  # folders that this process has cleaned up already


@contextlib.contextmanager
def atomic_path(final: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``final``, with the same suffix, to write to; rename it to ``final`` on success.

    The temporary file exists, empty, from the start. After the block it is flushed to the disk and becomes ``final``
    in one step. After any exception, KeyboardInterrupt included, it is removed, and ``final`` is unchanged.

    Without ``overwrite`` an existing ``final`` is never replaced: of two runs that write the same output, the second
    one fails. Only regular files are replaced, never devices or pipes. Raises OutputError in these cases, and for every
    OSError of the block (such as a full disk).
    """
    # A rename would replace a symbolic link itself; the user wants its target written.
    target = Path(os.path.realpath(final)) if overwrite else Path(final)
    temporary: Path | None = None
    try:
        if overwrite:
            _check_replaceable(target)
        temporary = temporary_beside(target)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield temporary
        flush_file(temporary)
        temporary.chmod(_mode(target))
        if overwrite:
            _check_replaceable(target)
            os.replace(temporary, target)
        else:
            _claim(temporary, target)
        _flush_folder(target.parent)
    except FileExistsError as error:
        raise OutputError(
            f"{shown(final)} was written by another run meanwhile and is left as it is; "
            "choose another --output or add --overwrite."
        ) from error
    except OSError as error:
        raise OutputError(f"could not write {shown(final)}: {reason(error)}.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_atomically(final: str | Path, data: bytes, overwrite: bool = False) -> None:
    """Write ``data`` to ``final`` through :func:`atomic_path`; OutputError if that fails."""
    with atomic_path(final, overwrite) as temporary:
        temporary.write_bytes(data)


def _check_replaceable(target: Path) -> None:
    """Raise OutputError if ``target`` exists and is not a regular file: a rename would replace even /dev/null."""
    if os.path.lexists(target) and not stat.S_ISREG(os.lstat(target).st_mode):
        raise OutputError(f"could not write {shown(target)}: it is not a file.")


def temporary_beside(target: Path) -> Path:
    """An unused name in the folder of ``target``, with its suffix. Also removes what killed runs left there."""
    _sweep(target.parent)
    return target.with_name(_own_name() + target.suffix)


def _own_name() -> str:
    return f".t2l-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder, for this user alone, in the system's folder of temporary files; remove it at the end.

    Also removes those that killed runs on this machine left. OSError where there is no room for one.
    """
    place = Path(tempfile.gettempdir())
    remove_stale(place, elsewhere=False)  # containers may share it, and what they have in use may be old
    folder = place / _own_name()
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_temporary(name: str) -> bool:
    """Whether ``name`` is that of a temporary file of this program, left by a killed run or in use by another one."""
    return _NAME.fullmatch(name) is not None


def _sweep(folder: Path) -> None:
    """``remove_stale``, once in this process."""
    if folder in swept_folders:
        return
    swept_folders.add(folder)
    remove_stale(folder)


def remove_stale(folder: Path, elsewhere: bool = True) -> None:
    """Remove the temporary files and folders in ``folder`` whose process has ended.

    elsewhere: also those of other machines, after a day without a change.
    """
    entries: list[os.DirEntry[str]] = []
    with contextlib.suppress(OSError):
        entries += os.scandir(folder)
    for entry in entries:
        match = _NAME.fullmatch(entry.name)
        with contextlib.suppress(OSError):  # such as another user's
            if match and _is_stale(entry, match["machine"], int(match["process"]), elsewhere):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink(missing_ok=True)


def _is_stale(entry: os.DirEntry[str], machine: str, process: int, elsewhere: bool) -> bool:
    if Path(entry.name).suffix == f".{_OLD}":
        return False
    if machine == _machine() and sys.platform != "win32":  # os.kill would end the process there
        return not _is_running(process)
    return elsewhere and time.time() - entry.stat(follow_symlinks=False).st_mtime > _DAY


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True
    return True


@functools.cache
def _machine() -> str:
    """An identifier of the set of process numbers in use here: of one boot of one system, or of one container in it."""
    import platform

    marks = [platform.node()]
    with contextlib.suppress(OSError):  # not on Linux
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        marks.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:8]


@contextlib.contextmanager
def atomic_folder(final: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside ``final`` to fill; rename it to ``final`` on success, remove it on any exception.

    With ``overwrite`` an existing folder is replaced. Raises OutputError if ``final`` exists without ``overwrite``, and
    for every OSError of the block (such as a full disk). Error messages name files by their path in ``final``.
    """
    target = Path(os.path.realpath(final)) if overwrite else final
    temporary = temporary_beside(target)
    try:
        try:
            temporary.mkdir()
            yield temporary
            if overwrite and target.is_dir():
                _exchange(temporary, target)
            elif os.path.lexists(target):
                raise OutputError(
                    f"{shown(final)} was written by another run meanwhile and is left as it is; "
                    "choose another --output or add --overwrite."
                )
            else:
                temporary.rename(target)
        except OSError as error:
            raise OutputError(f"could not write {shown(final)}: {reason(error)}.") from error
        except T2LError as error:
            error.args = (str(error).replace(temporary.name, shown(final.name)),)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(temporary: Path, target: Path) -> None:
    """Exchange ``temporary`` and ``target``; on a failure or interrupt, ``target`` is either the old or the new one."""
    old = temporary.with_name(f"{temporary.name}.{_OLD}")
    try:
        target.rename(old)
        temporary.rename(target)
    finally:
        if os.path.lexists(old):
            old.rename(temporary if os.path.lexists(target) else target)


def _claim(temporary: Path, target: Path) -> None:
    """Rename ``temporary`` to ``target``, or raise FileExistsError if that exists; test and rename are one step."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # FAT and some network file systems have no hard links: reserve the name with an empty file instead.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(temporary, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _mode(target: Path) -> int:
    """Permissions of the finished file: those of the file that it replaces, otherwise the user's default."""
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    return default_mode()


def default_mode() -> int:
    """The user's default permissions for a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def flush_file(path: Path) -> None:
    """Have the system write the file to the disk now; OSError where the disk does not take it."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # This makes the rename survive a power cut. Not every system supports it; the file is complete either way.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
