"""What must hold for every run, whatever was asked for; each function says in words what does not."""

from __future__ import annotations

import io
import itertools
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from tests.fuzz.case import Case
from tests.fuzz.runner import Outcome, Snapshot
from tests.fuzz.texts import FORGED
from tests.pages import Page

PEAK = 2 << 30  # bytes
LONGEST_LINE = 2100  # characters of stderr

_WITHOUT_FILES = ("models", "config", "schema", "info", "doctor", "batch")  # whose answer is text, or many files
_CLIPS = (".mp4", ".mkv", ".mov")


def complaints(case: Case, outcome: Outcome) -> list[str]:
    """All that is wrong with a run; empty where nothing is."""
    found = [*_ending(case, outcome), *_words(case, outcome), *_files(case, outcome)]
    if outcome.code == 0 and not found and case.stdout == "pipe":
        found += _results(case, outcome)
    return found


def _ending(case: Case, outcome: Outcome) -> Iterator[str]:
    if outcome.stuck:
        yield f"it took too long; it was at\n{outcome.stuck}"
    elif outcome.raised:
        yield f"an exception left the program:\n{outcome.raised}"
    elif outcome.code not in (0, 1, 2):
        yield f"the exit code is {outcome.code}"
    elif case.code is not None and case.stdout == "pipe" and outcome.code != case.code:
        yield f"the exit code is {outcome.code}, but {case.code} is due: {case.why}"
    if case.stdout != "pipe" and outcome.code == 0 and case.events() != "-":
        yield "the result could not be printed, and the exit code is 0"
    if outcome.peak > PEAK:
        yield f"it took {outcome.peak / 2**30:.1f} GiB of memory"


def _words(case: Case, outcome: Outcome) -> Iterator[str]:
    """stderr: errors in one or two printable lines, no traceback, no bug, and nobody else's lines."""
    text = outcome.err.decode("utf-8", "surrogateescape")
    if "This is a bug in t2l" in text:
        yield "it calls itself a bug"
    if case.stderr != "pipe" or outcome.stuck:
        return
    if case.verbose() or _is_help(case, outcome):
        return
    if "Traceback (most recent call last)" in text:
        yield "a traceback is shown"
    lines = text.split("\n")[:-1]
    errors = [place for place, line in enumerate(lines) if line.startswith("Error: ")]
    if any(line.startswith((FORGED, f"Error: {FORGED}")) for line in text.splitlines()):
        yield "a name or text makes lines of its own"
    if any(not line.isprintable() for line in lines):
        yield "stderr holds control characters"
    if any(len(line) > LONGEST_LINE for line in lines):
        yield f"a line of stderr has {max(map(len, lines))} characters"
    if len(errors) != (outcome.code != 0):
        yield f"there are {len(errors)} errors for the exit code {outcome.code}"
    elif errors and case.argv[:1] != ["batch"] and len(lines) - errors[0] > 2 + lines[-1].startswith("Try '"):
        yield f"the error has {len(lines) - errors[0]} lines"
    if " is kept" in text and not outcome.out and case.stdout == "pipe":
        yield "it says that a result is kept, and there is none"
    if outcome.code == 2 and outcome.out and not (case.says("--json") or case.events() == "-"):
        yield "the request was refused, and something was printed"


def _is_help(case: Case, outcome: Outcome) -> bool:
    """Whether a group of commands was named and none of them: its help is the answer, with exit code 2."""
    return case.argv in ([], ["models"], ["config"]) and outcome.out.lstrip().startswith(b"Usage: ")


def _files(case: Case, outcome: Outcome) -> Iterator[str]:
    """Nothing is created, changed or deleted but what was asked for."""
    before, after = outcome.before, outcome.after
    told = [] if case.events() in (None, "-", "") else _inside(case, str(case.events()))
    created = sorted(set(after) - set(before) - set(told))
    changed = sorted(name for name in before if name in after and after[name] != before[name])
    deleted = sorted(set(before) - set(after))
    if outcome.temporary:
        yield f"left in the folder for temporary files: {outcome.temporary}"
    if outcome.code == 2:
        if created or changed or deleted:
            yield f"the request was refused; created {created}, changed {changed}, deleted {deleted}"
        return
    named = _named(case, outcome)
    read = _read(case)
    for what, names in (("changed", changed), ("deleted", deleted)):
        for name in names:
            if not _replaceable(case, name, before[name][0], read):
                yield f"{name!r} was {what}"
    run_dir = case.value("--run-dir")
    mine = [*named, *([] if run_dir is None else _inside(case, run_dir))]
    for name in created:
        if not _below(name, mine):
            yield f"{name!r} was created and is not among the results {named}"


def _replaceable(case: Case, name: str, kind: str, read: list[str]) -> bool:
    """Whether what was there before may be replaced: the output itself, on request, where it is nobody's input."""
    if not case.says("--overwrite") or case.output is None or kind.startswith("special"):
        return False
    if name in case.own or _below(name, read):
        return False
    return _below(name, _inside(case, case.output)) or _below(name, list(case.results))


def _read(case: Case) -> list[str]:
    """Below the case's folder, all that the command line names apart from its outputs."""
    outputs = ("-o", "--output", "--run-dir")
    words = [word for before, word in itertools.pairwise(["", *case.argv]) if before not in outputs]
    names = [part for word in words if not word.startswith(outputs) for part in (word, word.partition("=")[2])]
    if "run.json" in names:
        names.append("photo.png")  # the record's source
    return [path for name in names if name for path in _inside(case, name)]


def _below(name: str, folders: list[str]) -> bool:
    return any(name == folder or name.startswith(folder + "/") or folder == "." for folder in folders)


def _inside(case: Case, path: str) -> list[str]:
    """``path`` below the case's folder, as it is named and where its links lead."""
    if "\0" in path:
        return []
    whole = os.path.normpath(case.folder / path)
    parent, name = os.path.split(whole)
    found = (whole, os.path.join(os.path.realpath(parent), name), os.path.realpath(whole))
    return [os.path.relpath(one, case.folder) for one in dict.fromkeys(found)]


def _named(case: Case, outcome: Outcome) -> list[str]:
    """The files that the program says it wrote, below the case's folder; of a batch its whole folder."""
    if case.argv[:1] == ["batch"]:
        return _inside(case, case.output or "")
    if case.stdout != "pipe":  # it could not say; then what it was told counts
        stem = os.path.splitext(case.output or "")[0]
        names = [case.output or "", *(f"{stem}-{layer}.png" for layer in ("foreground", "background"))]
    elif case.output is not None and outcome.out == os.fsencode(case.output) + b"\n":  # a name may hold line breaks
        names = [case.output]
    elif case.events() == "-":
        names = _events(outcome)[-1].get("files", [])
    elif case.says("--json"):
        try:
            names = json.loads(outcome.out)["files"]
        except (ValueError, KeyError, TypeError):
            return []
    else:
        names = [os.fsdecode(line) for line in outcome.out.split(b"\n")[:-1]]
    return [path for name in names if name for path in _inside(case, name)]


def _results(case: Case, outcome: Outcome) -> Iterator[str]:
    """After exit 0: what is named is there, can be opened, and is what was asked for."""
    if {"-h", "--help", "--version"} & set(case.argv) or case.argv[0] in _WITHOUT_FILES:
        return
    if case.output == "-":
        yield from _picture(case, outcome.out, "stdout")
        return
    if case.says("--json"):
        try:
            json.loads(outcome.out, parse_constant=_no_constant)
        except ValueError as error:
            yield f"--json printed no JSON: {error}"
            return
    named = _named(case, outcome)
    if not named:
        yield "nothing was printed"
    for place, name in enumerate(named):
        path = case.folder / name
        if path.is_dir():
            yield from _folder(case, path, outcome.after)
        elif not path.is_file():
            yield f"{name!r} was named as a result and is not there"
        elif path.suffix.lower() in _CLIPS:
            yield from _video(case, path)
        elif path.suffix.lower() in (".html", ".htm"):
            yield from _page(path)
        else:
            yield from _picture(case if place == 0 else None, path.read_bytes(), name)


def _page(path: Path) -> Iterator[str]:
    try:
        Page(path.read_text(encoding="utf-8")).needs_nothing_else()
    except AssertionError as error:
        yield f"{path.name!r} is no page that stands alone: {error}"


def _events(outcome: Outcome) -> list[dict[str, Any]]:
    """The events on stdout; each line must be one."""
    return [json.loads(line, parse_constant=_no_constant) for line in outcome.out.splitlines()]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _picture(case: Case | None, data: bytes, name: str) -> Iterator[str]:
    """``case``: of which the picture is the main result."""
    try:
        if name.lower().endswith(".ora"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read("mergedimage.png")
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            size, pixels = image.size, image.convert("RGB")
    except Exception as error:
        yield f"{name!r} cannot be opened: {error}"
        return
    if case is None:
        return
    if case.size is not None and size != case.size:
        yield f"{name!r} has the size {size}, the source {case.size}"
    elif case.pixels is not None and not np.array_equal(np.asarray(pixels), case.pixels):
        yield f"{name!r} differs from the source, over which nothing was laid"


def _video(case: Case, path: Path) -> Iterator[str]:
    try:
        with av.open(str(path)) as container:
            shots = [(frame.width, frame.height) for frame in container.decode(video=0)]
    except Exception as error:
        yield f"{path.name!r} cannot be opened: {error}"
        return
    yield from _shots(case, path.name, shots)


def _folder(case: Case, path: Path, after: Snapshot) -> Iterator[str]:
    names = sorted(os.listdir(path))
    if "atlas.json" in names:
        from t2l_cli.atlases.store import load_atlas

        load_atlas(path)
        return
    shots = []
    for name in names:
        with Image.open(path / name) as image:
            image.load()
            shots.append(image.size)
    yield from _shots(case, path.name, shots)


def _shots(case: Case, name: str, shots: list[tuple[int, int]]) -> Iterator[str]:
    if not shots:
        yield f"{name!r} holds no frame"
    elif case.size is not None and set(shots) != {case.size}:
        yield f"{name!r} has frames of {set(shots)}, the source of {case.size}"
    elif case.frames is not None and len(shots) != case.frames:
        yield f"{name!r} has {len(shots)} frames, the source {case.frames}"
