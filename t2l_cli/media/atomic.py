"""Files that appear whole or not at all: a temporary name in the same folder, then a rename."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from t2l_cli.errors import OutputError
from t2l_cli.media.paths import reason, shown


@contextlib.contextmanager
def atomic_path(final: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``final`` (same suffix) to write to, and rename it on success.

    The temporary file exists, empty, from the start. After the block it is flushed to the disk and becomes ``final``
    in one step; after any exception, KeyboardInterrupt included, it is removed and ``final`` is as it was.

    Without ``overwrite`` a ``final`` that meanwhile exists is never replaced: of two runs that write the same output
    the second one fails. Nothing but a file is ever replaced: no device, no pipe. Raises OutputError for that, and for
    every OSError of the block (a full disk).
    """
    # Replacing a link would cut it; its target is what the user wants written.
    target = Path(os.path.realpath(final)) if overwrite else Path(final)
    temporary: Path | None = None
    try:
        if overwrite:
            _check_replaceable(target)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem[:60]}.", suffix=target.suffix, dir=target.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        _flush(temporary)
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
    """Write ``data`` to ``final`` by way of :func:`atomic_path`; OutputError when it cannot be."""
    with atomic_path(final, overwrite) as temporary:
        temporary.write_bytes(data)


def _check_replaceable(target: Path) -> None:
    """OutputError where ``target`` exists and is no file: a rename would put one in the place of /dev/null."""
    if os.path.lexists(target) and not stat.S_ISREG(os.lstat(target).st_mode):
        raise OutputError(f"could not write {shown(target)}: it is not a file.")


def _claim(temporary: Path, target: Path) -> None:
    """Rename ``temporary`` to ``target``, or raise FileExistsError where that exists, with no moment in between."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # FAT and some network file systems have no hard links: hold the name with an empty file of ours instead.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(temporary, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _mode(target: Path) -> int:
    """Permissions of the finished file: those of the file it replaces, else the user's default."""
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    return default_mode()


def default_mode() -> int:
    """Permissions of a new file as the user wants them."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # Keeps the rename itself over a power cut. Not every system can do it; the file is whole either way.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
