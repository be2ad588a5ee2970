"""Cases about names and places: files with any name that the system takes, and outputs that would hit what is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.fuzz import atlases, pictures, records, texts
from tests.fuzz.case import SHORT, Case, words
from tests.fuzz.dice import Dice


def odd_names(dice: Dice, folder: Path) -> Case:
    """Odd, but possible names for everything that is read and written; the work itself is easy."""
    case = Case(folder)
    place = dice.one("", "", "sub/", texts.name(dice, "", odd=1) + "/").replace("photo", "folder")
    source = case.put(place + texts.name(dice, ".png", odd=0.8), pictures.plain())
    case.size = (32, 24)
    case.due(0, "the names are odd, but possible")
    kind = dice.randrange(3)
    if kind < 2:
        layer = case.put("layers/" + texts.name(dice, ".png", odd=0.6), pictures.layer(dice, case.size, clear=False))
        suffix = dice.one(".png", ".jpg", ".tif")
        case.output = "out/" + texts.name(dice, suffix, odd=0.8)
        (folder / "out").mkdir()
        order = dice.randrange(2)
        given = ["-o", case.output, "--", source, layer]
        case.argv = words("composite", given) if order else words("composite", f"--output={case.output}", given[2:])
    else:
        mask = case.put("masks/" + texts.name(dice, ".png", odd=0.6), pictures.plain(mode="L"))
        case.output = texts.name(dice, "-result.png", odd=0.8)
        run_dir = texts.name(dice, "-run", odd=0.6)
        case.argv = words(
            *("edit-image", SHORT, f"--mask={mask}", f"--run-dir={run_dir}", f"--output={case.output}"),
            *("--", source, dice.one("swan", "red")),
        )
    if len(os.fsencode(Path(case.output).name)) > 255:
        case.due(2, "the output's name is too long")
    if dice.maybe(0.25):
        _impossible(dice, case)
    return case


def _impossible(dice: Dice, case: Case) -> None:
    """Put a name that cannot be in the place of one that can."""
    end = case.argv.index("--")  # behind it the source comes first
    place = dice.choice([end + 1, *(k for k, word in enumerate(case.argv[:end]) if "=" in word)])
    flag, equals, _ = case.argv[place].partition("=") if place < end else ("", "", "")
    case.argv[place] = flag + equals + texts.impossible_name(dice, ".png")
    case.output = case.value("--output", "-o")
    case.due(2, "a name cannot be")


def over_inputs(dice: Dice, folder: Path) -> Case:
    """Outputs that are inputs under some name, hold other things too, or are no files; mostly with --overwrite."""
    case = Case(folder)
    case.put("photo.png", pictures.plain())
    case.put("layer.png", pictures.layer(dice, (32, 24), clear=False))
    case.put("mask.png", pictures.plain(mode="L"))
    case.put("run.json", records.fresh("photo.png", folder))
    case.put("notes.txt", b"mine")
    case.put("old.png", pictures.plain())
    _earlier_run(dice, case)
    video = dice.maybe(0.5)
    if video:
        atlases.furnish(folder)
        _own_things(dice, case)
    existing = ["photo.png", "layer.png", "mask.png", "run.json", "old.png", "notes.txt"]
    if video:
        existing += [
            "video",
            "video.mp4",
            "atlas",
            "fg.png",
            "bg.png",
            "paint.png",
            "old-atlas",
            "old-atlas/foreground.png",
        ]
    target = _alias(dice, case, dice.choice(existing), existing)
    case.argv = _video_line(dice, target) if video else _photo_line(dice, target, (folder / target).is_file())
    case.output = case.value("--output", "-o")
    if dice.maybe(0.85):
        case.argv.append("--overwrite")
    return case


def _earlier_run(dice: Dice, case: Case) -> None:
    """The folder of an earlier run, maybe with a file of the user's."""
    record = records.record(False, "photo.png", case.folder)
    files = {"run.json": json.dumps(record).encode(), "layer.png": pictures.plain(), "losses.csv": b"step\n"}
    case.results = {case.put(f"old-run/{name}", data) for name, data in files.items()}
    if dice.maybe():
        case.own.add(case.put("old-run/notes.txt", b"mine"))


def _own_things(dice: Dice, case: Case) -> None:
    """An earlier atlas, beside whose files there may be what is the user's own."""
    for path in sorted((case.folder / "atlas").iterdir()):
        case.put(f"old-atlas/{path.name}", path.read_bytes())
    for name in dice.some((".git/config", ".env", "painted.png", ".DS_Store", "sub/mine.png", ".hidden.png"), 3):
        for folder in ("old-atlas", *(["video"] if dice.maybe(0.3) else [])):
            path = case.put(f"{folder}/{name}", b"mine")
            if name != ".DS_Store":  # made by file managers, and again when it is missing
                case.own.add(path)


def _alias(dice: Dice, case: Case, name: str, existing: list[str]) -> str:
    """Another way to say ``name``, or a link to it; now and then something that is no file."""
    suffix = os.path.splitext(name)[1]
    path = case.folder / f"alias{suffix}"
    match dice.randrange(9):
        case 0:
            return str(case.folder / name)
        case 1:
            return f"./{name}"
        case 2:
            return f"../{case.folder.name}/{name}"
        case 3:
            path.symlink_to(name)
            return path.name
        case 4 if (case.folder / name).is_file():
            path.hardlink_to(case.folder / name)
            return path.name
        case 5:
            (case.folder / "link").symlink_to(".")
            return f"link/{name}"
        case 6:
            return _special(dice, case)
        case _:
            return name


def _special(dice: Dice, case: Case) -> str:
    """A name of something that is no file, or a link that leads to such a thing or nowhere."""
    match dice.randrange(4):
        case 0:
            os.mkfifo(case.folder / "pipe.png")
            return "pipe.png"
        case 1:
            os.mkfifo(case.folder / "pipe")
            (case.folder / "out.png").symlink_to("pipe")
            return "out.png"
        case 2:
            (case.folder / "out.png").symlink_to(dice.one("nowhere", "no/where.png", "out.png"))
            return "out.png"
        case _:
            (case.folder / "folder.png").mkdir()
            return "folder.png"


def _photo_line(dice: Dice, target: str, readable: bool) -> list[str]:
    own = dice.one(target, "photo.png", "photo.png") if readable else "photo.png"
    match dice.randrange(5):
        case 0:
            return words("composite", own, "layer.png", "-o", target)
        case 1:
            return words("edit-image", own, "swan", SHORT, "--mask", "mask.png", "-o", target)
        case 2:
            return words("edit-image", "--config", "run.json", "-o", target)
        case 3:
            run_dir = dice.one(".", target, "run", "old-run", os.path.dirname(target) or ".")
            return words("edit-image", "photo.png", "swan", SHORT, "-o", "new.png", "--run-dir", run_dir)
        case _:
            return words("composite", "photo.png", dice.one(own, "layer.png"), "-o", target)


def _video_line(dice: Dice, target: str) -> list[str]:
    folder = dice.one(target, "old-atlas", "atlas")
    match dice.randrange(7):
        case 0:
            return words("render-atlas", dice.one("atlas", folder), "-o", folder)
        case 1:
            return words("render-atlas", "atlas", "--video", "video", "-o", target)
        case 2:
            return words("fit-atlas", "video", "-o", folder)
        case 3:
            return words("composite", "video", "--atlas", "atlas", "--foreground", "fg.png", "-o", target)
        case 4:
            return words("composite", "video", "--atlas", "atlas", "--paint", "paint.png", "-o", target)
        case 5:
            run_dir = dice.one(target, ".", "run", "old-run")
            return words("edit-video", "video", "red", "--atlas", "atlas", SHORT, "-o", "new.mp4", "--run-dir", run_dir)
        case _:
            return words("edit-video", dice.one("video", "video.mp4"), "red", "--atlas", "atlas", SHORT, "-o", target)


def faults(dice: Dice, folder: Path) -> Case:
    """A disk that is full after some bytes; a cache folder that cannot be one."""
    case = Case(folder)
    case.put("photo.png", pictures.plain())
    case.put("layer.png", pictures.layer(dice, (32, 24), clear=False))
    atlases.furnish(folder)
    if dice.maybe(0.6):
        case.room = dice.one(0, 1, 100, 1000, 3000, 10_000, 50_000)
    else:
        case.env["T2L_CACHE_DIR"] = dice.one("photo.png", "photo.png/cache", "/dev/null", "x" * 300, "video/0.png")
    run_dir = ["--run-dir", "run"] if dice.maybe(0.3) else []
    lines = (
        words("composite", "photo.png", "layer.png", "-o", dice.one("out.png", "out.jpg", "out.tif", "out.avif")),
        words("edit-image", "photo.png", "red", SHORT, "-o", "out.png", run_dir),
        words(
            "composite",
            "video",
            "--atlas",
            "atlas",
            "--foreground",
            "fg.png",
            "-o",
            dice.one("out.mp4", "out.mkv", "out"),
        ),
        words("edit-video", "video", "red", "--atlas", "atlas", SHORT, "-o", dice.one("out.mp4", "out"), run_dir),
        words("edit-video", "video", "red", SHORT, "-o", "out.mp4"),
        words("render-atlas", "atlas", "-o", "new"),
        words("fit-atlas", "video", "-o", "new", run_dir),
    )
    case.argv = dice.choice(lines)
    case.output = case.value("--output", "-o")
    if case.room is None:
        case.due(0, "the cache is no part of the result")
    return case
