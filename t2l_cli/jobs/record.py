"""What is said and kept of a run: its record, which is run.json, and the files of its run directory."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, TextIO

import t2l_cli
from t2l_cli.errors import OutputError, RequestError
from t2l_cli.jobs.pixels import bytes_of
from t2l_cli.media.atomic import atomic_path, write_atomically
from t2l_cli.media.compositing import Levels, Rows, over, rgba
from t2l_cli.media.images import Picture, save_layer, save_like, save_picture
from t2l_cli.media.paths import STDIO, reason, shown
from t2l_cli.media.places import clash_with, foreign_in
from t2l_cli.media.records import parsed, plain, read_json
from t2l_cli.media.xmp import Mark
from t2l_cli.progress import Reporter

if TYPE_CHECKING:
    from t2l_cli.engine.edit import Edit
    from t2l_cli.engine.optimize import Step
    from t2l_cli.jobs.run_record import EditRecord

SNAPSHOTS = 8  # pictures of the layer on its way
FORMAT, VERSION = "t2l-run", 1  # of the record inside a result
MAX_MARK = 30_000  # characters of it: in XML they become up to twice as many, and a JPEG's packet has 65,502 bytes
FILES = ("source", "layer", "mask", "clip_weights", "atlas", "foreground", "background", "paint")
_NOT_IN_MARK = ("output", "seconds", "details")
_NEEDED = {"format", "version", "command", "config", "layers", "excerpt", "fit", "seed", *FILES, "source_sha256"}
_OWN = re.compile(  # what commands write into a run directory; folders end in "/"
    r"((foreground|background)/)?(layer\.png|alpha\.png|composite\.\w+|losses\.csv|run\.json|snapshots/(step-\d+\.png)?)?"
    r"|(mask|alpha|rebuilt|flow)-\d+\.png"
)

_COLUMNS = ("step", "stage", "lr", "total")  # of losses.csv, before the terms


def describe(edit: Edit, weights_sha256: Sequence[str], last: Step | None, command: str = "edit-image") -> EditRecord:
    """The part of a run's record that only the finished (or stopped) edit knows.

    weights_sha256: of each CLIP. As with their names, one is a text, several are a list.
    """
    device = edit.runtime.device
    return {
        "command": command,
        "seed": edit.seed,
        "config": edit.config,
        "texts": {
            "prompts": list(edit.texts.prompts),
            "roi": edit.roi,
            "roi_chosen_by_clip": edit.roi_chosen,
            "layer": list(edit.texts.layer_texts),
        },
        "tries": plain(edit.tries),
        "training_size": edit.size,
        "device": str(device),
        "precision": str(edit.runtime.dtype).removeprefix("torch."),
        "weights_sha256": weights_sha256[0] if len(weights_sha256) == 1 else list(weights_sha256),
        "versions": versions() | _libraries(),
        "steps_done": 0 if last is None else last.i + 1,
        "losses": plain({} if last is None else {"total": last.total, **last.terms}),
    }


def mark_of(record: dict[str, Any], reporter: Reporter, trained: bool = True) -> Mark | None:
    """A run's ``record`` as it goes into the result itself; None where it is too long, which is said.

    Without folders, since they name people; without times, so that the same run gives the same bytes. Where it is
    longer than MAX_MARK, its longest parts are left out, except for what a repetition needs.
    """
    made: dict[str, Any] = {"format": FORMAT, "version": VERSION, **record}
    for key in _NOT_IN_MARK:
        made.pop(key, None)
    for key in FILES:
        if isinstance(made.get(key), str):
            made[key] = None if made[key] == STDIO else file_name(made[key])
    left_out: list[str] = []
    for key in sorted(made.keys() - _NEEDED, key=lambda key: -len(json.dumps(made[key]))):
        if len(json.dumps(made)) <= MAX_MARK:
            break
        del made[key]
        left_out.append(key)
        made["left_out"] = left_out
    text = json.dumps(made)
    if len(text) > MAX_MARK:
        reporter.note("note: the record of the edit is too long to go into the result")
        return None
    if left_out:
        reporter.note(f"note: the record in the result is without {', '.join(left_out)}, which are too long")
    return Mark(text, trained)


def file_name(path: str) -> str:
    """The last part of ``path``, of whichever system it is."""
    return PureWindowsPath(path.rstrip("/\\")).name


def introduce(edit: Edit, reporter: Reporter) -> None:
    """Say what was chosen for the user."""
    config = edit.config
    height, width = edit.size
    reporter.note(
        f"{' and '.join(config.clips)} on {edit.runtime.device}, training at {width} x {height}, "
        f"{edit.n_steps} steps, {config.views.n_views} views, seed {config.seed}"
    )
    if edit.roi_chosen and edit.roi:
        reporter.note(f'what is there now: "{edit.roi}" (chosen by CLIP; --roi says otherwise)')
    elif edit.roi_chosen:
        reporter.note("what is there now: CLIP finds none of the prompt's words in the picture; --roi names it")
    if edit.about_cutout:
        reporter.note(f"{edit.about_cutout} (--bootstrap-to map: where CLIP looks)")


def say_tries(edit: Edit, reporter: Reporter) -> None:
    """Say how CLIP judged the short starts, if there were any."""
    if edit.tries:
        scores = ", ".join(f"{one.score:.3f} (seed {one.seed})" for one in edit.tries)
        reporter.note(f"tries by CLIP's judgement: {scores}; seed {edit.seed} was continued")


def say_matting(edit: Edit, reporter: Reporter) -> None:
    """Say what takes its time, where the outlines are looked at."""
    if edit.config.matte != "off":
        reporter.note("matting the outlines; the first time on a machine this compiles for a minute")


def say_matte(edit: Edit, reporter: Reporter) -> None:
    """Say what became of the outlines, where they were to be looked at."""
    if edit.about_matte:
        reporter.note(edit.about_matte)


def parsed_mark(text: str) -> dict[str, Any] | None:
    """The record that :func:`mark_of` wrote; None where ``text`` is something else, or of a later version."""
    try:
        made = parsed(text)
    except ValueError:
        return None
    if not isinstance(made, dict) or made.get("format") != FORMAT or made.get("version") != VERSION:
        return None
    return made


def versions() -> dict[str, str]:
    """Of this program and Python."""
    return {"t2l": t2l_cli.__version__, "python": platform.python_version()}


def _libraries() -> dict[str, str]:
    from importlib import metadata

    return {name: metadata.version(name) for name in ("torch", "open_clip_torch", "kornia", "numpy", "pillow")}


def check_run_dir(
    path: Path, overwrite: bool, inputs: Iterable[str | Path | None] = (), outputs: Collection[Path] = ()
) -> None:
    """RequestError where :class:`RunDir` could not or should not use ``path``.

    An existing folder is used where it is empty, or with ``overwrite`` where it holds nothing but the files of an
    earlier run, by what they are called and by a file of that run, and the ``outputs`` of this one. It never holds one
    of the ``inputs``.
    """
    try:
        if not path.parent.is_dir():
            raise RequestError(f"the folder {shown(path.parent)} for --run-dir does not exist.")
        if path.exists() and not path.is_dir():
            raise RequestError(f"--run-dir {shown(path)} is a file; name a folder.")
        for output in outputs:
            _check_apart(path, output)
        if not path.is_dir():
            return
        if any(path.iterdir()) and not overwrite:
            raise RequestError(f"--run-dir {shown(path)} is not empty; choose another or add --overwrite.")
        if clash := clash_with(path, *inputs):
            raise RequestError(f"--run-dir {shown(path)} {clash}; choose another.")
        if foreign := foreign_in(path, _is_own, *outputs):
            raise RequestError(f"--run-dir {shown(path)} holds {shown(foreign)}, no file of a run; choose another.")
        if (some := foreign_in(path, lambda name: name.endswith("/"), *outputs)) and not _is_of_a_run(path):
            raise RequestError(
                f"--run-dir {shown(path)} holds {shown(some)}, and no run.json or losses.csv of t2l says that "
                "it is of a run; choose another."
            )
    except (OSError, ValueError) as error:  # ValueError: a name that no system call takes
        raise RequestError(f"cannot use --run-dir {shown(path)}: {reason(error)}.") from error


def _is_own(name: str) -> bool:
    return _OWN.fullmatch(name) is not None


def _is_of_a_run(run_dir: Path) -> bool:
    """Whether a file of this program's making says that a run was here; one that was killed left only its losses."""
    with contextlib.suppress(OSError, ValueError):
        record = read_json(run_dir / "run.json")
        if isinstance(record, dict) and "command" in record and isinstance(record.get("config"), dict):
            return True
    for folder in (run_dir, run_dir / "foreground", run_dir / "background"):
        with contextlib.suppress(OSError), (folder / "losses.csv").open("rb") as losses:
            head = ",".join(_COLUMNS).encode()
            if losses.read(len(head)) in (b"", head):  # empty: it was killed at once
                return True
    return False


def _check_apart(run_dir: Path, output: Path) -> None:
    """RequestError where ``output`` and the files of ``run_dir`` would be written over one another."""
    own, place = Path(os.path.realpath(run_dir)), Path(os.path.realpath(output))
    if own == place or place in own.parents:
        raise RequestError(f"--run-dir {shown(run_dir)} lies in the output {shown(output)}; choose another.")
    if own in place.parents:
        name = place.relative_to(own).as_posix()
        if (_is_own(name) or _is_own(f"{name}/")) and not name.startswith("composite."):
            raise RequestError(f"the output {shown(output)} has the name of a file of --run-dir; choose another.")


@contextlib.contextmanager
def spared(folder: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """Whatever cannot be written into the run directory ``folder`` is said by ``warn``, and the run goes on.

    It holds extras; a full disk must not take the result along.
    """
    try:
        yield
    except OSError as error:
        warn(f"--run-dir {shown(folder)} is not complete: {reason(error)}.")
    except OutputError as error:
        warn(f"--run-dir is not complete: {error}")


class RunDir:
    """The folder of one run: losses.csv and snapshots grow during the run, the rest is written at its end.

    What cannot be written is left out; ``warn`` is told of the first such thing, ``preview`` of each snapshot.
    """

    def __init__(
        self, path: Path, warn: Callable[[str], None], preview: Callable[[Path], None] = lambda path: None
    ) -> None:
        self.path = path
        self._warn, self._preview = warn, preview
        self._csv: TextIO | None = None
        self._rows: Any = None
        self._unwritten: list[Step] = []
        with self._spared():
            (path / "snapshots").mkdir(parents=True, exist_ok=True)
            for old in (path / "snapshots").glob("step-*.png"):
                old.unlink()
            self._csv = (path / "losses.csv").open("w", newline="", encoding="utf-8", buffering=1)

    @contextlib.contextmanager
    def _spared(self) -> Iterator[None]:
        with spared(self.path, self._warn_once):
            yield

    def _warn_once(self, text: str) -> None:
        self._warn(text)
        self._warn = lambda text: None

    def add(self, step: Step, edit: Edit) -> None:
        """Note the losses of ``step``; every eighth of the run also the layer as it is.

        An accelerator's losses are read some steps at a time, for each look at one makes it wait.
        """
        self._unwritten.append(step)
        if len(self._unwritten) >= edit.runtime.check_every:
            self._write()
        if (step.i + 1) * SNAPSHOTS // step.n > step.i * SNAPSHOTS // step.n:
            place = self.path / "snapshots" / f"step-{step.i + 1:05d}.png"
            with self._spared():
                save_layer(place, rgba(*bytes_of(edit.preview())), overwrite=True)
                self._preview(place)

    def _write(self) -> None:
        steps, self._unwritten = self._unwritten, []
        if self._csv is None:
            return
        with self._spared():
            for step in steps:
                terms = step.terms
                if self._rows is None:
                    self._rows = csv.writer(self._csv)
                    self._rows.writerow([*_COLUMNS, *terms])
                self._rows.writerow([step.i + 1, step.stage, step.lr, step.total, *terms.values()])

    def finish(
        self,
        record: dict[str, Any],
        picture: Picture,
        layer: Rows,
        output: Path,
        mark: Mark | None = None,
        metadata: bool = True,
    ) -> None:
        """Write what ``output`` holds as composite, the ``layer`` (H, W, 4) of ``picture``, and run.json.

        mark, metadata: as for ``save_like``.
        """
        with self._spared():
            write_record(self.path, record)
            place = self.path / f"composite{output.suffix or '.png'}"
            if str(output) == STDIO:
                save_like(place, over(layer, picture.finest), picture, mark, metadata, overwrite=True)
            else:
                with atomic_path(place, overwrite=True) as copy:
                    shutil.copyfile(output, copy)
        self.keep_layer(layer.whole(), mark)

    def keep_layer(self, layer: Levels, mark: Mark | None = None) -> Path | None:
        """Write the ``layer`` (H, W, 4) as layer.png, with its ``mark``, and alpha.png; the losses are complete.

        Returns the path of layer.png; None where it could not be written.
        """
        self._write()
        kept = None
        with self._spared():
            save_layer(self.path / "layer.png", layer, overwrite=True, mark=mark)
            kept = self.path / "layer.png"
            save_picture(self.path / "alpha.png", layer[..., 3], overwrite=True)
        with self._spared():
            if self._csv is not None:
                self._csv.close()
        return kept


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write run.json into ``folder``."""
    write_atomically(folder / "run.json", json.dumps(record, indent=2).encode() + b"\n", overwrite=True)
