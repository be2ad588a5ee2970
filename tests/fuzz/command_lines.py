"""Cases about the words of a command line: every option of the program with values that fit, just miss or are absurd.

The options are read from the program itself, so a new one needs no word here.
"""

from __future__ import annotations

import functools
import json
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.models import OptionInfo

from t2l_cli.cli.app import app
from tests.fuzz import atlases, pictures, records, texts
from tests.fuzz.case import SHORT, Case, words
from tests.fuzz.dice import Dice

# Options that name what is written: their values are chosen with care, so that nothing outside the case is touched.
_WRITTEN = ("--output", "--run-dir", "--events", "--preview")
_NEVER = ("--watch", "--ray", "--workers")  # they wait for photos, or start processes
_ENDLESS = ("studio",)  # commands that go on until somebody ends them
_CHOICES = {
    "--preset": ("draft", "standard", "fine"),
    "--fit-preset": ("draft", "standard", "fine"),
    "--device": ("auto", "cpu", "cuda", "cuda:7", "mps"),
    "--precision": ("auto", "fp32", "bf16"),
    "--distance": ("spherical", "cosine"),
    "--codec": ("h264", "lossless", "prores"),
    "--layer": ("foreground", "background"),
    "--flow": ("dis", "raft"),
    "--clip": (
        "mini",
        "ViT-B-32",
        "ViT-B-32:openai",
        "ViT-B-99",
        "RN50",
        "mini:openai",
        ":",
        "hf-hub:x/y",
        "hf-hub:",
        "robust",
        "../x",
    ),
    "--mask-class": ("dog", "Dog", "unicorn"),
    "--name": (
        "{stem}",
        "{prompt}/{stem}.jpg",
        "{i}",
        "x",
        "{x}",
        "{",
        f"{{\n{texts.FORGED}}}",
        f"{{stem:\n{texts.FORGED}}}",
        "../{stem}",
        "{stem}.png/",
    ),
    "--shard": ("1/1", "1/2", "2/2", "0/1", "3/2", "auto", "1", "x"),
    "--jobs": ("jobs.jsonl", "jobs.csv", "run.json"),
    "--frames": ("0:3", "0:2", "1:", ":-1", ":", "2:1", "0:99", "-1:", "0", "0:2:1", "a:b", "0:9999999999"),
}


@dataclass(frozen=True)
class Option:
    """One option of a command, as the command's signature says it."""

    names: tuple[str, ...]
    kind: type
    variable: str | None


@functools.cache
def commands() -> dict[str, tuple[Option, ...]]:
    """The program's commands by their words, each with its options."""
    found = {}
    for group, words_before in ((app, ""), *((g.typer_instance, f"{g.name} ") for g in app.registered_groups)):
        for command in group.registered_commands:
            if command.name not in _ENDLESS:
                found[f"{words_before}{command.name or command.callback.__name__}"] = _options_of(command.callback)
    return found


def _options_of(function: Any) -> tuple[Option, ...]:
    options = []
    for hint in typing.get_type_hints(function, include_extras=True).values():
        kind, *notes = typing.get_args(hint) or (hint,)
        for note in notes:
            if isinstance(note, OptionInfo):
                plain = next((part for part in typing.get_args(kind) if part is not type(None)), kind)
                names = (note.default, *(note.param_decls or ()))  # in an Annotated the first name is the "default"
                names = tuple(part for name in names if isinstance(name, str) for part in name.split("/"))
                options.append(Option(names, plain, typing.cast("str | None", note.envvar)))
    return tuple(options)


def options(dice: Dice, case: Case, command: str, most: int) -> list[str]:
    """Up to ``most`` options of ``command`` with values, as words; some go into the case's environment instead."""
    found: list[str] = []
    for option in dice.some(commands()[command], most):
        name = option.names[0]
        if name in (*_WRITTEN, *_NEVER, "--overwrite", "--verbose"):
            continue
        if option.kind is bool:
            if option.variable and dice.maybe(0.3):
                case.env[option.variable] = dice.one("1", "true", "no", "", "maybe")
            else:
                found.append(dice.choice(option.names))
            continue
        value = _value(dice, name, option.kind)
        if option.variable and dice.maybe(0.15) and "\0" not in value:
            case.env[option.variable] = value
        elif dice.maybe(0.3):
            found += [dice.choice(option.names), value]
        else:
            found.append(f"{name}={value}")
    return found


def _value(dice: Dice, name: str, kind: type) -> str:
    if name in _CHOICES and dice.maybe(0.8):
        return dice.choice(_CHOICES[name])
    if kind is int:
        return texts.integer(dice)
    if kind is float:
        return texts.real(dice)
    if issubclass(kind, Path):
        return _path(dice)
    return texts.text(dice) if dice.maybe(0.7) else _path(dice)


def _path(dice: Dice) -> str:
    """A path to read from: of the case, missing, or what is no file."""
    special = ("/dev/null", "/dev/zero", ".", "..", "~", "photo.png/x", "/proc/self/mem", "/dev/stdin")
    there = ("photo.png", "layer.png", "mask.png", "run.json", "atlas", "atlas/atlas.json", "video", "video.mp4")
    match dice.randrange(4):
        case 0:
            return dice.choice(special)
        case 1:
            return texts.impossible_name(dice, ".png")
        case _:
            return dice.choice(there)


def furnished(case: Case, dice: Dice) -> None:
    """Put one of everything into the case's folder."""
    case.put("photo.png", pictures.plain())
    case.put("layer.png", pictures.layer(dice, (32, 24), clear=False))
    case.put("mask.png", pictures.plain(mode="L"))
    case.put("jobs.jsonl", b'{"source": "photo.png", "prompt": "swan"}\n{"source": "layer.png", "prompt": "fog"}\n')
    case.put("run.json", records.fresh("photo.png", case.folder))
    atlases.furnish(case.folder)


def with_options(dice: Dice, folder: Path) -> Case:
    """A command that would work, with one to five options on top of it or in its environment."""
    case = Case(folder)
    furnished(case, dice)
    name = dice.choice([*BASES, "edit-image", "edit-image", "edit-video"])
    base = dice.choice(BASES[name])
    more = options(dice, case, name, dice.one(1, 2, 5))
    if dice.maybe(0.15):
        more += ["--run-dir", dice.one("run", "run", "no/run", "photo.png", ".", texts.text(dice).replace("/", "_"))]
    if dice.maybe(0.15):
        more += dice.one(["--events"], ["--events=-"], ["--events", "events.jsonl"], ["--events", "photo.png"])
    # Behind the command's own: what is given last counts.
    case.argv = words(name, base, more)
    case.output = case.value("--output", "-o")
    return case


BASES: dict[str, tuple[list[str], ...]] = {
    "edit-image": (
        words("photo.png", "swan", SHORT, "-o", "out.png"),
        words("photo.png", "swan", "a swan", SHORT, "-o", "out.jpg", "--mask", "mask.png"),
        words("photo.png", "swan", SHORT),
    ),
    "composite": (
        words("photo.png", "layer.png", "-o", "out.png"),
        words("photo.png", "layer.png", "-o", "out.png", "--opacity", "0.5", "--blend", "multiply"),
        words("video", "--atlas", "atlas", "--foreground", "fg.png", "-o", "out.mp4"),
        words("video", "--atlas", "atlas", "--background", "bg.png", "-o", "out"),
        words("video", "--atlas", "atlas", "--paint", "paint.png", "-o", "out.mkv"),
    ),
    "edit-video": (
        words("video", "swan", "--atlas", "atlas", SHORT, "-o", "out.mp4"),
        words("video", "--background", "snow", "--atlas", "atlas", SHORT, "-o", "out"),
        words("video", "swan", SHORT),
    ),
    "render-atlas": (
        words("atlas", "-o", "new"),
        words("atlas", "-o", "new", "--video", "video"),
    ),
    "fit-atlas": (words("video", "-o", "new"),),
    "report": (["run.json", "-o", "out.html"], ["run.json"], ["."], [".", "-o", "out.html"]),
    "info": (["photo.png"], ["run.json"], ["atlas"], ["video.mp4"]),
    "batch": (
        words("photo.png", "--prompt", "swan", SHORT, "-o", "out"),
        words("video", "*.png", "--prompt", "swan", "-p", "a swan", SHORT, "-o", "out", "--each-prompt"),
        words("--jobs", "jobs.jsonl", SHORT, "-o", "out"),
    ),
    "doctor": ([], ["--offline"], ["--json"]),
    "models list": ([],),
    "models path": ([],),
    "models pull": (["mini"], ["ViT-B-32"], ["raft"]),
    "models remove": (["mini"], ["ViT-B-32"]),
    "config show": ([], ["edit-image"], ["models pull"], ["edit-imge"]),
    "config path": ([],),
    "schema": ([], ["event"], ["run"], ["evnt"]),
}


def with_file(dice: Dice, folder: Path) -> Case:
    """A command that would work, with some defaults in the user's file, of which many are wrong."""
    case = with_options(dice, folder)
    case.env["T2L_CONFIG_FILE"] = "own.toml"
    lines = []
    for section in dice.some(["", *commands(), "preset.quick", "preset.draft", "nothing"], 3):
        lines += [] if section == "" else [f"[{section.replace(' ', '.')}]"]
        own = commands().get(section) or commands()["edit-image"]
        for option in dice.some(own, 2):
            if option.names[0] not in _WRITTEN:
                lines.append(f"{option.names[0].lstrip('-')} = {_toml(dice, option)}")
    if dice.maybe(0.1):
        lines.append(texts.text(dice))
    case.put("own.toml", "\n".join(lines).encode("utf-8", "replace"))
    return case


def _toml(dice: Dice, option: Option) -> str:
    """A value as TOML, of the option's type more often than not."""
    kind = dice.one(option.kind, option.kind, option.kind, bool, int, str)
    if kind is bool:
        return dice.one("true", "false")
    value = _value(dice, option.names[0], kind)
    return value if kind in (int, float) else json.dumps(value)


def chaos(dice: Dice, folder: Path) -> Case:
    """Words in any order: commands, options of all commands, values, files, nonsense."""
    case = Case(folder)
    furnished(case, dice)
    every = sorted({name for own in commands().values() for option in own for name in option.names} - {*_NEVER})
    pool = (
        lambda: dice.choice(list(commands())).split()[0],
        lambda: dice.choice(every),
        lambda: dice.choice(every) + "=" + _value(dice, "", dice.one(int, float, Path, str)),
        lambda: texts.text(dice),
        lambda: _path(dice),
        lambda: dice.one("-", "--", "-h", "--help", "--version", "-qv", "-o", "-ooo.png", "-j"),
    )
    case.argv = [dice.choice(pool)() for _ in range(dice.randint(0, 7))]
    if dice.maybe(0.5):
        case.argv.insert(0, dice.choice(list(commands())).split()[0])
    return case
