"""What a manifest, a folder and a template become: rows, names, and errors with their lines."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2l_cli.errors import RequestError
from t2l_cli.jobs.batch.photos import watch_photos
from t2l_cli.jobs.batch.plan import Names
from t2l_cli.jobs.batch.rows import PhotoRow, Row, VideoRow, Wrong, read_manifest
from t2l_cli.jobs.photo import PhotoRequest
from t2l_cli.jobs.video_request import VideoRequest
from t2l_cli.settings import FIT, FIT_SETTINGS, PHOTO, VIDEO
from tests.unit.jobs.batching import batch, manifest, photos


def rows_of(path: Path, text: str) -> list[Row | Wrong]:
    path.write_text(text)
    return list(read_manifest(path, {}, ("red ball",)))


SAME = {
    "jobs.jsonl": '{"source": "a.png", "prompt": "blue", "steps": 3, "lr": 0.5, "shared_draws": true}\n'
    '\n{"source": "b.png", "clip": "mini", "layer-text": "fog"}\n',
    "jobs.csv": "source,prompt,steps,lr,shared-draws,clip,layer_text\na.png,blue,3,0.5,true,,\n\nb.png,,,,,mini,fog\n",
    "jobs.toml": '[[job]]\nsource = "a.png"\nprompt = "blue"\nsteps = 3\nlr = 0.5\nshared_draws = true\n'
    '\n[[job]]\nsource = "b.png"\nclip = "mini"\nlayer_text = "fog"\n',
}


@pytest.mark.parametrize("name", SAME)
def test_all_kinds_of_manifests_say_the_same(name: str, tmp_path: Path) -> None:
    first, second = rows_of(tmp_path / name, SAME[name])
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.source, first.label, first.prompts) == (str(tmp_path / "a.png"), "a.png", ("blue",))
    assert first.values == {"steps": 3, "lr": 0.5, "shared_draws": True}
    assert (second.prompts, second.values) == (("red ball",), {"clip": "mini", "layer_text": "fog"})


@pytest.mark.parametrize(
    ("name", "text", "where", "what"),
    [
        ("j.jsonl", '{"source": "a.png"}\n{"source": ', "line 2", "JSON"),
        ("j.jsonl", '{"source": "a.png"}\n\n[1]', "line 3", "table"),
        ("j.jsonl", '{"source": "a.png", "stepz": 3}', "line 1", "did you mean steps"),
        ("j.jsonl", '{"source": "a.png", "steps": "3"}', "line 1", '"steps" must be'),
        ("j.jsonl", '{"prompt": "a"}', "line 1", '"source"'),
        ("j.jsonl", '{"source": "-"}', "line 1", '"source"'),
        ("j.jsonl", '{"source": "a.png", "command": "rm"}', "line 1", '"command"'),
        ("j.jsonl", '{"source": "a.png", "frames": "0:2"}', "line 1", "no setting 'frames'"),
        ("j.csv", "source,steps\na.png,3\na.png,many\n", "line 3", '"steps"'),
        ("j.csv", "source\na.png,3\n", "line 2", "cells"),
        ("j.csv", 'source,prompt\n"a\nb.png",x\na.png,x,y\n', "line 4", "cells"),
        ("j.toml", '[[job]]\nsource = "a"\n[[job]]\nstep = 1\nsource = "b"\n', "line 3", "no setting 'step'"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(name: str, text: str, where: str, what: str, tmp_path: Path) -> None:
    wrong = [row for row in rows_of(tmp_path / name, text) if isinstance(row, Wrong)]
    assert [one.where for one in wrong] == [where]
    assert what in wrong[0].what


@pytest.mark.parametrize("text", ["[job]\nsource=1\n", "[[job]", "x = 1\n", "[[job]]\nsource='a'\n[more]\n", "\xff"])
def test_what_is_no_manifest_is_refused_whole(text: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--jobs"):
        rows_of(tmp_path / "jobs.toml", text)


def test_all_errors_are_listed_before_any_work(tmp_path: Path) -> None:
    photos(tmp_path, "a.png")
    rows = manifest(
        tmp_path / "jobs.jsonl",
        {"source": "a.png"},
        {"source": "gone.png"},
        {"source": "a.png", "steps": 0},
        {"source": "a.png", "output": "../a.png"},
        {"source": "a.png", "output": "x.png"},
        {"source": "a.png", "output": "x.png", "seed": 3},
        {"source": "a.png", "output": "a.doc"},
        "nonsense",
    )
    work = batch(tmp_path, manifest=str(rows), prompts=("red ball",))
    with pytest.raises(RequestError) as refused:
        work.run()
    first, *each = str(refused.value).splitlines()
    assert first.startswith("6 rows cannot be")
    assert [line.partition(":")[0] for line in sorted(each)] == [f"line {n}" for n in (2, 3, 4, 6, 7, 8)]
    assert not (tmp_path / "out").exists()
    work = batch(tmp_path, manifest=str(rows), prompts=("red ball",), keep_going=True)
    assert len(work.preview()) == 2
    result = work.run()
    assert (result.status, result.record["done"], result.record["left_out"]) == ("failed", 2, 6)


def test_a_row_has_every_option_of_its_command() -> None:
    assert {setting.name for setting in PHOTO.settings} <= set(PhotoRow.__struct_fields__)
    video = (*VIDEO.settings, *FIT.only(*FIT_SETTINGS).settings)
    assert {setting.name for setting in video} <= set(VideoRow.__struct_fields__)


def test_a_row_can_be_a_video(tmp_path: Path) -> None:
    photos(tmp_path / "frames", "0.png", "1.png")
    photos(tmp_path, "a.png")
    rows = manifest(
        tmp_path / "jobs.jsonl",
        {"command": "edit-video", "source": "frames", "foreground": "red car", "background": "snow", "texels": 1.0},
        {"source": "a.png", "prompt": "red ball"},
    )
    video, photo = batch(tmp_path, manifest=str(rows), prompts=("unused",), values={"preset": "draft"}).jobs
    assert isinstance(video.request, VideoRequest)
    assert video.request.source == str(tmp_path / "frames")
    assert video.outputs == (
        "frames-red-car.mp4",
        "frames-red-car-foreground.png",
        "frames-red-car-background.png",
    )
    assert isinstance(photo.request, PhotoRequest)
    assert photo.name == "a-red-ball.png"


NAMES = st.lists(
    st.tuples(
        st.sampled_from(["a.png", "a.jpg", "A.png", "b.png", "a-red.png"]),
        st.sampled_from(["red", "Red!", "red red", "blue"]),
        st.integers(0, 2),
        st.sampled_from(["", "sub"]),
    ),
    min_size=1,
    max_size=12,
)


@given(NAMES, st.sampled_from([None, "{stem}", "{prompt}/{stem}.jpg", "x", "{stem}-{seed}"]))
def test_names_are_unique_and_hang_on_their_row_alone(
    drawn: list[tuple[str, str, int, str]], template: str | None
) -> None:
    def named(rows: list[Row]) -> dict[object, str]:
        found = Names(template).name(rows)
        assert all(isinstance(name, str) for _, name in found)
        return {(row.label, row.prompts, str(row.values), row.folder): str(name) for row, name in found}

    rows = [Row(f"row {i}", a, a, (p,), folder=f, values={"seed": s}) for i, (a, p, s, f) in enumerate(drawn)]
    names = named(rows)
    assert len(names) == len(set(drawn))
    assert len({name.casefold() for name in names.values()}) == len(names)
    assert named(rows[::-1]) == names


def test_more_jobs_later_leave_the_names_that_there_are() -> None:
    names = Names("{stem}")
    (first,) = names.name([Row("1", "a.png", "a.png", ("x",))])
    (second,) = names.name([Row("2", "a.jpg", "a.jpg", ("x",))])
    assert first[1] == "a.png"
    assert second[1] != "a.png"


@pytest.mark.parametrize(
    "template", ["{source}", "{stem", "../{stem}", "/x", "{stem.__class__}", "{0}", "{}", "", "{i:x%}"]
)
def test_what_is_no_template_is_refused(template: str) -> None:
    if template == "":
        assert Names(template).name([Row("1", "a", "a.png", ("x",))])[0][1] == "a-x.png"
        return
    with pytest.raises(RequestError, match="--name"):
        Names(template)


def test_a_long_name_still_is_one(tmp_path: Path) -> None:
    ((_, name),) = Names("{stem}-{prompt}-{stem}-{prompt}").name([Row("1", "a", "ä" * 120 + ".png", ("word " * 90,))])
    (tmp_path / str(name)).touch()
    assert str(name).endswith(".png")


def test_each_prompt_is_a_job(tmp_path: Path) -> None:
    photos(tmp_path / "in", "a.png", "b.png")
    both = batch(tmp_path, prompts=("red", "blue")).jobs
    assert [job.name for job in both] == ["a-red.png", "b-red.png"]
    each = batch(tmp_path, prompts=("red", "blue"), each_prompt=True).jobs
    assert sorted(job.name for job in each) == ["a-blue.png", "a-red.png", "b-blue.png", "b-red.png"]
    assert all(len(job.row.prompts) == 1 for job in each)


def test_photos_come_from_files_folders_and_patterns(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", "a.png", "b.JPG", "sub/c.webp", "sub/a.png", ".hidden.png", "._a.png")
    (folder / "notes.txt").write_text("no photo")

    def found(*sources: str, recursive: bool = False) -> list[str]:
        return [job.name for job in batch(tmp_path, sources=sources, recursive=recursive).jobs]

    assert found(str(folder)) == ["a-red-ball.png", "b-red-ball.png"]
    assert found(str(folder), recursive=True) == [
        *("a-red-ball.png", "b-red-ball.png"),
        *("sub/a-red-ball.png", "sub/c-red-ball.png"),
    ]
    assert found(str(folder / "*.png"), str(folder / "a.png")) == ["a-red-ball.png"]
    assert len(set(found(str(folder / "**/*.png"), str(folder)))) == 3
    other = photos(tmp_path / "other", "a.png")
    assert len(set(found(str(folder / "a.png"), str(other / "a.png")))) == 2
    assert len(set(found(str(folder), str(other)))) == 3
    for nothing in ("gone.png", "x*.png", "-"):
        with pytest.raises(RequestError):
            found(str(folder / nothing) if nothing != "-" else nothing)


def test_new_photos_are_seen_once_they_are_complete(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", "known.png", "missed.png")
    seen: list[str] = []
    since = 0.0
    for photos_now in watch_photos([folder], False, tmp_path / "out", {str(folder / "known.png")}):
        seen += [photo.path.name for photo in photos_now]
        if seen == ["missed.png"] and not since:
            since = time.monotonic()
            (folder / "new.png").write_bytes(b"half")
        elif since and time.monotonic() - since < 1.5:  # it still grows
            assert seen == ["missed.png"]
            with (folder / "new.png").open("ab") as file:
                file.write(b"more")
        if "new.png" in seen:
            break
    assert seen == ["missed.png", "new.png"]


def test_a_manifest_is_data(tmp_path: Path) -> None:
    """A row names plain values: what JSON can hold and a job cannot is an error of that row."""
    for value in ([], {}, 1.5, None, True):
        text = json.dumps({"source": value})
        assert all(isinstance(row, Wrong) for row in rows_of(tmp_path / "j.jsonl", text))
