"""The record inside a result: what it holds and does not, what t2l info shows of it, and that it repeats the edit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cardboard import Listener
from PIL import Image

import t2l_cli as t2l
from t2l_cli.atlases.store import save_atlas
from t2l_cli.jobs.earlier import read_run
from t2l_cli.jobs.record import MAX_MARK, mark_of, parsed_mark
from t2l_cli.media.images import load_picture
from t2l_cli.media.output import save_picture
from t2l_cli.media.tags import Tags
from t2l_cli.media.videos import probe, read_frames
from t2l_cli.media.xmp import Mark
from tests.tiny_videos import make_video
from tests.truth import make_truth

QUICK: dict[str, Any] = {"clip": "mini", "offline": True, "steps": 2, "views": 1, "size": 129, "roi": "cup"}
CONFIG = {"prompts": ["swan"]}


def draw(path: Path, size: tuple[int, int] = (48, 32)) -> Path:
    """A small photo in a file."""
    y, x = np.mgrid[: size[1], : size[0]]
    Image.fromarray(np.stack([(5 * x) % 256, (7 * y) % 256, (3 * x + 2 * y) % 256], -1).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder of somebody's with a photo and its edit in every format, and the CLIP of them."""
    folder = tmp_path_factory.mktemp("home-of-somebody")
    photo, mask = draw(folder / "photo.png"), folder / "mask.png"
    Image.fromarray(np.pad(np.full((16, 24), 255, np.uint8), ((8, 8), (12, 12)))).save(mask)
    edit = t2l.edit_image(photo, "red cup", mask=mask, **QUICK).run()
    for suffix in SUFFIXES:
        edit.save(folder / f"out{suffix}")
    return folder, edit.judge


SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".avif")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_asks_for_the_same_edit(edits: tuple[Path, Any], suffix: str) -> None:
    folder, _ = edits
    request = t2l.edit_image(config=folder / f"out{suffix}").request
    assert request.config == t2l.edit_image("x", "red cup", **QUICK).request.config
    assert (request.source, request.mask) == (str(folder / "photo.png"), str(folder / "mask.png"))


def test_an_edit_is_repeated_from_its_picture_alone(edits: tuple[Path, Any], tmp_path: Path) -> None:
    folder, judge = edits
    job = t2l.edit_image(config=folder / "out.jpg", offline=True, judge=judge).run()
    for suffix in SUFFIXES:
        job.save(tmp_path / f"again{suffix}")
        assert np.array_equal(load_picture(tmp_path / f"again{suffix}").rgb, load_picture(folder / f"out{suffix}").rgb)
        assert (tmp_path / f"again{suffix}").read_bytes() == (folder / f"out{suffix}").read_bytes()  # no times in it


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_result_says_what_was_done_and_names_no_folder(edits: tuple[Path, Any], suffix: str) -> None:
    folder, _ = edits
    info = t2l.info(folder / f"out{suffix}")
    assert info.record is not None
    assert (info.record["command"], info.record["source"], info.record["mask"]) == (
        "edit-image",
        "photo.png",
        "mask.png",
    )
    assert info.record["texts"]["prompts"] == ["red cup"]
    assert "output" not in info.record
    assert info.digital_source_type == "compositeWithTrainedAlgorithmicMedia"
    data = (folder / f"out{suffix}").read_bytes()
    for word in ("somebody", str(folder.parent)):
        assert word not in json.dumps(info.record)
        assert word.encode() not in data
    rows = dict(info.rows())
    assert (rows["source"], rows["width"], rows["config / clip"]) == ("photo.png", "48", "mini")
    assert "config / optim / lr" not in rows  # the default


def test_without_metadata_nothing_is_said(tmp_path: Path, edits: tuple[Path, Any]) -> None:
    photo = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[315] = "A. Person"
    beside = Tags(exif=exif.tobytes(), iptc=b"\x1c\x02\x50\0\4Iris", texts={"Comment": "said"})
    save_picture(photo, load_picture(edits[0] / "photo.png").rgb, beside=beside, mark=Mark("x"))
    out = tmp_path / "out.png"
    t2l.edit_image(photo, "red cup", output=out, judge=edits[1], metadata=False, **QUICK).write()
    assert (load_picture(out).beside, t2l.info(out).record) == (Tags(), None)
    t2l.edit_image(photo, "red cup", output=out, overwrite=True, judge=edits[1], **QUICK).write()
    assert b"A. Person" in (load_picture(out).exif or b"")
    assert b">Iris<" in (load_picture(out).xmp or b"")
    assert load_picture(out).texts == {"Comment": "said"}


@pytest.mark.slow
def test_a_video_is_repeated_from_its_result(tmp_path: Path, edits: tuple[Path, Any]) -> None:
    size = (40, 24)
    video = make_video(tmp_path / "video.mp4", range(4), size=size)
    save_atlas(make_truth(size, 3).atlas(), tmp_path / "atlas")
    given: dict[str, Any] = {"atlas": tmp_path / "atlas", "judge": edits[1]}
    edit = t2l.edit_video(video, "red cup", frames="0:3", output=tmp_path / "out.mp4", **given, **QUICK)
    edit.write()
    for suffix in (".mov", ".mkv"):
        edit.save(tmp_path / f"out{suffix}")
    for suffix in (".mp4", ".mov", ".mkv"):
        out = tmp_path / f"out{suffix}"
        with pytest.raises(t2l.RequestError, match="made with the atlas atlas: give it by --atlas"):
            t2l.edit_video(config=out)
        request = t2l.edit_video(config=out, atlas=tmp_path / "atlas").request
        assert (request.configs, request.frames) == (edit.request.configs, "0:3")
        info = t2l.info(out)
        assert info.record is not None
        assert (info.record["source"], info.record["layers"]) == ("video.mp4", {"foreground": ["red cup"]})
        assert str(tmp_path) not in json.dumps(info.record)
    again = t2l.edit_video(config=tmp_path / "out.mkv", **given).run()
    again.save(tmp_path / "again.mp4")
    first, second = ([frame.rgb for frame in read_frames(probe(tmp_path / name))] for name in ("out.mp4", "again.mp4"))
    assert len(first) == 3
    assert np.array_equal(first, second)
    assert load_picture(tmp_path / "out-foreground.png").trained


def test_the_fit_of_an_earlier_video_is_repeated(tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", range(3), size=(40, 24))
    fit = {"size": 32, "visits": 2, "seed": 5}
    record = {"command": "edit-video", "config": CONFIG, "source": str(video), "layers": {"background": ["snow"]}}
    (tmp_path / "run.json").write_text(json.dumps(record | {"fit": fit, "excerpt": "0:2"}))
    request = t2l.edit_video(config=tmp_path / "run.json").request
    assert (request.fit.config.visits, request.fit.config.seed, request.frames) == (2, 5, "0:2")
    request = t2l.edit_video(config=tmp_path / "run.json", fit_preset="draft", frames="1:3").request
    assert (request.fit.config.visits == 2, request.frames) == (False, "1:3")


def test_a_composite_says_what_was_laid_over_what(edits: tuple[Path, Any], tmp_path: Path) -> None:
    photo = edits[0] / "photo.png"
    layer = np.zeros((32, 48, 4), np.uint8)
    Image.fromarray(layer).save(tmp_path / "painted.png")
    t2l.composite(photo, tmp_path / "painted.png", output=tmp_path / "out.png").write()
    info = t2l.info(tmp_path / "out.png")
    assert info.record is not None
    assert (info.record["command"], info.record["source"], info.record["layer"]) == (
        "composite",
        "photo.png",
        "painted.png",
    )
    assert info.record["source_sha256"] == load_picture(photo).sha256
    assert info.digital_source_type is None  # a person may have painted it
    t2l.edit_image(
        photo, "red cup", output=tmp_path / "e.png", run_dir=tmp_path / "run", judge=edits[1], **QUICK
    ).write()
    t2l.composite(photo, tmp_path / "run" / "layer.png", output=tmp_path / "again.png").write()
    assert t2l.info(tmp_path / "again.png").digital_source_type == "compositeWithTrainedAlgorithmicMedia"
    assert np.array_equal(load_picture(tmp_path / "again.png").rgb, load_picture(tmp_path / "e.png").rgb)
    with pytest.raises(t2l.RequestError, match="no edit that can be repeated"):
        t2l.edit_image(config=tmp_path / "out.png")
    assert t2l.info(tmp_path / "run").kind == "run"
    assert t2l.info(tmp_path / "run" / "run.json").record == t2l.info(tmp_path / "run").record


def marked_picture(tmp_path: Path, **record: Any) -> Path:
    path = tmp_path / "out.png"
    mark = mark_of({"command": "edit-image", "config": CONFIG, **record}, Listener())
    save_picture(path, np.zeros((20, 30, 3), np.uint8), overwrite=True, mark=mark)
    return path


def test_a_file_beside_a_picture_is_taken_where_it_is_the_very_one(tmp_path: Path) -> None:
    photo = draw(tmp_path / "photo.png")
    digest = load_picture(photo).sha256
    out = marked_picture(tmp_path, source=str(photo), source_sha256=digest)
    assert read_run(out).file("source") == str(photo)
    assert t2l.edit_image(config=out).request.source == str(photo)
    draw(photo, (50, 32))
    with pytest.raises(t2l.RequestError, match=r"photo\.png is not that file: name it"):
        t2l.edit_image(config=out)
    assert t2l.edit_image(photo, config=out).request.source == str(photo)
    photo.unlink()
    with pytest.raises(t2l.RequestError, match="which is not beside it: name it"):
        t2l.edit_image(config=out)


@pytest.mark.parametrize("name", ["../photo.png", "/etc/hostname", "sub/photo.png", "..", ".", "c:\\photo.png", "a\\b"])
def test_a_record_from_somebody_else_reaches_no_other_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "in").mkdir()
    for place in ("photo.png", "sub/photo.png", "in/c:\\photo.png", "in/a\\b"):
        draw(tmp_path / place if "\\" not in place else tmp_path / "x.png").rename(tmp_path / place)
    digest = load_picture(tmp_path / "photo.png").sha256
    mark = json.dumps({"format": "t2l-run", "version": 1, "config": CONFIG, "source": name, "source_sha256": digest})
    save_picture(tmp_path / "in" / "out.png", np.zeros((20, 30, 3), np.uint8), mark=Mark(mark))
    with pytest.raises(t2l.RequestError, match=r"was made with the source .*: name it"):
        t2l.edit_image(config=tmp_path / "in" / "out.png")


def test_weights_are_never_taken_from_beside_a_picture(tmp_path: Path) -> None:
    draw(tmp_path / "photo.png")
    (tmp_path / "clip.pt").write_bytes(b"x")
    digest = load_picture(tmp_path / "photo.png").sha256
    out = marked_picture(tmp_path, source="photo.png", source_sha256=digest, clip_weights="/x/clip.pt")
    with pytest.raises(t2l.RequestError, match=r"clip weights clip\.pt: give them by --clip-weights"):
        t2l.edit_image(config=out)


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"format": "t2l-run", "version": 2}', "[" * 100_000])
def test_a_text_that_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    assert parsed_mark(text) is None
    save_picture(tmp_path / "p.png", np.zeros((20, 30, 3), np.uint8), mark=Mark(text))
    info = t2l.info(tmp_path / "p.png")
    assert info.record is None
    assert info.as_json()["record"] is None
    with pytest.raises(t2l.RequestError, match="holds no record of t2l"):
        read_run(tmp_path / "p.png")


def test_the_longest_parts_go_first_and_what_a_repetition_needs_stays(tmp_path: Path) -> None:
    listener = Listener()
    record = {
        "command": "edit-image",
        "config": CONFIG,
        "tries": ["x" * 20_000],
        "losses": ["y" * 15_000],
        "device": "cpu",
    }
    mark = mark_of(record, listener)
    assert mark is not None
    made = json.loads(mark.record)
    assert len(mark.record) <= MAX_MARK
    assert (made["config"], made["device"], made["left_out"]) == (CONFIG, "cpu", ["tries"])
    assert "losses" in made
    assert listener.notes == ["note: the record in the result is without tries, which are too long"]
    assert mark_of(record | {"config": {"prompts": ["z" * MAX_MARK]}}, listener) is None
    assert "too long to go into the result" in listener.notes[-1]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/somebody/photo.jpg", "photo.jpg"),
        ("C:\\Users\\somebody\\photo.jpg", "photo.jpg"),
        ("-", None),
        (None, None),
    ],
)
def test_a_record_has_names_and_no_folders(path: str | None, name: str | None) -> None:
    record = {
        "command": "edit-image",
        "config": CONFIG,
        "source": path,
        "output": "/home/somebody/x",
        "seconds": {"a": 1},
    }
    mark = mark_of(record, Listener())
    assert mark is not None
    made = json.loads(mark.record)
    assert made["source"] == name
    assert made.keys() == {"format", "version", "command", "config", "source"}


def test_an_atlas_folder_is_known(tmp_path: Path) -> None:
    save_atlas(make_truth((40, 24), 3).atlas(), tmp_path / "atlas")
    info = t2l.info(tmp_path / "atlas")
    assert (info.kind, info.facts["video"]["frames"]) == ("atlas", 3)


@pytest.mark.parametrize("name", ["nothing", "folder", "run.json", "-", "a\0b"])
def test_what_is_not_known_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(t2l.RequestError):
        t2l.info(name)
