"""Checks, before any work, where results may be written, so that none of the user's files are lost."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from t2l_cli.errors import RequestError
from t2l_cli.media.atomic import is_temporary
from t2l_cli.media.paths import STDIO, reason, shown

_LITTER = {".ds_store", "thumbs.db", "desktop.ini", ".directory"}  # files that file managers leave in folders


def check_place(path: Path, overwrite: bool, *inputs: str | Path | None, folder: bool = False) -> None:
    """Raise RequestError if ``path``, a file or a ``folder``, cannot or should not be written.

    Refused are a missing or unwritable parent, a path that exists as something of another kind (such as a device or a
    pipe) or exists without ``overwrite``, and a path that is, holds or is part of one of the ``inputs`` (None and "-"
    are ignored).
    """
    try:
        _check_place(path, overwrite, inputs, folder)
    except (OSError, ValueError) as error:  # ValueError: a name that Python cannot pass to the system
        raise RequestError(f"cannot write {shown(path)}: {reason(error)}.") from error


def _check_place(path: Path, overwrite: bool, inputs: tuple[str | Path | None, ...], folder: bool) -> None:
    # A symbolic link stays, and its target is replaced.
    parent = Path(os.path.realpath(path)).parent if overwrite and path.is_symlink() else path.parent
    if not parent.is_dir():
        raise RequestError(f"the folder {shown(parent)} for {shown(path)} does not exist.")
    if _is_there(path):
        _check_kind(path, folder)
        if clash := clash_with(path, *inputs):
            raise RequestError(f"the output {shown(path)} {clash}; choose another --output.")
        if not overwrite:
            raise RequestError(f"{shown(path)} exists; choose another --output or add --overwrite.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RequestError(f"the folder {shown(parent)} is not writable.")


def _is_there(path: Path) -> bool:
    """Whether ``path`` exists, if only as a broken link; OSError for an impossible name."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _check_kind(path: Path, folder: bool) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:  # a broken link
        return
    if stat.S_ISDIR(mode):
        if not folder:
            raise RequestError(f"{shown(path)} is a folder; name a file in it.")
    elif not stat.S_ISREG(mode):
        raise RequestError(f"{shown(path)} is a device or a pipe, which is never replaced; choose another --output.")
    elif folder:
        raise RequestError(f"{shown(path)} is a file; name a folder.")


def clash_with(path: Path, *inputs: str | Path | None) -> str | None:
    """How writing ``path`` would replace one of the ``inputs`` or a part of it, in words; None if it would not."""
    place = Path(os.path.realpath(path))
    for name in inputs:
        if name is None or str(name) == STDIO or not os.path.exists(name):
            continue
        source = Path(os.path.realpath(name))
        if place == source or (place.exists() and place.samefile(source)):
            return "is the input itself"
        if place in source.parents:
            return f"holds the input {shown(name)}"
        if place.is_file() and place.parent == source:
            return f"is a part of the input {shown(name)}"
    return None


def foreign_in(folder: Path, is_own: Callable[[str], bool], *outputs: Path) -> str | None:
    """The first path in ``folder`` that this program did not write, so that it must not be replaced; None if none.

    ``is_own`` says which paths, relative to the folder, are the program's own: "a.png", or "a/" for a folder and then
    "a/b.png". Links, devices and pipes are never its own. Ignored are the ``outputs`` and the files that file managers
    and killed runs leave behind. RequestError if a folder cannot be read.
    """
    known = {os.path.realpath(output) for output in outputs}
    try:
        return next(_foreign(folder, "", is_own, known), None)
    except OSError as error:
        raise RequestError(f"cannot read the folder {shown(folder)}: {reason(error)}.") from error


def _foreign(folder: Path, prefix: str, is_own: Callable[[str], bool], known: set[str]) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = prefix + entry.name
        if known and os.path.realpath(entry) in known:
            continue
        if entry.is_dir(follow_symlinks=False) and is_own(f"{name}/"):
            yield from _foreign(Path(entry), f"{name}/", is_own, known)
        elif not (entry.is_file(follow_symlinks=False) and (is_own(name) or _is_litter(entry.name))):
            yield name


def _is_litter(name: str) -> bool:
    return name.lower() in _LITTER or name.startswith("._") or is_temporary(name)
