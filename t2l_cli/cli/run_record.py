"""What is kept of a run: the record for run.json and --json, and the run directory's files."""

from __future__ import annotations

import csv
import dataclasses
import json
import platform
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import t2l_cli
from t2l_cli.cli.pixels import bytes_of
from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media.atomic import atomic_path, write_atomically
from t2l_cli.media.compositing import Bytes, Rows, over, rgba
from t2l_cli.media.images import Picture, save_layer, save_picture
from t2l_cli.media.paths import STDIO, reason, shown

if TYPE_CHECKING:
    from t2l_cli.engine.edit import Edit
    from t2l_cli.engine.optimize import Step

SNAPSHOTS = 8  # pictures of the layer on its way


class Timings:
    """Seconds that the named parts of a run took, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        """The part since the last lap was ``name``."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._since, 3)
        self._since = now


def describe(edit: Edit, weights_sha256: str | None, last: Step | None, command: str = "edit-image") -> dict[str, Any]:
    """The part of a run's record that only the finished (or stopped) edit knows."""
    device = edit.runtime.device
    return {
        "command": command,
        "seed": edit.seed,
        "config": dataclasses.asdict(edit.config),
        "texts": {
            "prompts": list(edit.texts.prompts),
            "roi": edit.roi,
            "roi_chosen_by_clip": edit.roi_chosen,
            "layer": list(edit.texts.layer_texts),
        },
        "tries": [dataclasses.asdict(one) for one in edit.tries],
        "training_size": list(edit.size),
        "device": str(device),
        "precision": str(edit.runtime.dtype).removeprefix("torch."),
        "weights_sha256": weights_sha256,
        "versions": {"t2l": t2l_cli.__version__, "python": platform.python_version(), **_versions()},
        "steps_done": 0 if last is None else last.i + 1,
        "losses": {} if last is None else {"total": last.total, **last.terms},
    }


def _versions() -> dict[str, str]:
    from importlib import metadata

    return {name: metadata.version(name) for name in ("torch", "open_clip_torch", "kornia", "numpy", "pillow")}


def check_run_dir(path: Path, overwrite: bool) -> None:
    """RequestError where :class:`RunDir` could not or should not use ``path``."""
    try:
        if not path.parent.is_dir():
            raise RequestError(f"the folder {shown(path.parent)} for --run-dir does not exist.")
        if path.exists() and not path.is_dir():
            raise RequestError(f"--run-dir {shown(path)} is a file; name a folder.")
        if path.is_dir() and any(path.iterdir()) and not overwrite:
            raise RequestError(f"--run-dir {shown(path)} is not empty; choose another or add --overwrite.")
    except OSError as error:
        raise RequestError(f"cannot use --run-dir {shown(path)}: {reason(error)}.") from error


class RunDir:
    """The folder of one run: losses.csv and snapshots grow during the run, the rest is written at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            (path / "snapshots").mkdir(parents=True, exist_ok=True)
            for old in (path / "snapshots").glob("step-*.png"):
                old.unlink()
            self._csv: TextIO = (path / "losses.csv").open("w", newline="", encoding="utf-8", buffering=1)
        except OSError as error:
            raise OutputError(f"could not write to --run-dir {shown(path)}: {reason(error)}.") from error
        self._rows: Any = None
        self._unwritten: list[Step] = []

    def add(self, step: Step, edit: Edit) -> None:
        """Note the losses of ``step``; every eighth of the run also the layer as it is.

        An accelerator's losses are read some steps at a time, for each look at one makes it wait.
        """
        self._unwritten.append(step)
        if len(self._unwritten) >= edit.runtime.check_every:
            self._write()
        if (step.i + 1) * SNAPSHOTS // step.n > step.i * SNAPSHOTS // step.n:
            name = f"step-{step.i + 1:05d}.png"
            save_layer(self.path / "snapshots" / name, rgba(*bytes_of(edit.preview())), overwrite=True)

    def _write(self) -> None:
        for step in self._unwritten:
            terms = step.terms
            if self._rows is None:
                self._rows = csv.writer(self._csv)
                self._rows.writerow(["step", "stage", "lr", "total", *terms])
            self._rows.writerow([step.i + 1, step.stage, step.lr, step.total, *terms.values()])
        self._unwritten.clear()

    def finish(self, record: dict[str, Any], picture: Picture, layer: Rows, output: Path) -> None:
        """Write what ``output`` holds as composite, the ``layer`` (H, W, 4) of ``picture``, and run.json."""
        place = self.path / f"composite{output.suffix or '.png'}"
        if str(output) == STDIO:
            save_picture(place, over(layer, picture.rgb), picture.alpha, picture.icc, picture.exif, overwrite=True)
        else:
            with atomic_path(place, overwrite=True) as copy:
                shutil.copyfile(output, copy)
        self.keep_layer(layer.whole())
        write_record(self.path, record)

    def keep_layer(self, layer: Bytes) -> None:
        """Write the ``layer`` (H, W, 4) as layer.png and alpha.png; the losses are complete."""
        self._write()
        self._csv.close()
        save_layer(self.path / "layer.png", layer, overwrite=True)
        save_picture(self.path / "alpha.png", layer[..., 3], overwrite=True)


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write run.json into ``folder``."""
    write_atomically(folder / "run.json", json.dumps(record, indent=2).encode() + b"\n", overwrite=True)
