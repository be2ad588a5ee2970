"""The photos of a batch: files, folders and patterns, and the new ones in a folder that is watched."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from t2l_cli.errors import RequestError
from t2l_cli.media.paths import STDIO, reason, shown

SETTLED = 1.0  # s without a change, after which a new file counts as complete
_LOOK = 500  # ms between looks at a folder


@dataclass(frozen=True)
class Photo:
    """A photo that was found."""

    path: Path
    folder: str = ""  # where in the batch's folder its output goes: as the photo lies in the folder that was given


def is_photo(path: Path) -> bool:
    """Whether a file in a folder is taken for a photo: by its suffix, and not hidden."""
    from PIL import Image

    form = Image.registered_extensions().get(path.suffix.lower())
    return form in Image.OPEN and form not in _NO_PHOTOS and not path.name.startswith(".")


_NO_PHOTOS = ("EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "FITS")  # Pillow needs other programs for them


def find_photos(sources: Sequence[str], recursive: bool, output: Path) -> Iterator[Photo]:
    """The photos that ``sources`` (files, folders, patterns) stand for, in order, each once.

    Folders and patterns leave out what lies in the batch's own folder ``output``. RequestError for a source that stands
    for nothing, and for the folder ``output`` itself.
    """
    seen: set[str] = set()
    for source in sources:
        found = [photo for photo in _of_source(source, recursive, output)]
        if not found and not os.path.isdir(source):
            raise RequestError(f"there is no photo {shown(source)}.")
        for photo in found:
            place = os.path.realpath(photo.path)
            if place not in seen:
                seen.add(place)
                yield photo


def _of_source(source: str, recursive: bool, output: Path) -> Iterator[Photo]:
    path = Path(source)
    try:
        if source == STDIO:
            raise RequestError("a batch reads no photo from the standard input; use t2l edit-image - for it.")
        if path.is_dir():
            yield from _of_folder(path, recursive, output)
        elif path.exists():
            yield Photo(path)
        elif glob.has_magic(source):
            for name in sorted(glob.glob(source, recursive=True)):
                found = Path(name)
                if found.is_file() and is_photo(found) and not _inside(found, output):
                    yield Photo(found)
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {shown(source)}: {reason(error)}.") from error


def _of_folder(folder: Path, recursive: bool, output: Path) -> Iterator[Photo]:
    check_apart(folder, output)
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in sorted(names):
            path = Path(place) / name
            if is_photo(path) and path.is_file() and not _inside(path, output):
                yield of_folder(path, folder)


def of_folder(path: Path, folder: Path) -> Photo:
    """The photo ``path`` in the ``folder`` that was given."""
    parent = path.relative_to(folder).parent
    return Photo(path, "" if parent == Path() else parent.as_posix())


def check_apart(folder: Path, output: Path) -> None:
    """RequestError where the photos' folder is the batch's own: its results would be taken for photos."""
    if os.path.realpath(folder) == os.path.realpath(output):
        raise RequestError(f"{shown(output)} holds the photos; choose another folder for --output.")


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def watch_photos(
    folders: Sequence[Path], recursive: bool, output: Path, known: Collection[str]
) -> Iterator[list[Photo]]:
    """New and changed photos in ``folders``, once they are complete; about twice a second, mostly an empty list.

    known: photos that are new only when they change.
    """
    import watchfiles

    growing: dict[Path, tuple[int, int, float]] = {}  # path -> size, time of its change, when it was seen so first
    owners = [(Path(os.path.realpath(folder)), folder) for folder in folders]
    first = True
    for changes in watchfiles.watch(
        *folders, recursive=recursive, rust_timeout=_LOOK, yield_on_timeout=True, debounce=_LOOK, step=50
    ):
        for change, name in changes:
            path = Path(name)
            if change != watchfiles.Change.deleted and is_photo(path) and not _inside(path, output):
                growing.setdefault(path, (-1, -1, 0.0))
        if first:  # what came between the first look and the watch
            first = False
            found = [photo.path for folder in folders for photo in _of_folder(folder, recursive, output)]
            growing |= {path: (-1, -1, 0.0) for path in found if str(path) not in known}
        complete = []
        for path, (size, mtime, since) in list(growing.items()):
            try:
                stat = path.stat()
            except OSError:  # it went away again
                del growing[path]
                continue
            if (stat.st_size, stat.st_mtime_ns) != (size, mtime):
                growing[path] = (stat.st_size, stat.st_mtime_ns, time.monotonic())
            elif time.monotonic() - since >= SETTLED:
                del growing[path]
                complete.append(path)
        yield [photo for path in sorted(complete) for photo in _owned(path, owners)]


def _owned(path: Path, owners: Sequence[tuple[Path, Path]]) -> Iterator[Photo]:
    """The photo as it is found in the folder that was given."""
    real = Path(os.path.realpath(path.parent)) / path.name
    for own, folder in owners:
        if own in real.parents:
            yield of_folder(folder / real.relative_to(own), folder)
            return
