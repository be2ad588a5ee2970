"""A batch with workers of cardboard: what is done, what is done again, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from t2l_cli.errors import RequestError
from t2l_cli.jobs.batch.results import results_file
from t2l_cli.jobs.batch.shards import merge_results, parse_shard
from tests.unit.jobs.batching import Heard, Writers, batch, contents, manifest, photos, recorded


def lines(folder: Path) -> list[str]:
    return [json.loads(line)["output"] for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos(tmp_path / "in", "a.png", "b.png", "c.jpg")
    return tmp_path


def test_a_folder_is_done_once(folder: Path) -> None:
    assert batch(folder).run().status == "done"
    assert lines(folder / "out") == [f"{name}-red-ball.png" for name in "abc"]
    again = Writers()
    result = batch(folder, again).run()
    assert (result.status, again.names) == ("done", [])
    assert (result.record["skipped"], result.record["done"]) == (3, 0)
    assert len(lines(folder / "out")) == 3


def test_a_failure_stops_nobody_and_is_tried_again(folder: Path) -> None:
    photos(folder / "in", "bad.png")
    heard = Heard()
    result = batch(folder, reporter=heard).run()
    assert result.status == "failed"
    assert result.error is not None
    assert "1 of 4 jobs failed" in result.error.message
    assert str(folder / "in/bad.png") in result.error.message.splitlines()[-1]
    assert heard.warnings == [f"{folder / 'in/bad.png'} is bad."]
    assert sorted(contents(folder / "out")) == [f"{name}-red-ball.png" for name in "abc"]
    again = Writers()
    batch(folder, again).run()
    assert again.names == ["bad-red-ball.png"]


def test_fail_fast_ends_with_the_first_failure(folder: Path) -> None:
    (folder / "in/a.png").rename(folder / "in/bad.png")
    workers = Writers()
    assert batch(folder, workers, fail_fast=True).run().status == "failed"
    assert workers.names == ["b-red-ball.png", "bad-red-ball.png"]


@pytest.mark.parametrize("stop_before_its_line", [False, True])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_batch_goes_on_where_it_was(after: int, stop_before_its_line: bool, folder: Path) -> None:
    """Also where a result was written whose line was not."""
    with pytest.raises(KeyboardInterrupt, match=f"{after} of 3 jobs are done"):
        batch(folder, Writers(after, stop_before_its_line)).run()
    again = Writers()
    assert batch(folder, again).run().status == "done"
    assert len(again.names) == 3 - after
    assert sorted(lines(folder / "out")) == [f"{name}-red-ball.png" for name in "abc"]
    undisturbed = folder / "other"
    undisturbed.mkdir()
    shutil.copytree(folder / "in", undisturbed / "in")
    batch(undisturbed).run()
    assert contents(folder / "out") == contents(undisturbed / "out")
    assert not (folder / "out/.results.jsonl.begun").exists()


def change_settings(folder: Path) -> dict[str, object]:
    return {"values": {"steps": 7}}


def change_source(folder: Path) -> dict[str, object]:
    Image.new("RGB", (20, 20), "white").save(folder / "in/b.png")
    return {}


def change_output(folder: Path) -> dict[str, object]:
    (folder / "out/b-red-ball.png").write_text("retouched by hand")
    return {}


@pytest.mark.parametrize("change", [change_settings, change_source, change_output])
def test_what_changed_is_refused_and_done_again_on_request(change: object, folder: Path) -> None:
    batch(folder).run()
    more = change(folder)  # type: ignore[operator]
    before = contents(folder / "out")
    workers = Writers()
    with pytest.raises(RequestError, match="nothing was done"):
        batch(folder, workers, **more).run()
    assert (workers.names, contents(folder / "out")) == ([], before)
    assert batch(folder, workers, overwrite=True, **more).run().status == "done"
    assert len(workers.names) == (3 if change is change_settings else 1)
    assert batch(folder, Writers(), **more).run().record["skipped"] == 3


def test_what_counts_is_bytes_not_times(folder: Path) -> None:
    batch(folder).run()
    for path in (folder / "in/a.png", folder / "out/a-red-ball.png"):
        path.touch()
    assert batch(folder).run().record["skipped"] == 3


def test_a_lost_output_is_made_again(folder: Path) -> None:
    batch(folder).run()
    (folder / "out/b-red-ball.png").unlink()
    workers = Writers()
    batch(folder, workers).run()
    assert workers.names == ["b-red-ball.png"]


def test_a_foreign_file_is_not_replaced(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/b-red-ball.png").write_text("mine")
    workers = Writers()
    with pytest.raises(RequestError, match=r"b-red-ball\.png exists"):
        batch(folder, workers).run()
    assert workers.names == []
    result = batch(folder, workers, keep_going=True).run()
    assert (result.status, result.record["left_out"], len(workers.names)) == ("failed", 1, 2)
    assert (folder / "out/b-red-ball.png").read_text() == "mine"


def test_neither_where_the_job_failed_before(folder: Path) -> None:
    (folder / "in/b.png").rename(folder / "in/bad.png")
    batch(folder).run()
    (folder / "out/bad-red-ball.png").write_text("mine")
    with pytest.raises(RequestError, match=r"bad-red-ball\.png exists"):
        batch(folder).run()


@pytest.mark.parametrize("damage", [b'{"output": "b', b"\xff\xfe", b""])
def test_a_cut_last_line_costs_one_job(damage: bytes, folder: Path) -> None:
    batch(folder).run()
    path = folder / "out/results.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:2]) + damage)
    (folder / "out/c-red-ball.png").unlink()
    workers = Writers()
    batch(folder, workers).run()
    assert workers.names == ["c-red-ball.png"]
    assert len(recorded(folder / "out")) == 3


def test_another_line_is_an_error_that_names_it(folder: Path) -> None:
    batch(folder).run()
    path = folder / "out/results.jsonl"
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(RequestError, match="line 1"):
        batch(folder).run()


@pytest.mark.parametrize(
    "text", ['{"epoch": 1}\n{"epoch": 2}', '{"epoch": 1}', '{"output": "mine"}', "epoch 1", '["output"]', "7"]
)
def test_somebody_elses_file_of_results_stays_as_it_is(text: str, folder: Path) -> None:
    """Also where its last line does not end in a line break, so that it looks like one that was cut."""
    (folder / "out").mkdir()
    path = folder / "out/results.jsonl"
    path.write_text(text)
    workers = Writers()
    with pytest.raises(RequestError, match="no line of a batch"):
        batch(folder, workers).run()
    assert (path.read_text(), workers.names) == (text, [])


@pytest.mark.parametrize("kept", [1, 7, 12, 40, -1])
def test_a_first_line_that_was_cut_costs_one_job(kept: int, folder: Path) -> None:
    batch(folder, fail_fast=True).run()
    path = folder / "out/results.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0][:kept])
    assert batch(folder, overwrite=True).run().status == "done"
    assert len(recorded(folder / "out")) == 3


@pytest.mark.parametrize("reads", ["source", "mask", "config", "clip_weights"])
@pytest.mark.parametrize("link", [False, True])
def test_what_another_job_reads_is_never_written(reads: str, link: bool, tmp_path: Path) -> None:
    """Before anything is done; with keep_going the row is left out."""
    photos(tmp_path, "a.png", "b.png", "out/b.png", "out/mine.png")
    mine = tmp_path / "out/mine.png"
    if reads == "config":
        mine.write_text(json.dumps({"config": {"prompts": ["red ball"]}}))
    before = mine.read_bytes()
    if link:
        (tmp_path / "out/link.png").symlink_to(mine)
    rows = manifest(
        tmp_path / "jobs.jsonl",
        {"source": "a.png", "output": "link.png" if link else "mine.png"},
        {"source": "b.png", "output": "new.png"} | {reads: "out/mine.png"},
    )
    more = {"manifest": str(rows), "prompts": ("red ball",), "overwrite": True}
    workers = Writers()
    with pytest.raises(RequestError, match=r"line 1: .*(mine|link)\.png is an input of line 2"):
        batch(tmp_path, workers, **more).run()
    assert (workers.names, mine.read_bytes()) == ([], before)
    assert [decision.state for _, decision in batch(tmp_path, **more).preview()] == ["input", "new"]
    result = batch(tmp_path, workers, keep_going=True, **more).run()
    assert (result.status, result.record["left_out"], workers.names) == ("failed", 1, ["new.png"])
    assert mine.read_bytes() == before
    with pytest.raises(RequestError, match="is an input of line 2"):
        batch(tmp_path, **more, shard="1/1").run()


def test_neither_a_run_directory_that_holds_it(tmp_path: Path) -> None:
    photos(tmp_path, "a.png", "run/deep/b.png")
    rows = manifest(
        tmp_path / "jobs.jsonl",
        {"source": "a.png", "run_dir": "run"},
        {"source": "run/deep/b.png"},
    )
    with pytest.raises(RequestError, match=r"line 1: .*run holds an input of line 2"):
        batch(tmp_path, manifest=str(rows), prompts=("red ball",), overwrite=True).run()


def test_nor_a_frame_of_its_folder(tmp_path: Path) -> None:
    photos(tmp_path, "a.png", "out/frames/0.png", "out/frames/1.png")
    rows = manifest(
        tmp_path / "jobs.jsonl",
        {"source": "a.png", "prompt": "red ball", "output": "frames/1.png"},
        {"command": "edit-video", "source": "out/frames", "prompt": "red ball"},
    )
    with pytest.raises(RequestError, match=r"line 1: .*1\.png is a part of an input of line 2"):
        batch(tmp_path, manifest=str(rows), overwrite=True).run()


def test_a_result_that_stays_as_it_is_can_be_a_source(tmp_path: Path) -> None:
    photos(tmp_path, "a.png")
    more = {"prompts": ("red ball",)}
    first, second = {"source": "a.png", "output": "mid.png"}, {"source": "out/mid.png", "output": "end.png"}
    batch(tmp_path, manifest=str(manifest(tmp_path / "first.jsonl", first)), **more).run()
    both = str(manifest(tmp_path / "both.jsonl", first, second))
    workers = Writers()
    assert batch(tmp_path, workers, manifest=both, overwrite=True, **more).run().status == "done"
    assert workers.names == ["end.png"]


def test_of_two_batches_at_once_the_second_is_refused(folder: Path) -> None:
    first = iter(batch(folder))
    next(first)
    with pytest.raises(RequestError, match="another batch is at work"):
        batch(folder).run()
    assert [entry.output for entry in first] == ["b-red-ball.png", "c-red-ball.png"]


def test_the_photos_folder_is_not_the_batchs(folder: Path) -> None:
    (folder / "in").rename(folder / "out")
    with pytest.raises(RequestError, match="holds the photos"):
        batch(folder, sources=(str(folder / "out"),)).run()


def test_results_are_not_taken_for_photos(folder: Path) -> None:
    assert batch(folder, sources=(str(folder),), recursive=True).run().record["jobs"] == 3
    (folder / "out/in/a-red-ball.png").rename(folder / "out/new.png")
    assert batch(folder, sources=(str(folder),), recursive=True).run().record["jobs"] == 3


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shards_share_the_jobs(n: int, tmp_path: Path) -> None:
    photos(tmp_path / "in", *(f"{i}.png" for i in range(20)))
    names = []
    for i in range(1, n + 1):
        workers = Writers()
        assert batch(tmp_path, workers, shard=f"{i}/{n}").run().status == "done"
        names += workers.names
        assert results_file(tmp_path / "out", i).exists()
    assert len(names) == len(set(names)) == 20
    assert batch(tmp_path).run().record["skipped"] == 20
    path, count = merge_results(tmp_path / "out")
    assert (path, count) == (tmp_path / "out/results.jsonl", 20)
    before = path.read_bytes()
    assert merge_results(tmp_path / "out") == (path, 20)
    assert path.read_bytes() == before
    assert sorted(lines(tmp_path / "out")) == sorted(names)
    assert batch(tmp_path).run().record["skipped"] == 20


def test_a_merge_waits_for_nobody(folder: Path) -> None:
    first = iter(batch(folder, shard="1/1"))
    next(first)
    with pytest.raises(RequestError, match="another batch is at work"):
        merge_results(folder / "out")
    list(first)
    assert merge_results(folder / "out")[1] == 3


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "4"}, (1, 4)),
        ({"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "4"}, (4, 4)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "14",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            (3, 3),
        ),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "2"}, (1, 2)),
    ],
)
def test_the_share_of_an_array_job(environment: dict[str, str], share: tuple[int, int]) -> None:
    shard = parse_shard("auto", environment)
    assert (shard.i, shard.n) == share


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", "", "auto"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--shard"):
        parse_shard(text, {})


def test_what_a_preview_says_comes_true(folder: Path) -> None:
    work = batch(folder)
    assert [(job.name, decision.state) for job, decision in work.preview()] == [
        (f"{name}-red-ball.png", "new") for name in "abc"
    ]
    assert not (folder / "out").exists()
    work.run()
    assert {decision.state for _, decision in batch(folder).preview()} == {"done"}


def test_run_directories_are_beside_one_another(folder: Path) -> None:
    jobs = batch(folder, run_dirs=str(folder / "runs")).jobs
    assert [job.request.run_dir for job in jobs] == [str(folder / f"runs/{name}-red-ball") for name in "abc"]


def test_a_manifest_row_has_its_own_settings(tmp_path: Path) -> None:
    photos(tmp_path, "x/a.png")
    rows = manifest(
        tmp_path / "jobs.jsonl",
        {"source": "x/a.png", "prompt": "red ball", "steps": 3, "output": "first.jpg"},
        {"source": "x/a.png", "prompt": ["red ball", "a red ball"]},
        {"source": "x/a.png"},
    )
    work = batch(tmp_path, manifest=str(rows), prompts=("blue ball",), values={"steps": 5, "views": 2})
    assert work.run().status == "done"
    requests = [job.request for job in work.jobs]
    assert [request.config.optim.steps for request in requests] == [3, 5, 5]  # type: ignore[union-attr]
    assert [request.config.prompts for request in requests] == [  # type: ignore[union-attr]
        ("red ball",),
        ("red ball", "a red ball"),
        ("blue ball",),
    ]
    assert sorted(contents(tmp_path / "out")) == ["a-blue-ball.png", "a-red-ball.png", "first.jpg"]
