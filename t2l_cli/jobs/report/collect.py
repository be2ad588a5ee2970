"""Finds the edits of a report: in run directories, in results that hold a record, and in the folders of batches."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from t2l_cli.errors import RequestError
from t2l_cli.jobs.batch.results import Entry, known_entries, results_file, shard_files
from t2l_cli.jobs.info import flat, look, unlike_default
from t2l_cli.jobs.job import Ended, Failure
from t2l_cli.jobs.record import FILES, file_name
from t2l_cli.media.opening import sha256_if_file
from t2l_cli.media.paths import STDIO, reason, shown
from t2l_cli.media.records import explained
from t2l_cli.progress import duration

Status = Literal["done", "interrupted", "diverged", "failed"]
PHOTO, VIDEO = "edit-image", "edit-video"


@dataclass(frozen=True)
class Texts:
    """The texts of a run."""

    prompts: list[str] = field(default_factory=list)
    roi: str | None = None
    layer: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """What a report takes from a run's record, whether that is a run.json or inside a result."""

    command: Literal["edit-image", "edit-video"]
    config: dict[str, Any]
    ended: Ended = "done"
    seed: int = 0
    steps_done: int | None = None
    device: str | None = None
    precision: str | None = None
    training_size: tuple[int, int] | None = None
    texts: Texts = Texts()
    source: str | None = None
    source_sha256: str | None = None
    output: str | None = None
    mask: str | None = None
    mask_sha256: str | None = None
    clip_weights: str | None = None
    atlas: str | None = None
    frames: tuple[int, int] | None = None
    layers: dict[str, list[str]] | None = None
    losses: dict[str, float | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer:
    """A layer that was painted, and what is kept of its training."""

    name: str  # "" for a photo, which has one
    prompts: tuple[str, ...]
    picture: Path | None = None  # RGBA
    losses: Path | None = None  # losses.csv
    snapshots: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Edit:
    """An edit as a report shows it."""

    name: str
    place: str  # the real path of its result, which no other edit has
    status: Status
    video: bool
    layers: tuple[Layer, ...]
    result: Path | None
    before: Path | None
    first: int = 0  # frame of the source that the first one of the result is of
    facts: tuple[tuple[str, str], ...] = ()  # what was asked for and chosen
    settings: tuple[tuple[str, str], ...] = ()  # what is not the command's default
    times: tuple[tuple[str, str], ...] = ()
    repeat: str = ""  # the command that repeats it
    failure: Failure | None = None
    notes: tuple[str, ...] = ()  # what is missing, and why

    @property
    def prompts(self) -> tuple[str, ...]:
        """Those of all layers."""
        return tuple(dict.fromkeys(prompt for layer in self.layers for prompt in layer.prompts))

    @property
    def kept(self) -> bool:
        """Whether it comes from a run directory, which knows more than the result."""
        return any(layer.losses or layer.snapshots for layer in self.layers)


def collect(places: Sequence[str]) -> list[Edit]:
    """The edits at ``places``, in their order; one that is in several of them comes once, as who knows most has it.

    A place is a run directory or a folder of some, the folder of a batch, or a result. RequestError for anything else.
    """
    found: dict[str, Edit] = {}
    for place in places:
        for edit in _edits_at(place):
            known = found.get(edit.place, edit)
            best, other = (edit, known) if edit.kept and not known.kept else (known, edit)
            found[edit.place] = replace(best, failure=best.failure or other.failure)
    return list(found.values())


def _edits_at(name: str) -> Iterator[Edit]:
    place = Path(name)
    try:
        if not os.path.isdir(name):
            yield _of_run(place.parent) if place.name == "run.json" else _of_result(place)
        elif results_file(place).exists() or shard_files(place):
            yield from (_of_entry(entry, place) for _, entry in sorted(known_entries(place).items()))
        elif runs := _runs_in(place):
            yield from (_of_run(run) for run in runs)
        else:
            raise RequestError(f"the folder {shown(place)} is neither that of a run, of several, nor of a batch.")
    except ValueError as error:
        raise RequestError(f"{shown(name)} is not a file name.") from error
    except OSError as error:
        raise RequestError(f"cannot read {shown(place)}: {reason(error)}.") from error


def _runs_in(folder: Path) -> list[Path]:
    if (folder / "run.json").is_file():
        return [folder]
    return sorted(child for child in folder.iterdir() if (child / "run.json").is_file())


def _of_run(folder: Path) -> Edit:
    path = folder / "run.json"
    record = _record(look(path).record, shown(path))
    composite = next((file for file in sorted(folder.glob("composite.*")) if file.is_file()), None)
    output = None if record.output in (None, STDIO) else Path(str(record.output))
    result = composite or (output if output is not None and output.exists() else None)
    before, why = _known_file(record.source, record.source_sha256, "source")
    notes = [] if before else [why]
    if result is None:
        notes.append("The result is no longer where the run put it.")
    layers = []
    for name, prompts in _prompts(record).items():
        own = folder / name
        snapshots = tuple(sorted((own / "snapshots").glob("step-*.png")))
        layers.append(Layer(name, prompts, _there(own / "layer.png"), _there(own / "losses.csv"), snapshots))
    suffix = (output or result or Path("again.png")).suffix
    again = ["-o", f"{(output or folder).stem}-again{suffix}"]
    source = ["SOURCE"] if record.source is None else []
    return _edit(
        record,
        name=(output or folder.absolute()).name,
        place=os.path.realpath(output or folder),
        result=result,
        before=before,
        layers=tuple(layers),
        repeat=shlex.join(["t2l", record.command, *source, "--config", str(path), *again]),
        notes=tuple(notes),
    )


def _of_result(path: Path, entry: Entry | None = None) -> Edit:
    made = look(path).record
    if made is None:
        raise RequestError(f"{shown(path)} holds no record of t2l: was it written with --no-metadata?")
    record = _record(made, shown(path))
    before, why = _beside(path, record.source, record.source_sha256, "source")
    given: list[str] = []
    if before is None and entry is not None:
        before, why = _known_file(entry.source, _digest(entry), "source")
        given = [] if before is None else [_operand(str(before))]
    if before is None:
        given = [_operand(file_name(record.source or "SOURCE"))]
    if record.mask is not None and _beside(path, record.mask, record.mask_sha256, "mask")[0] is None:
        given += ["--mask", file_name(record.mask)]
    for option, value in (("--clip-weights", record.clip_weights), ("--atlas", record.atlas)):
        given += [] if value is None else [option, file_name(value)]
    again = ["--config", str(path), "-o", f"{path.stem}-again{path.suffix}"]
    return _edit(
        record,
        name=path.name if entry is None else entry.output,
        place=os.path.realpath(path),
        result=path,
        before=before,
        layers=tuple(Layer(name, prompts, _layer_beside(path, name)) for name, prompts in _prompts(record).items()),
        repeat=shlex.join(["t2l", record.command, *given, *again]),
        notes=() if before else (why,),
    )


def _of_entry(entry: Entry, folder: Path) -> Edit:
    """The edit of a batch's job. What failed has no result, and what has no record is shown without its settings."""
    result = folder / entry.output
    notes: tuple[str, ...] = ()
    if entry.status == "done" and result.is_file():
        try:
            return replace(_of_result(result, entry), times=(("in all", duration(entry.seconds)),))
        except RequestError as error:
            notes = (_sentence(str(error)),)
    elif entry.status == "done" and not result.is_dir():
        notes = ("The result is no longer in the batch's folder.",)
    before, why = _known_file(entry.source, _digest(entry), "source")
    return Edit(
        name=entry.output,
        place=os.path.realpath(result),
        status="done" if entry.status == "done" else "failed",
        video=entry.command == VIDEO,
        layers=(Layer("", entry.prompts),),
        result=result if entry.status == "done" and result.exists() else None,
        before=before,
        facts=(("command", entry.command), ("source", file_name(entry.source))),
        times=(("in all", duration(entry.seconds)),) if entry.seconds else (),
        failure=entry.error,
        notes=(*notes, *(() if before else (why,))),
    )


def _record(data: Any, name: str) -> Record:
    command = data.get("command") if isinstance(data, dict) else None
    if command not in (PHOTO, VIDEO):
        what = f"t2l {shown(command)}" if isinstance(command, str) else "something else"
        raise RequestError(f"{name} is of {what}; a report shows what edit-image and edit-video made.")
    try:
        return msgspec.convert(data, Record)  # what it does not know is for others
    except (msgspec.ValidationError, OverflowError) as error:
        raise RequestError(f"{name}: {explained(str(error))}.") from error


def _edit(record: Record, **parts: Any) -> Edit:
    """The edit that ``record`` tells of, with the ``parts`` that it does not know."""
    facts = {
        "command": record.command,
        "source": None if record.source in (None, STDIO) else file_name(str(record.source)),
        "what is there": record.texts.roi,
        "the layer alone": [text for text in record.texts.layer if text not in record.texts.prompts],
        "seed": record.seed,
        "steps": record.steps_done,
        "training size": None if record.training_size is None else "{1} x {0}".format(*record.training_size),
        "device": record.device,
        "precision": record.precision,
        "loss at the end": record.losses.get("total"),
        "versions": [f"{name} {version}" for name, version in record.versions.items()],
    }
    inputs = {key.replace("_", " "): file_name(value) for key in FILES if (value := getattr(record, key, None))}
    config = unlike_default(record.config, record.command)
    config = {name: value for name, value in config.items() if name != "prompts"}
    return Edit(
        status=record.ended,
        video=record.command == VIDEO,
        first=0 if record.frames is None else record.frames[0],
        facts=tuple(flat(facts | {key: value for key, value in inputs.items() if key != "source"})),
        settings=tuple(flat(config)),
        times=_times(record.seconds),
        **parts,
    )


def _times(seconds: dict[str, float]) -> tuple[tuple[str, str], ...]:
    rows = [(name, duration(value)) for name, value in seconds.items()]
    return (*rows, ("in all", duration(sum(seconds.values())))) if rows else ()


def _prompts(record: Record) -> dict[str, tuple[str, ...]]:
    """The prompts of each layer; that of a photo is called ""."""
    if record.command == VIDEO and record.layers:
        return {name: tuple(prompts) for name, prompts in record.layers.items() if name == file_name(name)}
    return {"": tuple(record.texts.prompts)}


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _layer_beside(result: Path, name: str) -> Path | None:
    """The painted layer that stands beside a video, or in an OpenRaster file; None where there is none."""
    if name:
        return _there(result.with_name(f"{result.stem}-{name}.png"))
    return result if result.suffix.lower() == ".ora" else None


def _known_file(path: str | None, digest: str | None, what: str) -> tuple[Path | None, str]:
    """The file at ``path``, as long as it is the one with this ``digest``; and what to say where it is not."""
    if path is None or path == STDIO:
        return None, f"The {what} was not a file: only the result is shown."
    name = file_name(path)
    if os.path.isdir(path):
        return Path(path), ""
    if not os.path.isfile(path):
        return None, f"The {what} {name} is no longer there: only the result is shown."
    if digest is not None and sha256_if_file(path) != digest:
        return None, f"The {what} {name} has changed since: only the result is shown."
    return Path(path), ""


def _beside(result: Path, recorded: str | None, digest: str | None, what: str) -> tuple[Path | None, str]:
    """The file that a record inside ``result`` names, from beside it; and what to say where it is not there.

    The record may come from somebody else: without the recorded checksum, no file is taken.
    """
    if recorded is None:
        return None, f"The {what} was not a file: only the result is shown."
    name = file_name(recorded)
    beside = result.parent / name
    if digest is None or not name.strip(".") or not beside.is_file():
        return None, f"The {what} {name} is not beside the result: only the result is shown."
    return _known_file(str(beside), digest, what)


def _operand(path: str) -> str:
    """``path`` as an argument of a command, which must not look like an option."""
    return f"./{path}" if path.startswith("-") else path


def _digest(entry: Entry) -> str | None:
    """Of the source when the batch's job was done."""
    source = entry.inputs.get("source")
    return None if source is None else source.sha256


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
