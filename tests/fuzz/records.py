"""Cases about run.json: records of real runs, changed in every way, given to --config."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

from t2l_cli.config import EditConfig, video_config
from tests.fuzz import atlases, damage, pictures, texts
from tests.fuzz.case import SHORT, Case, words
from tests.fuzz.dice import Dice


@functools.cache
def _text(video: bool) -> str:
    config = video_config(("red",)) if video else EditConfig(("red",))
    optim, views = dataclasses.replace(config.optim, steps=1), dataclasses.replace(config.views, n_views=1)
    config = dataclasses.replace(config, clip="mini", size=129, optim=optim, views=views)
    record = {
        "command": "edit-video" if video else "edit-image",
        "seed": 0,
        "config": dataclasses.asdict(config),
        "texts": {"prompts": ["red"], "roi": None, "roi_chosen_by_clip": True, "layer": ["red"]},
        "tries": [],
        "training_size": [129, 172],
        "device": "cpu",
        "precision": "float32",
        "weights_sha256": "0" * 64,
        "versions": {"t2l": "0.1.0", "python": "3.11.0"},
        "steps_done": 1,
        "losses": {"total": 1.0},
        "ended": "done",
        "mask": None,
        "clip_weights": None,
        "seconds": {"start": 0.1, "optimise": 0.1},
    }
    if video:
        record |= {"frames": [0, 3], "layers": {"foreground": ["red"]}, "details": {}}
    return json.dumps(record)


def record(video: bool, source: str, folder: Path) -> dict[str, Any]:
    """A record as a run writes it, of a photo or a video ``source`` in ``folder``."""
    made: dict[str, Any] = json.loads(_text(video))
    made |= {"source": str(folder / source), "output": str(folder / "out.png")}
    if video:
        made["atlas"] = str(folder / "atlas")
    return made


def fresh(source: str, folder: Path) -> bytes:
    """run.json of a photo."""
    return json.dumps(record(False, source, folder)).encode()


def changed_record(dice: Dice, folder: Path) -> Case:
    """A run repeated from a record that is not what the program wrote."""
    case = Case(folder)
    video = dice.maybe(0.25)
    if video:
        atlases.furnish(folder)
    else:
        case.put("photo.png", pictures.plain())
    made = record(video, "video" if video else "photo.png", folder)
    if dice.maybe(0.9):
        if dice.maybe(0.7):  # most of what can go wrong is in the settings
            made["config"] = damage.mutated(dice, made["config"])
        else:
            made = damage.mutated(dice, made)
        case.put("run.json", damage.as_text(dice, made))
    else:
        case.put("run.json", json.dumps(made).encode())
        case.due(0, "the record is whole")
    more: list[str] = []
    if dice.maybe(0.3):
        more = dice.choice((list(SHORT), ["--preset", "draft"], ["--seed", texts.integer(dice)], ["--clip", "mini"]))
        case.code = None if case.code == 0 else case.code
    command = "edit-video" if video else "edit-image"
    case.output = "out.mp4" if video else "out.png"
    case.argv = words(command, "--config", "run.json", "-o", case.output, more)
    return case
