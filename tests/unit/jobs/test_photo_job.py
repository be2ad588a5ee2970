"""The walk of a photo's edit with an engine made of cardboard: how it ends, and what is kept."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cardboard import HEIGHT, WIDTH, Cardboard, Listener, put_in
from PIL import Image

import t2l_cli as t2l
from t2l_cli.engine.optimize import Step
from t2l_cli.errors import DivergedError, OutputError, RequestError, StoppedError, T2LError
from t2l_cli.jobs import judge, photo
from t2l_cli.jobs.job import Failure, Result, from_json, to_json
from t2l_cli.jobs.photo import PhotoJob, PhotoRequest
from t2l_cli.jobs.record import FORMAT, VERSION, RunDir, check_run_dir
from t2l_cli.media import atomic
from t2l_cli.media.images import Picture
from t2l_cli.media.output import save_picture
from t2l_cli.media.xmp import Mark


def job_of(edit: Cardboard, tmp_path: Path, reporter: Listener | None = None, **more: Any) -> PhotoJob:
    """The edit of a black picture by ``edit``."""
    request = PhotoRequest(None, edit.config, str(tmp_path / "out.png"), run_dir=str(tmp_path / "run"), **more)
    job = PhotoJob(request, reporter or Listener(), Picture(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    put_in(job, edit)
    return job


def written(tmp_path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((tmp_path / "run" / "run.json").read_text())
    return record


def test_all_goes_well(tmp_path: Path) -> None:
    result = job_of(Cardboard(), tmp_path).write()
    assert (result.status, result.files, result.error) == ("done", (str(tmp_path / "out.png"),), None)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "out.png")))) == {0, 128}
    names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*.*")}
    snapshots = {name for name in names if name.startswith("snapshots")}
    assert names - snapshots == {"layer.png", "alpha.png", "composite.png", "losses.csv", "run.json"}
    assert len(snapshots) == 8
    assert len((tmp_path / "run" / "losses.csv").read_text().splitlines()) == 11
    assert written(tmp_path)["ended"] == "done"
    assert written(tmp_path) == json.loads(json.dumps(result.record))


def test_a_job_can_be_looked_at_after_any_step(tmp_path: Path) -> None:
    job = job_of(Cardboard(), tmp_path)
    assert job._repr_png_() is None
    with pytest.raises(T2LError, match=r"call run\(\)"):
        _ = job.image
    for step in job:
        if step.i == 3:
            break
    assert (job.image.size, job.image.mode, job.image.getpixel((0, 0))) == ((WIDTH, HEIGHT), "RGB", (128, 0, 0))
    assert (job.layer.mode, job.layer.getpixel((0, 0))) == ("RGBA", (255, 0, 0, 128))
    assert (job.alpha.mode, job.alpha.getpixel((0, 0))) == ("L", 128)
    assert (job.record["steps_done"], job.record["ended"], job.record["output"]) == (4, "interrupted", None)
    assert (job._repr_png_() or b"").startswith(b"\x89PNG")
    assert [step.i for step in job] == [4, 5, 6, 7, 8, 9]
    assert (job.record["steps_done"], job.record["ended"]) == (10, "done")
    assert [path.name for path in tmp_path.iterdir()] == []
    job.save(tmp_path / "saved.png")
    assert job.record["output"] == str(tmp_path / "saved.png")
    with pytest.raises(RequestError, match="exists"):
        job.save(tmp_path / "saved.png")


def test_a_run_directory_that_takes_nothing_does_not_take_the_result_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PhotoJob, "check_outputs", lambda self: None)
    (tmp_path / "run").touch()
    reporter = Listener()
    assert job_of(Cardboard(), tmp_path, reporter).write().status == "done"
    assert Image.open(tmp_path / "out.png").size == (WIDTH, HEIGHT)
    assert reporter.warnings == [f"--run-dir {tmp_path / 'run'} is not complete: Not a directory."]


def test_the_result_is_there_before_the_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        assert (tmp_path / "out.png").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDir, "finish", gone)
    with pytest.raises(KeyboardInterrupt):
        job_of(Cardboard(), tmp_path).write()


@pytest.mark.parametrize("failure", [OutputError("the disk is full."), MemoryError(), ValueError("a bug")])
def test_the_layer_outlives_a_result_that_cannot_be_written(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(photo, "save_photo", fail)
    reporter = Listener()
    with pytest.raises(type(failure)):
        job_of(Cardboard(), tmp_path, reporter).write()
    layer = tmp_path / "run" / "layer.png"
    assert Image.open(layer).getpixel((0, 0)) == (255, 0, 0, 128)
    assert reporter.warnings == [f"what was painted is kept: {layer}; t2l composite lays it over the photo"]


def test_a_disk_that_takes_no_layer_either_is_said_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is still the result's, where the run directory takes nothing either."""

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "flush_file", full)
    reporter = Listener()
    with pytest.raises(OutputError, match=r"could not write .*out\.png: No space left"):
        job_of(Cardboard(), tmp_path, reporter).write()
    assert [warning for warning in reporter.warnings if "is kept" in warning] == []


def test_a_divergence_keeps_the_last_good_result(tmp_path: Path) -> None:
    result = job_of(Cardboard(until=4), tmp_path).write()
    assert (tmp_path / "out.png").exists()
    said = "the loss became NaN or infinite at step 5. The result so far is kept. Try another --seed or a lower --lr."
    assert (result.status, result.error) == ("failed", Failure("diverged", said))
    assert (written(tmp_path)["ended"], written(tmp_path)["steps_done"]) == ("diverged", 4)


def test_a_divergence_at_once_writes_no_picture(tmp_path: Path) -> None:
    with pytest.raises(DivergedError) as error:
        job_of(Cardboard(until=0), tmp_path).write()
    said = "the loss became NaN or infinite at step 1. There is no result yet. Try another --seed or a lower --lr."
    assert str(error.value) == said
    assert not (tmp_path / "out.png").exists()


def test_a_wish_to_stop_ends_the_training_after_the_step_at_hand(tmp_path: Path) -> None:
    reporter = Listener()

    class Pressed(Cardboard):
        def __iter__(self) -> Iterator[Step]:
            for step in super().__iter__():
                reporter.stop = step.i == 2
                yield step

    result = job_of(Pressed(), tmp_path, reporter).write()
    assert (result.status, result.error) == ("interrupted", None)
    assert (written(tmp_path)["ended"], written(tmp_path)["steps_done"]) == ("interrupted", 3)
    assert reporter.patient_when_asked == {True}


def test_a_wish_to_stop_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        job_of(Cardboard(n=0), tmp_path).write()
    assert not (tmp_path / "out.png").exists()


def test_a_request_and_a_result_are_plain_data(tmp_path: Path) -> None:
    request = dataclasses.replace(job_of(Cardboard(), tmp_path).request, mask="m.png", overwrite=True)
    assert from_json(PhotoRequest, to_json(request)) == request
    result = job_of(Cardboard(), tmp_path).write()
    assert from_json(Result, to_json(result)) == result
    for text, words in (("{", "JSON"), ("{}", "source"), ('{"source": 3}', "source"), ("[" * 10_000, "JSON")):
        with pytest.raises(RequestError, match=words):
            from_json(PhotoRequest, text)
    with pytest.raises(RequestError, match="steps must be between"):
        from_json(PhotoRequest, to_json(request).replace('"steps": 1000', '"steps": 0'))


@pytest.mark.parametrize("name", ["mask", "clip_weights", "earlier"])
def test_no_input_is_saved_over(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes(b"mine")
    job = job_of(Cardboard(), tmp_path, **{name: str(mine)}).run()
    with pytest.raises(RequestError, match="is the input itself"):
        job.save(mine, overwrite=True)
    assert mine.read_bytes() == b"mine"


def test_a_run_dir_is_used_again(tmp_path: Path) -> None:
    job_of(Cardboard(), tmp_path).write()
    check_run_dir(tmp_path / "run", True, [tmp_path / "photo.png"], [tmp_path / "out.png"])
    assert job_of(Cardboard(), tmp_path, overwrite=True).write().status == "done"


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_mask_that_permits_nothing_is_refused_before_clip_is_loaded(
    tmp_path: Path, in_memory: bool, clear: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Black, or white where it is transparent."""
    monkeypatch.setattr(judge, "load_judge", lambda *_: pytest.fail("CLIP was loaded"))
    pixels = np.full((HEIGHT, WIDTH, 4), 255 if clear else 0, np.uint8)
    pixels[..., 3] = 0 if clear else 255
    mask = Image.fromarray(pixels)
    mask.save(tmp_path / "mask.png")
    edit = t2l.edit_image(
        np.zeros((HEIGHT, WIDTH, 3), np.uint8), "red", mask=mask if in_memory else tmp_path / "mask.png"
    )
    with pytest.raises(RequestError, match=r"the mask \S.* is black"):
        edit.run()


def test_a_dim_mask_is_one(tmp_path: Path) -> None:
    mask = Image.new("L", (WIDTH, HEIGHT), 60)
    edit = t2l.edit_image(
        np.zeros((HEIGHT, WIDTH, 3), np.uint8), "red", mask=mask, clip="mini", size=129, steps=1, views=1
    )
    assert edit.run().has_result


def test_a_mask_in_memory_wins_over_that_of_an_earlier_run(tmp_path: Path) -> None:
    photo, mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8), Image.new("L", (WIDTH, HEIGHT), 255)
    kept = {"config": {"prompts": ["red"]}, "mask": "gone.png", "mask_sha256": "0" * 64}
    (tmp_path / "run.json").write_text(json.dumps(kept))
    save_picture(tmp_path / "out.png", photo, mark=Mark(json.dumps({"format": FORMAT, "version": VERSION, **kept})))
    for earlier in ("run.json", "out.png"):
        request = t2l.edit_image(photo, mask=mask, config=tmp_path / earlier).request
        assert (request.mask, request.config.prompts) == (None, ("red",))
    assert t2l.edit_image(photo, config=tmp_path / "run.json").request.mask == "gone.png"
    with pytest.raises(RequestError, match=r"made with the mask gone\.png"):
        t2l.edit_image(photo, config=tmp_path / "out.png")
