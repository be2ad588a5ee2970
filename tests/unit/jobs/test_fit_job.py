"""The walk of a fit with an engine made of cardboard: what is kept, and where."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cardboard import Listener, diverge
from PIL import Image

from t2l_cli.atlases.store import load_atlas, save_atlas
from t2l_cli.config import FitConfig
from t2l_cli.engine.atlas.quality import Quality
from t2l_cli.errors import RequestError, StoppedError
from t2l_cli.jobs import fit
from t2l_cli.jobs.fit import FitJob, FitRequest
from t2l_cli.jobs.fit_state import FitState
from t2l_cli.jobs.job import Failure, from_json, to_json
from t2l_cli.jobs.record import check_run_dir
from t2l_cli.progress import Tick
from tests.tiny_videos import make_video
from tests.truth import make_truth

QUALITY = Quality(30.0, None, None, None, None, None, 0.0)
ATLAS = make_truth((40, 24), 3).atlas()


class CardboardFit:
    """An AtlasFit of six steps that knows the atlas from step ``ready_at`` on."""

    size, found_foreground, config = (24, 40), True, SimpleNamespace(seed=0)

    def __init__(self, ready_at: int = 2, until: int | None = None) -> None:
        self.ready_at, self.until, self.done = ready_at, until, 0

    def __iter__(self) -> Iterator[Tick]:
        for i in range(self.done, 6):
            if i == self.until:
                diverge(i)
            self.done = i + 1
            yield Tick(i, 6, "fitting")

    @property
    def ready(self) -> bool:
        return self.done >= self.ready_at

    def result(self) -> Any:
        return ATLAS

    def quality(self) -> Quality:
        return QUALITY

    def state(self) -> dict[str, int]:
        return {"step": self.done}


def job_of(fit: CardboardFit, tmp_path: Path, reporter: Listener, **more: Any) -> FitJob:
    video = make_video(tmp_path / "video.mp4", range(3), size=(40, 24))
    request = FitRequest(str(video), FitConfig(), str(tmp_path / "atlas"), **more)
    assert from_json(FitRequest, to_json(request)) == request
    job = FitJob(request, reporter)
    job.work = fit  # type: ignore[assignment]  # what a fit is asked for here
    return job


def test_all_goes_well(tmp_path: Path) -> None:
    result = job_of(CardboardFit(), tmp_path, Listener()).write()
    assert (result.status, result.files) == ("done", (str(tmp_path / "atlas"),))
    assert result.record["quality"]["psnr"] == 30.0
    assert load_atlas(tmp_path / "atlas").video == ATLAS.video
    assert {path.name for path in (tmp_path / "atlas").iterdir()} >= {"checkerboard.mp4", "alpha.png", "run.json"}
    assert not (tmp_path / "atlas.resume").exists()


def test_a_job_shows_its_pictures(tmp_path: Path) -> None:
    job = job_of(CardboardFit(), tmp_path, Listener())
    assert job._repr_png_() is None
    job.run()
    height, width = ATLAS.foreground.size
    assert (job.foreground.size, job.foreground.mode, job.background.mode) == ((width, height), "RGBA", "RGBA")
    assert (job.alpha.size, job.alpha.mode) == ((40, 24), "L")
    assert (job._repr_png_() or b"").startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["source", "mask"])
def test_no_input_is_saved_over(name: str, tmp_path: Path) -> None:
    """Even where it has become a folder that could be replaced: an atlas, or an empty one."""
    job = job_of(CardboardFit(), tmp_path, Listener(), mask=str(tmp_path / "frames")).run()
    folder = Path(str(getattr(job.request, name)))
    folder.unlink(missing_ok=True)
    (folder / "inside").mkdir(parents=True) if name == "mask" else save_atlas(ATLAS, folder)
    with pytest.raises(RequestError, match="is the input itself"):
        job.save(folder, overwrite=True)


def test_a_fit_that_is_stopped_is_written_and_kept(tmp_path: Path) -> None:
    reporter = Listener()

    class Pressed(CardboardFit):
        def __iter__(self) -> Iterator[Tick]:
            for tick in super().__iter__():
                reporter.stop = tick.i == 3
                yield tick

    job = job_of(Pressed(), tmp_path, reporter)
    result = job.write()
    assert (result.status, result.record["ended"]) == ("interrupted", "interrupted")
    assert load_atlas(tmp_path / "atlas").video == ATLAS.video
    assert job.state.load() == {"step": 4}
    assert reporter.notes[-1] == "the same command with --resume goes on from here"


def test_a_fit_that_is_stopped_before_there_is_an_atlas_leaves_nothing(tmp_path: Path) -> None:
    reporter = Listener()
    reporter.stop = True
    with pytest.raises(StoppedError):
        job_of(CardboardFit(), tmp_path, reporter).write()
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


def test_a_fit_that_diverges_leaves_the_atlas_before(tmp_path: Path) -> None:
    reporter = Listener()
    result = job_of(CardboardFit(until=4), tmp_path, reporter).write()
    assert (result.status, result.record["ended"]) == ("failed", "diverged")
    said = "the loss became NaN or infinite at step 5. The result so far is kept. Try another --seed."
    assert result.error == Failure("diverged", said)
    assert load_atlas(tmp_path / "atlas").video == ATLAS.video
    assert not (tmp_path / "atlas.resume").exists()  # going on would diverge again
    assert not any("--resume" in said for said in (*reporter.notes, *reporter.warnings))


def test_a_fit_is_kept_where_its_atlas_was_painted_in_meanwhile(tmp_path: Path) -> None:
    """The paint stays, and so does the work of the fit: --resume writes it."""
    folder = tmp_path / "atlas"
    save_atlas(ATLAS, folder)
    picture = folder / "foreground.png"

    class Painted(CardboardFit):
        def result(self) -> Any:
            with Image.open(picture) as image:
                Image.new("RGBA", image.size, (255, 0, 0, 255)).save(picture)
            return ATLAS

    reporter = Listener()
    job = job_of(Painted(), tmp_path, reporter, overwrite=True)
    with pytest.raises(RequestError, match=r"foreground\.png is no longer as it was written"):
        job.write()
    assert f"the fit is kept in {folder}.resume: --resume writes its atlas" in reporter.warnings
    with Image.open(picture) as image:
        assert image.getpixel((0, 0)) == (255, 0, 0, 255)
    assert job.state.load() == {"step": 6}
    assert load_atlas(folder).video == ATLAS.video


@pytest.mark.parametrize("again", [{}, {"overwrite": True}, {"resume": True}])
def test_a_file_that_is_no_interrupted_fit_is_left_alone(again: dict[str, bool], tmp_path: Path) -> None:
    (tmp_path / "atlas.resume").write_bytes(b"mine")
    with pytest.raises(RequestError, match="not an interrupted fit"):
        job_of(CardboardFit(), tmp_path, Listener(), **again).write()
    assert (tmp_path / "atlas.resume").read_bytes() == b"mine"
    assert not (tmp_path / "atlas").exists()


def test_the_video_is_not_the_file_of_the_fit(tmp_path: Path) -> None:
    job = job_of(CardboardFit(), tmp_path, Listener(), overwrite=True)
    video = Path(job.request.source).rename(tmp_path / "atlas.resume")
    before = video.read_bytes()
    job = FitJob(dataclasses.replace(job.request, source=str(video)), Listener())
    with pytest.raises(RequestError, match="is the input itself"):
        job.write()
    assert video.read_bytes() == before


def test_another_commands_interrupted_fit_is_replaced_only_on_request(tmp_path: Path) -> None:
    state = FitState(tmp_path / "atlas.resume", "another")
    state.keep(CardboardFit())  # type: ignore[arg-type]  # what a fit is asked for here
    before = state.path.read_bytes()
    for more in ({}, {"resume": True}):
        with pytest.raises(RequestError, match="another video, mask or setting"):
            job_of(CardboardFit(), tmp_path, Listener(), **more).write()
        assert state.path.read_bytes() == before
    assert job_of(CardboardFit(), tmp_path, Listener(), overwrite=True).write().status == "done"
    assert not state.path.exists()


def test_the_same_commands_interrupted_fit_is_pointed_out(tmp_path: Path) -> None:
    """It is begun anew all the same: the two would make the same."""
    first = job_of(CardboardFit(), tmp_path, Listener())
    first.state.keep(CardboardFit())  # type: ignore[arg-type]  # what a fit is asked for here
    assert job_of(CardboardFit(), tmp_path, Listener()).write().status == "done"
    assert not first.state.path.exists()


def test_a_run_directory_is_known_as_one_from_its_first_file_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the fit is killed while it writes the pictures."""

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr(fit, "save_picture", killed)
    run = tmp_path / "run"
    job = job_of(CardboardFit(), tmp_path, Listener(), run_dir=str(run))
    job.work.masks = [torch.zeros(24, 40)] * 3  # type: ignore[assignment]  # what is looked at first
    with pytest.raises(SystemExit):
        job.write()
    (run / "mask-00000.png").touch()
    check_run_dir(run, True)


def test_threads_are_those_asked_for_while_it_works_and_the_callers_afterwards(tmp_path: Path) -> None:
    import torch

    before, seen = torch.get_num_threads(), []

    class Counting(CardboardFit):
        def __iter__(self) -> Iterator[Tick]:
            seen.append(torch.get_num_threads())
            yield from super().__iter__()

    job_of(Counting(), tmp_path, Listener(), threads=before + 1).write()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
    with pytest.raises(RequestError, match="--threads must be between 1 and 1024"):
        FitRequest("video.mp4", FitConfig(), threads=0)


_REFUSED = """
import sys, t2l_cli
for more in ({"mask_class": "dgo"}, {"mask_class": "dog", "mask": __file__}, {"mask": "nowhere.png"}, {"resume": True}):
    try:
        t2l_cli.fit_atlas("video.mp4", output="atlas", **more).write()
    except t2l_cli.RequestError as error:
        print(error)
assert not {"torch", "torchvision"} & sys.modules.keys()
"""


def test_what_the_request_alone_tells_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    """Even of a video that does not exist."""
    (tmp_path / "script.py").write_text(_REFUSED)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = ("no class 'dgo'", "--mask or --mask-class, not both", "there is no mask nowhere.png", "no interrupted fit")
    for word, line in zip(words, done.stdout.splitlines(), strict=True):
        assert word in line
