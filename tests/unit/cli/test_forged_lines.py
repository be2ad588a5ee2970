"""No name that a user, a file or the environment gives can put a line of its own among the program's messages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from t2l_cli.atlases.store import save_atlas
from t2l_cli.cli.app import main
from tests.tiny_videos import make_video
from tests.truth import make_truth

EVIL = "x\nError: forged\x1b[31m"
QUICK = ("--clip", "mini", "--offline", "--steps", "1", "--views", "1", "--size", "129")
PHOTO = ("edit-image", "photo.png", "red", *QUICK)
BATCH = ("batch", "photo.png", "--prompt", "red", *QUICK)
JOBS = ("batch", "--prompt", "red", *QUICK, "-o", "out")
STUDIO = ("studio", "--no-open", "--port", "0")
NAMES = (f"{{{EVIL}}}", f"{{stem:{EVIL}}}", f"{{stem!{EVIL}}}", f"{{{EVIL}", f"../{EVIL}", f"{{stem}}/../../{EVIL}")
ROWS: list[dict[str, object]] = [
    *({name: EVIL} for name in ("source", "command", "preset", "mask", "config", "clip", "device", "seed", EVIL)),
    {"output": f"../{EVIL}"},
]
VIDEO = ("edit-video", "video.mp4", "red", *QUICK)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with one of everything."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 24)).save("photo.png")
    Image.new("RGBA", (9, 99)).save("layer.png")
    make_video(Path("video.mp4"), range(3), size=(40, 24))
    save_atlas(make_truth((40, 24), 3).atlas(), "atlas")
    Path("text").write_text("no picture")
    return tmp_path


def copy(name: str, source: str) -> None:
    Path(name).write_bytes(Path(source).read_bytes())


def folder(name: str, *files: str) -> None:
    for file in files:
        Path(name, file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 24)).save(Path(name, file), "PNG")


def record(**changes: object) -> None:
    Path(f"{EVIL}.json").write_text(json.dumps({"config": {"prompts": ["red"]}, "source": "photo.png"} | changes))


def atlas_record(**changes: object) -> None:
    path = Path("atlas/atlas.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def jobs(*rows: object) -> None:
    Path("jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def two_photos_done() -> None:
    """Two photos, whose edits by a batch are there already."""
    for name in (f"{EVIL}.png", "photo.png"):
        copy(name, "photo.png") if name != "photo.png" else None
        folder("out", f"{Path(name).stem}.png")


def own_presets(text: str = "") -> None:
    """The user's file with a preset of an evil name, and ``text`` before it."""
    preset = f"[preset.{json.dumps(EVIL)}]\nsteps = 1\n"
    Path(os.environ["T2L_CONFIG_FILE"]).write_text(f"{text}\n{preset}", "utf-8")


def nothing() -> None:
    pass


CASES: list[tuple[tuple[str, ...], Callable[[], object]]] = [
    (("edit-image", EVIL, "red"), nothing),
    (("edit-image", EVIL, "red"), lambda: copy(EVIL, "text")),
    (("edit-image", EVIL, "red"), lambda: folder(EVIL, "1.png")),
    ((*PHOTO, "-o", EVIL), nothing),
    ((*PHOTO, "-o", f"out.{EVIL}"), nothing),
    ((*PHOTO, "-o", f"{EVIL}/out.png"), nothing),
    ((*PHOTO, "-o", f"{EVIL}.png"), lambda: copy(f"{EVIL}.png", "text")),
    ((*PHOTO, "-o", f"{EVIL}.png", "--overwrite"), lambda: os.mkfifo(f"{EVIL}.png")),
    ((*PHOTO, "--mask", EVIL), nothing),
    ((*PHOTO, "--mask", f"{EVIL}.png"), lambda: copy(f"{EVIL}.png", "layer.png")),
    ((*PHOTO, "--mask", f"{EVIL}.png", "-o", f"{EVIL}.png"), lambda: copy(f"{EVIL}.png", "layer.png")),
    ((*PHOTO, "--clip-weights", EVIL), nothing),
    ((*PHOTO, "--clip-weights", EVIL), lambda: copy(EVIL, "text")),
    ((*PHOTO, "--run-dir", f"{EVIL}/a"), nothing),
    ((*PHOTO, "--run-dir", EVIL), lambda: copy(EVIL, "text")),
    ((*PHOTO, "--run-dir", EVIL, "--overwrite"), lambda: folder(EVIL, "1.png")),
    ((*PHOTO, "--run-dir", "run", "--overwrite"), lambda: folder("run", EVIL)),
    ((*PHOTO, "--config", EVIL), nothing),
    ((*PHOTO, "--config", EVIL), lambda: copy(EVIL, "text")),
    ((*PHOTO, "--config", f"{EVIL}.json"), lambda: record(config=1)),
    ((*PHOTO, "--config", f"{EVIL}.json"), lambda: record(mask=1)),
    ((*PHOTO, "--config", f"{EVIL}.json"), lambda: record(layers={EVIL: 1})),
    ((*PHOTO, "--config", f"{EVIL}.json"), lambda: record(config={"prompts": ["red"], EVIL: 1})),
    ((*PHOTO, "--config", f"{EVIL}.json"), lambda: record(config={"prompts": EVIL})),
    ((*PHOTO, "--config", f"{EVIL}.json"), lambda: record(config={"prompts": ["red"], "seed": EVIL})),
    *(((*PHOTO, option, EVIL), nothing) for option in ("--clip", "--preset", "--device", "--precision", "--distance")),
    ((*PHOTO, "--clip", f"ViT-B-32:{EVIL}"), nothing),
    *(((*PHOTO, option, EVIL), nothing) for option in ("--steps", "--lr", f"--{EVIL}")),
    (("composite", "photo.png", EVIL, "-o", "out.png"), nothing),
    (("composite", "photo.png", f"{EVIL}.png", "-o", "out.png"), lambda: copy(f"{EVIL}.png", "photo.png")),
    (("composite", EVIL, "layer.png", "-o", "out.png"), lambda: copy(EVIL, "photo.png")),
    (("composite", "video.mp4", "--atlas", "atlas", "--paint", EVIL, "-o", "out.mp4"), nothing),
    (("composite", "video.mp4", "--atlas", "atlas", "--paint", "layer.png", "--layer", EVIL, "-o", "out.mp4"), nothing),
    (("composite", "video.mp4", "--atlas", EVIL, "--paint", "layer.png", "-o", "out.mp4"), nothing),
    ((*VIDEO, "--codec", EVIL), nothing),
    ((*VIDEO, "--layer", EVIL), nothing),
    ((*VIDEO, "--atlas", EVIL), nothing),
    ((*VIDEO, "--mask", EVIL), nothing),
    ((*VIDEO, "--frames", EVIL), nothing),
    ((*VIDEO, "--frames", "2:\n2"), nothing),
    ((*VIDEO, "--frames", "2:\n9"), nothing),
    ((*VIDEO, "--fit-preset", EVIL), nothing),
    ((*VIDEO, "--mask-class", EVIL), nothing),
    ((*VIDEO, "--flow", EVIL), nothing),
    ((*VIDEO, "-o", f"out.{EVIL}"), nothing),
    ((*VIDEO, "-o", "out", "--overwrite"), lambda: folder("out", f"{EVIL}.jpg")),
    (("edit-video", EVIL, "red", *QUICK), nothing),
    (("edit-video", EVIL, "red", *QUICK), lambda: copy(EVIL, "text")),
    (("edit-video", EVIL, "red", *QUICK), lambda: Path(EVIL).mkdir()),
    (("edit-video", "shot", "red", *QUICK), lambda: folder("shot", "0.png") or copy(f"shot/{EVIL}.png", "layer.png")),
    (("render-atlas", EVIL, "-o", "out"), nothing),
    (("render-atlas", EVIL, "-o", "out"), lambda: copy(EVIL, "text")),
    (("render-atlas", EVIL, "-o", "out", "--resolution", "99"), lambda: os.rename("atlas", EVIL)),
    (("render-atlas", "atlas", "-o", f"{EVIL}/out"), nothing),
    (("render-atlas", "atlas", "-o", EVIL, "--overwrite"), lambda: folder(EVIL, "1.png")),
    (("render-atlas", "atlas", "-o", "out"), lambda: atlas_record(video={EVIL: 1})),
    (("render-atlas", "photo.png", "-o", "atlas", "--overwrite"), lambda: copy(f"atlas/{EVIL}", "text")),
    (("fit-atlas", EVIL, "-o", "out"), nothing),
    (("fit-atlas", "video.mp4", "-o", EVIL, "--resume"), nothing),
    (("fit-atlas", "video.mp4", "-o", "out", "--mask", EVIL), nothing),
    (("fit-atlas", "video.mp4", "-o", "out", "--preset", EVIL), nothing),
    *((("batch", *sources, "--prompt", "red", *QUICK, "-o", "out"), nothing) for sources in ((EVIL,), (f"{EVIL}*",))),
    ((*BATCH, "-o", f"{EVIL}/out"), nothing),
    ((*BATCH, "-o", EVIL), lambda: copy(EVIL, "text")),
    ((*BATCH, "-o", "out", "--run-dir", f"{EVIL}/run"), nothing),
    *(((*BATCH, "-o", "out", "--name", name), nothing) for name in NAMES),
    ((*BATCH, "-o", "out", "--shard", EVIL), nothing),
    ((*BATCH, f"{EVIL}.png", "-o", "out", "--name", "{stem}"), two_photos_done),
    ((*BATCH, "-o", "out", "--merge"), lambda: folder("out", "1.png")),
    ((*JOBS, "--jobs", EVIL), nothing),
    ((*JOBS, "--jobs", f"{EVIL}.toml"), lambda: copy(f"{EVIL}.toml", "text")),
    *(
        ((*JOBS, "--jobs", "jobs.jsonl"), lambda row=row: jobs({"source": "photo.png"} | row, {"source": EVIL}))
        for row in ROWS
    ),
    ((*JOBS, "--jobs", "jobs.jsonl"), lambda: jobs(*[{"source": "photo.png", "output": f"{EVIL}.png"}] * 2)),
    ((*JOBS, "--jobs", "jobs.toml"), lambda: Path("jobs.toml").write_text(f"{json.dumps(EVIL)} = 1\n" * 2)),
    ((*STUDIO, EVIL), nothing),
    ((*STUDIO, "-o", f"{EVIL}/studio"), lambda: copy(EVIL, "text")),
    *(((*STUDIO, option, EVIL), nothing) for option in ("--address", "--preset")),
    ((*STUDIO, "--address", EVIL, "--password", "x"), nothing),
    (("report", EVIL), nothing),
    (("report", EVIL), lambda: copy(EVIL, "text")),
    (("report", EVIL), lambda: folder(EVIL, "1.png")),
    (("report", f"{EVIL}.png"), lambda: copy(f"{EVIL}.png", "photo.png")),
    (("report", f"{EVIL}/run.json"), lambda: folder(EVIL, "1.png") or Path(EVIL, "run.json").write_text("{}")),
    (("report", "run.json"), lambda: Path("run.json").write_text(json.dumps({"command": EVIL}))),
    (("report", "run.json"), lambda: Path("run.json").write_text(json.dumps({"command": "edit-image", "seed": EVIL}))),
    (("report", "photo.png", "-o", f"{EVIL}/out.html"), nothing),
    (("report", "photo.png", "-o", f"{EVIL}.txt"), nothing),
    (("info", EVIL), nothing),
    (("info", EVIL), lambda: copy(EVIL, "text")),
    (("info", EVIL), lambda: folder(EVIL, "1.png")),
    (("info", f"{EVIL}/run.json"), lambda: folder(EVIL, "1.png") or Path(EVIL, "run.json").write_text("[")),
    (("config", "show", EVIL), nothing),
    (("config", EVIL), nothing),
    (("config", "show"), lambda: Path(os.environ["T2L_CONFIG_FILE"]).write_text(f"{json.dumps(EVIL)} = 1", "utf-8")),
    (("config", "show"), lambda: own_presets(f"[edit-image]\npreset = {json.dumps(EVIL[:-1])}")),
    (("config", "show"), lambda: own_presets('[edit-image]\npreset = "other"')),
    ((*PHOTO, "--preset", "other"), own_presets),
    (("schema", EVIL), nothing),
    (("models", "pull", EVIL), nothing),
    (("models", "remove", EVIL), nothing),
    ((EVIL,), nothing),
]


@pytest.mark.parametrize(("arguments", "prepare"), CASES, ids=[repr(" ".join(case[0])[-70:]) for case in CASES])
def test_a_name_forges_no_line(
    arguments: tuple[str, ...],
    prepare: Callable[[], object],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare()
    monkeypatch.setattr("sys.argv", ["t2l", *arguments])
    code = main()
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert [line[:7] for line in err.splitlines() if line.startswith("Error")] == ["Error: "], err
    assert "\x1b" not in err
