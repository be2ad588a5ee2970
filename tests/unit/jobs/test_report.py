"""Reports: what is found where, what is said of what is missing, and a page that needs nothing else."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cardboard import HEIGHT, WIDTH, Cardboard, Listener, put_in
from PIL import Image

import t2l_cli as t2l
from t2l_cli.errors import RequestError, StoppedError
from t2l_cli.jobs.photo import PhotoJob, PhotoRequest
from t2l_cli.jobs.report.collect import Edit, Layer, collect
from t2l_cli.jobs.report.curves import chart_of
from t2l_cli.jobs.report.page import Shown, page_of
from t2l_cli.jobs.report.pictures import MOST, Album
from tests.pages import Page
from tests.tiny_videos import make_video

EVIL = "\"'></q><script>alert(1)</script><img src=http://127.0.0.1/x onerror=alert(2)> {{ 7 * 7 }} \ud800 & é"


def run(folder: Path, name: str = "out.png", prompt: str = "red", until: int | None = None, kept: bool = True) -> Path:
    """A run of cardboard in ``folder`` on its photo.png; its result."""
    photo = folder / "photo.png"
    if not photo.exists():
        Image.new("RGB", (WIDTH, HEIGHT), (0, 0, 200)).save(photo)
    edit = Cardboard(until=until)
    edit.texts.prompts = (prompt,)
    edit.config = dataclasses.replace(edit.config, prompts=(prompt,))
    result = folder / name
    run_dir = str(folder / f"run-{result.stem}") if kept else None
    job = PhotoJob(PhotoRequest(str(photo), edit.config, str(result), run_dir=run_dir), Listener())
    put_in(job, edit)
    job.write()
    return result


def video_run(folder: Path) -> Path:
    """A run directory of a video of 12 frames whose first two are left out."""
    make_video(folder / "source.mp4", range(12))
    make_video(folder / "out.mp4", range(10))
    made = json.loads((run(folder, "x.png").parent / "run-x" / "run.json").read_text())
    made |= {"command": "edit-video", "source": str(folder / "source.mp4"), "output": str(folder / "out.mp4")}
    made |= {"source_sha256": None, "frames": [2, 12], "layers": {"foreground": ["red ball"], "background": ["snow"]}}
    own = folder / "run-video"
    shutil.copytree(folder / "run-x", own / "foreground")
    (own / "run.json").write_text(json.dumps(made))
    (own / "foreground" / "composite.png").unlink()
    return own


def line(output: str, status: str = "done", **more: Any) -> str:
    entry = {"output": output, "status": status, "command": "edit-image", "prompts": ["red"], "fingerprint": ""}
    return json.dumps(entry | {"source": "photo.png", "ended": "2026-01-01"} | more) + "\n"


def pixel(uri: str, place: tuple[int, int]) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return image.getpixel(place)


def test_a_run_directory_shows_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path)
    page = Page(t2l.report("run-out").html)
    page.needs_nothing_else()
    pictures = {image["alt"]: image for image in page.all("img")}
    blue, mixed = (pixel(pictures[alt]["src"], (9, 9)) for alt in ("before", "after: red"))
    assert blue == pytest.approx((0, 0, 200), abs=12)
    assert mixed == pytest.approx((128, 0, 100), abs=12)
    assert pixel(pictures["the edit layer alone"]["src"], (9, 9)) == pytest.approx((255, 0, 0, 128), abs=12)
    assert pixel(pictures["opacity of the layer: white is opaque"]["src"], (9, 9))[0] == pytest.approx(128, abs=6)
    assert "the layer during the training" in pictures
    assert [field["type"] for field in page.all("input")] == ["range"]
    assert len([path for path in page.all("path") if path["d"].count("L") == 9]) == 3  # total, cosine, screen
    command = "t2l edit-image --config run-out/run.json -o out-again.png"
    assert all(word in page.text for word in ("red", "seed", "steps", "optimise", command, "done", "photo.png"))
    assert str(tmp_path) not in page.text


def test_the_same_files_give_the_same_page(tmp_path: Path) -> None:
    run(tmp_path)
    sources = [tmp_path / "run-out", video_run(tmp_path)]
    assert t2l.report(sources).html == t2l.report(sources).html


def test_what_is_foreign_is_only_text(tmp_path: Path) -> None:
    run(tmp_path, f"{EVIL[:-5].replace('/', '')}.png", EVIL)
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    result = folder.name.removeprefix("run-")
    (tmp_path / "results.jsonl").write_text(
        line("no.png", "failed", error={"code": EVIL, "message": EVIL}, prompts=[EVIL, "b"], source=EVIL)
    )
    page = Page(t2l.report([folder, tmp_path]).html)
    page.needs_nothing_else()
    assert page.text.count("<script>alert(1)</script>") >= 4
    assert "{{ 7 * 7 }}" in page.text
    assert result in page.text


def test_a_result_shows_what_its_record_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(tmp_path, "out.ora")
    (edit,) = collect(["out.ora"])
    assert (edit.before, edit.prompts, edit.layers[0].losses) == (Path("photo.png"), ("red",), None)
    assert edit.repeat == "t2l edit-image --config out.ora -o out-again.ora"
    assert "the edit layer alone" in [image["alt"] for image in Page(t2l.report("out.ora").html).all("img")]
    Image.new("RGB", (WIDTH, HEIGHT)).save("photo.png")  # not the photo of the record
    (edit,) = collect(["out.ora"])
    assert edit.before is None
    assert edit.notes == ("The source photo.png has changed since: only the result is shown.",)
    assert edit.repeat == "t2l edit-image photo.png --config out.ora -o out-again.ora"
    Path("photo.png").unlink()
    page = Page(t2l.report("out.ora").html)
    assert "is not beside the result" in page.text
    assert page.all("input") == []


def test_a_record_names_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    result = run(tmp_path / "sent")
    (tmp_path / "sent" / "photo.png").rename(tmp_path / "photo.png")
    assert collect([str(result)])[0].before is None


def test_a_command_is_quoted_for_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "it's $(a) `b`.png"
    run(tmp_path, name, kept=False)
    words = shlex.split(collect([name])[0].repeat)
    assert words == ["t2l", "edit-image", "--config", name, "-o", "it's $(a) `b`-again.png"]


def test_an_edit_comes_once_as_who_knows_most_has_it(tmp_path: Path) -> None:
    run(tmp_path, "a.png")
    run(tmp_path, "b.png")
    places = [str(tmp_path / name) for name in ("b.png", "run-a", "a.png", "run-b", "a.png")]
    edits = collect(places)
    assert [(edit.name, edit.kept) for edit in edits] == [("b.png", True), ("a.png", True)]
    assert [edit.name for edit in collect([str(tmp_path)])] == ["a.png", "b.png"]  # a folder of runs


def test_a_training_that_diverged_says_so(tmp_path: Path) -> None:
    run(tmp_path, until=4)
    page = Page(t2l.report(tmp_path / "run-out").html)
    assert "diverged" in page.text
    assert any(path["d"].count("L") == 3 for path in page.all("path"))


def test_a_batch_is_a_grid_with_a_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    run(tmp_path, "out/a.png", kept=False)
    failure = {"code": "request", "message": "c.jpg is damaged"}
    (folder / "results.jsonl").write_text(
        line("b.png", "failed", error=failure, prompts=["blue"])
        + line("a.png", "failed", error=failure)
        + line("a.png", seconds=75)
        + '{"output": "cut'
    )
    (folder / "results-1.jsonl").write_text(line("gone.png"))
    a, b, gone = collect(["out"])
    assert [(edit.name, edit.status) for edit in (a, b, gone)] == [
        ("a.png", "done"),
        ("b.png", "failed"),
        ("gone.png", "done"),
    ]
    assert (a.before, a.times, a.failure) == (Path("photo.png"), (("in all", "1 min 15 s"),), None)
    assert a.repeat == "t2l edit-image photo.png --config out/a.png -o a-again.png"
    assert gone.notes == ("The result is no longer in the batch's folder.",)
    job = t2l.report("out")
    page = Page(job.html)
    page.needs_nothing_else()
    assert [(one["data-status"], one["data-prompts"].split()) for one in page.all("article")] == [
        ("done", ["0"]),
        ("failed", ["1"]),
        ("done", ["0"]),
    ]
    assert [option["value"] for option in page.all("option")] == ["", "done", "failed", "", "0", "1"]
    assert "c.jpg is damaged" in page.text
    assert (job.record["edits"], job.record["failed"]) == (3, 1)


def test_a_result_without_a_record_is_shown_in_its_batch_alone(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "results.jsonl").write_text(line("a.png"))
    (edit,) = collect([str(tmp_path)])
    assert (edit.result, edit.repeat) == (tmp_path / "a.png", "")
    assert "holds no record" in edit.notes[0]
    with pytest.raises(RequestError, match="holds no record"):
        collect([str(tmp_path / "a.png")])


def test_a_video_has_its_frames_and_plays(tmp_path: Path) -> None:
    own = video_run(tmp_path)
    (edit,) = collect([str(own)])
    assert (edit.first, edit.prompts) == (2, ("red ball", "snow"))
    page = Page(t2l.report(own).html)
    page.needs_nothing_else()
    (video,) = page.all("video")
    assert video["src"].startswith("data:video/mp4;base64,")
    assert "autoplay" not in video
    film = tmp_path / "small.mp4"
    film.write_bytes(base64.b64decode(video["src"].partition(",")[2]))
    facts = t2l.info(film).facts
    assert (facts["codec"], facts["pixels"], facts["frames"], facts["width"]) == ("h264", "yuv420p", 10, 64)
    pictures = {image["alt"]: image for image in page.all("img")}
    assert pictures["frames of the result, in their order"]["width"] == str(4 * 64)
    before, after = (pixel(pictures[alt]["src"], (30, 20)) for alt in ("before", "after: red ball, snow"))
    assert before[1] - after[1] == pytest.approx(2 * 10, abs=6)  # the frame with the same number in the source


def test_what_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    run(tmp_path)
    own = tmp_path / "run-out"
    (own / "layer.png").write_bytes(b"no picture")
    (own / "losses.csv").write_bytes(b"step,total\n1,x\n")
    (own / "composite.png").unlink()
    (tmp_path / "out.png").unlink()
    page = Page(t2l.report(own).html)
    page.needs_nothing_else()
    for what in ("layer.png cannot be shown", "losses.csv is no table", "The result is no longer where the run put it"):
        assert what in page.text


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("run.json", '{"command": "fit-atlas"}', "is of t2l fit-atlas"),
        ("run.json", '{"command": "edit-image", "config": 3}', '"config" must be'),
        ("run.json", "[]", "is not a run.json"),
        ("run.json", "{", "is not a run.json"),
        ("results.jsonl", "[]\n", "line 1"),
        ("results.jsonl", "", "no job of the batch has ended"),
        ("other.txt", "", "neither that of a run, of several, nor of a batch"),
    ],
)
def test_what_is_neither_run_nor_batch_is_refused(tmp_path: Path, name: str, data: str, what: str) -> None:
    (tmp_path / name).write_text(data)
    with pytest.raises(RequestError, match=what):
        _ = t2l.report(tmp_path).html


@pytest.mark.parametrize("name", ["nowhere", "", "a\0b", "-"])
def test_what_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(RequestError):
        _ = t2l.report(name).html


def test_the_page_is_written_as_a_whole_and_replaces_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    output = tmp_path / "report.html"
    result = t2l.report(tmp_path / "run-out", output=output).write()
    assert (result.status, result.files) == ("done", (str(output),))
    assert output.stat().st_size == result.record["bytes"]
    with pytest.raises(RequestError, match="exists"):
        t2l.report(tmp_path / "run-out", output=output).write()
    t2l.report(tmp_path / "run-out", output=output, overwrite=True).write()
    for wrong in (tmp_path / "photo.png", "-", tmp_path / "no" / "report.html"):
        with pytest.raises(RequestError):
            t2l.report(tmp_path / "run-out", output=wrong, overwrite=True).write()
    with pytest.raises(RequestError, match="no output"):
        t2l.report(tmp_path / "run-out").write()
    with pytest.raises(RequestError, match="name what"):
        t2l.report([])
    assert {path.suffix for path in tmp_path.iterdir()} == {"", ".png", ".html"}


def test_a_wish_to_stop_leaves_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    listener = Listener()
    listener.stop = True
    with pytest.raises(StoppedError):
        t2l.report(tmp_path / "run-out", output=tmp_path / "report.html", reporter=listener).write()
    assert not (tmp_path / "report.html").exists()


def test_a_hundred_edits_have_twenty_megabytes(tmp_path: Path) -> None:
    """The pictures of each keep to their share, however large and noisy they are; the rest is less than 2 MB."""
    noise = np.random.default_rng(0).integers(0, 256, (700, 1000, 4), np.uint8)
    Image.fromarray(noise[..., :3]).save(tmp_path / "photo.png")
    Image.fromarray(noise).save(tmp_path / "layer.png")
    with (tmp_path / "losses.csv").open("w") as file:
        file.write("step,stage,lr,total,a,b,c,d,e,f\n")
        for step in range(1, 1001):
            file.write(
                f"{step},,0.1,{','.join(str(value) for value in noise[0, step % 990 : step % 990 + 7, 0] / 7 + 1)}\n"
            )
    photo, losses = tmp_path / "photo.png", tmp_path / "losses.csv"
    layer = Layer("", ("a prompt",), tmp_path / "layer.png", losses)
    edit = Edit("out.png", "", "done", False, (layer,), photo, photo, settings=(("name", "value"),) * 40)
    album = Album(edit, 100)
    used = sum(len(one.uri) for one in album.pictures.values())
    assert set(album.pictures) == {("before", ""), ("after", ""), ("layer", ""), ("alpha", "")}
    assert MOST / 100 * 0.3 < used * 3 / 4 <= MOST / 100 * 1.001
    chart = chart_of(losses)
    assert chart is not None
    page = page_of([Shown(edit, album, {"": chart}, ())] * 100)
    assert len(page) - 100 * used < 2_000_000
    assert len(page) < 20_000_000
