"""From rows to jobs: each with a request, a name of its own, and what is to be done about it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from t2l_cli.config import DEFAULT_PRESET
from t2l_cli.errors import RequestError
from t2l_cli.jobs.batch.results import Entry, Stamp, fingerprint, stamp_now
from t2l_cli.jobs.batch.rows import PHOTO_COMMAND, Request, Row, Wrong
from t2l_cli.jobs.naming import cut, slug
from t2l_cli.jobs.photo import PhotoRequest
from t2l_cli.media.muxing import FORMATS as VIDEO_FORMATS
from t2l_cli.media.output import FORMATS, format_of
from t2l_cli.media.paths import shown

NAME = "{stem}-{prompt}"
FIELDS = ("stem", "prompt", "command", "preset", "seed", "i")
_MAX_NAME = 230  # bytes of a name without what makes it unique; file systems end at 255

State = Literal["new", "done", "failed", "changed", "taken", "input"]
_Place = tuple[int, int]  # device and number on it


@dataclass(frozen=True)
class Planned:
    """One job of a batch."""

    name: str  # its output's path in the batch's folder, with "/": unique
    request: Request
    row: Row

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The paths in the batch's folder of all that it writes beside its run directory."""
        return tuple(str(PurePosixPath(self.name).with_name(Path(path).name)) for path in self.request.outputs)

    @property
    def inputs(self) -> dict[str, str]:
        """The files whose bytes decide on the result, by what they are."""
        request = self.request
        named = {"source": request.source, "clip_weights": request.clip_weights}
        if isinstance(request, PhotoRequest):
            named["mask"] = request.mask
        else:
            named |= {"mask": request.fit.mask, "atlas": request.atlas}
        return {name: path for name, path in named.items() if path is not None}

    def fingerprint_now(self, before: Entry) -> str | None:
        """The fingerprint as it would be today, read only where an input changed since ``before``; None without one."""
        stamps = {name: stamp_now(path, before.inputs.get(name)) for name, path in self.inputs.items()}
        there = {name: found for name, found in stamps.items() if found is not None}
        return fingerprint(self.request, there) if len(there) == len(stamps) else None


class Inputs:
    """All that the jobs of a batch read, so that none of them writes over it."""

    def __init__(self) -> None:
        self._read: dict[_Place, str] = {}  # file or folder -> which row reads it
        self._above: dict[_Place, str] = {}  # folder -> which row reads something in it
        self._seen: set[str] = set()

    def add(self, job: Planned) -> None:
        """Note what ``job`` reads."""
        for path in job.request.inputs:
            if path is None or path in self._seen:
                continue
            self._seen.add(path)
            if (place := _place(path)) is not None:
                self._read.setdefault(place, job.row.where)
                self._note_above(os.path.dirname(os.path.realpath(path)), job.row.where)

    def _note_above(self, folder: str, where: str) -> None:
        while folder not in self._seen:
            self._seen.add(folder)
            if (place := _place(folder)) is not None:
                self._above.setdefault(place, where)
            folder = os.path.dirname(folder)

    def clash(self, job: Planned, folder: Path) -> str | None:
        """Which output of ``job`` in the ``folder`` would replace what some job reads, in words; None if none."""
        run_dir = job.request.run_dir
        for path in (*(folder / name for name in job.outputs), *(() if run_dir is None else (Path(run_dir),))):
            place = _place(path)
            if place is None:  # it is not there yet, and every input is
                continue
            if where := self._read.get(place):
                return f"{shown(path)} is an input of {where}"
            if where := self._above.get(place):
                return f"{shown(path)} holds an input of {where}"
            above = _place(os.path.dirname(os.path.realpath(path)))
            if above is not None and (where := self._read.get(above)):
                return f"{shown(path)} is a part of an input of {where}"
        return None


def _place(path: str | Path) -> _Place | None:
    """What tells a file or folder from all others, by whatever name; None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


class Names:
    """Gives each job a name that no other has, on file systems that ignore case, too."""

    def __init__(self, template: str | None) -> None:
        self._template = template or NAME
        self._taken: dict[str, str] = {}  # folded path -> which row has it
        self._i = 0
        _check_template(self._template)

    def name(self, rows: Sequence[Row]) -> list[tuple[Row, str | Wrong]]:
        """A name for each row; a row that repeats another one in all is left out.

        Names that a user gives stay. Of the others, those that would be the same get a word of their row's hash.
        """
        given = [(row, _given(row)) for row in rows if row.output is not None]
        made: list[tuple[Row, str]] = []
        for row in rows:
            self._i += 1
            if row.output is None:
                made.append((row, self._filled(row)))
        counts = Counter(_folded(name) for _, name in made)
        counts.update(_folded(name) for _, name in given if isinstance(name, str))
        found: dict[int, str | Wrong] = {id(row): self._take(name, row) for row, name in given}
        seen: set[str] = set()
        for row, name in made:
            if counts[_folded(name)] > 1 or _folded(name) in self._taken:
                mark = _mark(row)
                if (own := f"{name}\0{mark}") in seen:
                    continue
                seen.add(own)
                path = PurePosixPath(name)
                name = str(path.with_name(f"{path.stem}-{mark}{path.suffix}"))
            found[id(row)] = self._take(name, row)
        return [(row, found[id(row)]) for row in rows if id(row) in found]

    def _take(self, name: str | Wrong, row: Row) -> str | Wrong:
        if isinstance(name, Wrong):
            return name
        other = self._taken.setdefault(_folded(name), row.where)
        if other != row.where:
            return Wrong(row.where, f"its output {shown(name)} is that of {other}.")
        return name

    def take_more(self, names: Iterable[str], row: Row) -> Wrong | None:
        """Take the names of what else a job writes; what is wrong where another job has one."""
        taken = (self._take(name, row) for name in names)
        return next((wrong for wrong in taken if isinstance(wrong, Wrong)), None)

    def _filled(self, row: Row) -> str:
        values = {
            "stem": cut(Path(row.label).stem) if row.label else "picture",
            "prompt": slug(row.prompts[0] if row.prompts else str(_first_text(row) or "")),
            "command": row.command,
            "preset": row.values.get("preset") or DEFAULT_PRESET,
            "seed": row.values.get("seed") or 0,
            "i": self._i,
        }
        path = PurePosixPath(row.folder, self._template.format_map(values))
        known = (*FORMATS, *VIDEO_FORMATS)
        suffix = PurePosixPath(self._template).suffix
        if suffix.lower() not in known:
            suffix = ".png" if row.command == PHOTO_COMMAND else ".mov" if _is_prores(row) else ".mp4"
            path = path.with_name(path.name + suffix)
        return str(path.with_name(cut(path.name.removesuffix(suffix), _MAX_NAME) + suffix))


def _first_text(row: Row) -> object:
    return row.values.get("foreground") or row.values.get("background")


def _is_prores(row: Row) -> bool:
    return row.values.get("codec") == "prores"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _mark(row: Row) -> str:
    told = [row.label, row.folder, row.command, row.prompts, {name: str(row.values[name]) for name in row.values}]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


def _given(row: Row) -> str | Wrong:
    """The output that a row names, in the batch's folder."""
    path = PurePosixPath((row.output or "").replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.name:
        return Wrong(row.where, f'"output" must be a path in the folder of --output, not {shown(row.output or "")}.')
    return str(path)


def _check_template(template: str) -> None:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
        unknown = [field for field in fields if field not in FIELDS]
        if unknown:
            known = " ".join(f"{{{field}}}" for field in FIELDS)
            raise RequestError(f"--name knows {known}, and no {{{shown(unknown[0])}}}.")
        path = PurePosixPath(template.format_map(dict.fromkeys(FIELDS, "x") | {"seed": 0, "i": 1}))
    except (ValueError, KeyError, IndexError) as error:
        raise RequestError(f"--name {shown(template)} is no template: {shown(str(error))}.") from error
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise RequestError(f"--name {shown(template)} must stay in the folder of --output.")


def plan(
    rows: Iterable[Row | Wrong], names: Names, output: Path, each_prompt: bool
) -> tuple[list[Planned], list[Wrong]]:
    """The jobs of ``rows`` in the folder ``output``, and what is wrong with the rows that give none."""
    right: list[Row] = []
    wrong: list[Wrong] = []
    for row in rows:
        if isinstance(row, Wrong):
            wrong.append(row)
        elif each_prompt and len(row.prompts) > 1:
            right += [dataclasses.replace(row, prompts=(prompt,)) for prompt in row.prompts]
        else:
            right.append(row)
    jobs: list[Planned] = []
    for row, name in names.name(right):
        job = name if isinstance(name, Wrong) else _planned(row, name, output)
        if isinstance(job, Planned) and (clash := names.take_more(job.outputs[1:], row)):
            job = clash
        if isinstance(job, Planned):
            jobs.append(job)
        else:
            wrong.append(job)
    return jobs, wrong


def _planned(row: Row, name: str, output: Path) -> Planned | Wrong:
    try:
        if row.command == PHOTO_COMMAND:
            format_of(name)
        request = row.request(output / name)
        job = Planned(name, request, row)
        for what, path in job.inputs.items():
            if not Path(path).exists():
                return Wrong(row.where, f"there is no {'photo or video' if what == 'source' else what} {shown(path)}.")
    except (RequestError, ValueError, OSError, TypeError) as error:  # TypeError: a setting that this command has not
        return Wrong(row.where, str(error))
    return job


@dataclass(frozen=True)
class Decision:
    """What is to be done about a job."""

    state: State
    replace: bool = False  # whether its outputs that are there are the batch's own, or given up by the user
    why: str = ""

    @property
    def refused(self) -> bool:
        """Whether it is not done without the user's word; where the state is "input", not even with it."""
        return self.state in ("changed", "taken", "input")


def decide(job: Planned, entry: Entry | None, begun: bool, folder: Path, overwrite: bool, inputs: Inputs) -> Decision:
    """What is to be done about ``job``, of which ``entry`` is known, in a batch that reads ``inputs``.

    Done stays done while settings, inputs and outputs are what they were. An output that is there is replaced only with
    ``overwrite``, where the job failed, where a killed batch ``begun`` it, or where it is as that job left it; and
    never where a job reads it.
    """
    there = {name for name in job.outputs if os.path.lexists(folder / name)}
    failed = entry is not None and entry.status == "failed"
    own = set() if entry is None else _unchanged(folder, entry.files)  # they are as the job left them
    same = entry is not None and (failed or entry.fingerprint == job.fingerprint_now(entry))
    if entry is not None and same and not failed and own == set(entry.files) == set(job.outputs):
        return Decision("done")
    if clash := inputs.clash(job, folder):
        return Decision("input", why=clash)
    if overwrite or begun or (same and there <= own):
        return Decision("failed" if failed else "new", replace=True)
    if not there:
        return Decision("new")
    if entry is not None and not failed:
        what = f"{shown(folder / min(there - own))} was" if same else "settings or source"
        return Decision("changed", why=f"{shown(folder / job.name)} is done, and {what} changed")
    return Decision("taken", why=f"{shown(folder / min(there))} exists")


def _unchanged(folder: Path, files: Mapping[str, Stamp]) -> set[str]:
    found = ((name, stamp_now(folder / name, before)) for name, before in files.items())
    return {name for name, now in found if now is not None and now.sha256 == files[name].sha256}
