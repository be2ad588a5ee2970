"""`t2l batch` as it is run: a folder with a broken photo, killed, interrupted, twice at once, in shards, watching."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import SCENES, SHORT, Run, command, draw_scene, lines, started, wait_for

from t2l_cli.atlases.store import save_atlas
from tests.fits_schema import fits
from tests.truth import make_truth
from tests.unit.jobs.batching import contents, recorded

PROMPT = ("--prompt", "red ball", *SHORT)
DONE = [f"{name}-red-ball.png" for name in SCENES]


def begun(folder: Path) -> bool:
    return (folder / ".results.jsonl.begun").exists() and (folder / ".results.jsonl.begun").stat().st_size > 0


def whole_lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def no_temporary_files(folder: Path) -> bool:
    return not [name for name in os.listdir(folder) if name.startswith(".t2l-")]


@pytest.mark.slow
def test_a_folder_with_a_broken_photo(t2l: Callable[..., Run], scenes: Path, one_worker: dict[str, bytes]) -> None:
    shutil.copytree(scenes, "in")
    Path("in/bad.jpg").write_bytes(b"broken")
    done = t2l("batch", "in", *PROMPT, "-o", "out")
    assert done.returncode == 1, done.stderr
    assert lines(done.stdout) == [f"out/{name}" for name in DONE]
    said = lines(done.stderr)
    assert said[-2] == "Error: 1 of 4 jobs failed; the same command tries them again."
    assert said[-1] == "in/bad.jpg is not a picture in any format that t2l reads."
    assert contents(Path("out")) == one_worker
    bad = recorded(Path("out"))["bad-red-ball.png"]
    assert bad.error is not None
    assert (bad.status, bad.error.code, bad.files) == ("failed", "request", {})

    draw_scene("ball", Path("in")).path.rename("in/bad.jpg")
    draw_scene("ball", Path("in"), (160, 132))
    again = t2l("batch", "in", *PROMPT, "-o", "out", "--json")
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert (told["jobs"], told["skipped"], told["done"], told["failed"]) == (4, 3, 1, 0)
    assert len(whole_lines(Path("out"))) == 5


@pytest.mark.slow
def test_events_tell_the_end_of_each_job(t2l: Callable[..., Run], scenes: Path, tmp_path: Path) -> None:
    done = t2l("batch", scenes, *PROMPT, "-o", "out", "--events")
    assert done.returncode == 0
    told = [json.loads(line) for line in lines(done.stdout)]
    for event in told:
        fits(event, "event")
    assert (told[0]["event"], told[-1]["event"], told[-1]["status"]) == ("start", "result", "done")
    assert [event["of"] for event in told if event.get("unit") == "jobs" and event["of"]] == DONE
    assert {event["of"] for event in told if event.get("unit") == "steps"} == set(DONE)
    for line in whole_lines(tmp_path / "out"):
        fits(line, "line")
    fits({"source": "ball.png", "prompt": ["red", "blue"], "clip": ["mini", "mini"], "steps": 3}, "row")


def test_a_batchs_picture_is_edit_images(t2l: Callable[..., Run], scenes: Path, one_worker: dict[str, bytes]) -> None:
    """The last of the batch, whose worker had done others before."""
    done = t2l("edit-image", scenes / "pear.png", "red ball", *SHORT)
    assert done.returncode == 0, done.stderr
    assert Path("pear-red-ball.png").read_bytes() == one_worker["pear-red-ball.png"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_any_moment_and_run_again(
    seed: int, scenes: Path, one_worker: dict[str, bytes], tmp_path: Path
) -> None:
    dice = random.Random(seed)
    out = tmp_path / "out"
    for kills in range(2):
        process = started("batch", scenes, *PROMPT, "-o", out)
        wait_for(lambda: begun(out), process)
        time.sleep(dice.uniform(0, 1.5 + 3 * kills))
        process.kill()
        process.communicate()
    last = started("batch", scenes, *PROMPT, "-o", out)
    said = last.communicate(timeout=600)
    assert last.returncode == 0, said
    assert sorted(str(line["output"]) for line in whole_lines(out)) == DONE
    assert contents(out) == one_worker
    assert no_temporary_files(out)


@pytest.mark.slow
def test_of_two_at_once_the_second_is_refused(t2l: Callable[..., Run], scenes: Path, tmp_path: Path) -> None:
    first = started("batch", scenes, *PROMPT, "-o", tmp_path / "out")
    wait_for(lambda: begun(tmp_path / "out"), first)
    second = t2l("batch", scenes, *PROMPT, "-o", tmp_path / "out")
    assert second.returncode == 2
    assert lines(second.stderr)[-1].startswith("Error: another batch is at work in")
    said = first.communicate(timeout=600)
    assert first.returncode == 0, said
    assert sorted(contents(tmp_path / "out")) == DONE


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_what_is_done(
    number: signal.Signals, scenes: Path, one_worker: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = started("batch", scenes, "--prompt", "red ball", *SHORT, "-o", out)
    wait_for(lambda: (out / "ball-red-ball.png").exists(), process)
    wait_for(lambda: b"mug" in (out / ".results.jsonl.begun").read_bytes(), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number, err
    done = len(whole_lines(out))
    assert lines(err)[-1] == f"Error: interrupted; {done} of 3 jobs are done, the same command goes on."
    assert no_temporary_files(out)
    assert len(contents(out)) == done < 3
    subprocess.run([*command(), "batch", str(scenes), *PROMPT, "-o", str(out)], check=True, capture_output=True)
    assert contents(out) == one_worker


def test_a_wrong_manifest_is_refused_before_any_work(t2l: Callable[..., Run], scenes: Path) -> None:
    Path("jobs.csv").write_text(
        f"source,prompt,steps\n{scenes}/ball.png,red,2\ngone.png,red,2\n{scenes}/mug.png,red,x\n"
    )
    done = t2l("batch", "--jobs", "jobs.csv", "-o", "out", *SHORT)
    assert done.returncode == 2
    first, *each = lines(done.stderr)
    assert first == "Error: 2 rows cannot be; nothing was done."
    assert [line.partition(":")[0] for line in each] == ["line 4", "line 3"] or [
        line.partition(":")[0] for line in each
    ] == ["line 3", "line 4"]
    assert not Path("out").exists()


@pytest.mark.slow
def test_a_manifest_of_photos_and_a_video(t2l: Callable[..., Run], scenes: Path, tmp_path: Path) -> None:
    truth = make_truth((64, 48), 3)
    save_atlas(truth.atlas(), tmp_path / "atlas")
    (tmp_path / "video").mkdir()
    for i, rgb in enumerate(truth.frames):
        Image.fromarray(rgb).save(tmp_path / "video" / f"{i}.png")
    shutil.copy(scenes / "ball.png", tmp_path)
    (tmp_path / "jobs.toml").write_text(
        '[[job]]\nsource = "ball.png"\nprompt = "red ball"\n\n'
        '[[job]]\ncommand = "edit-video"\nsource = "video"\natlas = "atlas"\nprompt = "red"\noutput = "v/new"\n'
    )
    planned = t2l("batch", "--jobs", "jobs.toml", "-o", "out", *SHORT, "--dry-run")
    assert [line.split("\t")[:2] for line in lines(planned.stdout)] == [
        ["new", "out/ball-red-ball.png"],
        ["new", "out/v/new"],
    ]
    assert not Path("out").exists()
    for skipped in (0, 2):
        done = t2l("batch", "--jobs", "jobs.toml", "-o", "out", *SHORT, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["skipped"] == skipped
    assert sorted(contents(Path("out"))) == [
        "ball-red-ball.png",
        "v/new-foreground.png",
        *(f"v/new/{i}.png" for i in range(3)),
    ]


@pytest.mark.slow
def test_shards_make_what_one_makes(
    t2l: Callable[..., Run], scenes: Path, one_worker: dict[str, bytes], tmp_path: Path
) -> None:
    done = t2l("batch", scenes, *PROMPT, "-o", "out", "--shard", "1/2")
    assert done.returncode == 0, done.stderr
    array = {"AWS_BATCH_JOB_ARRAY_INDEX": "1", "AWS_BATCH_JOB_ARRAY_SIZE": "2"}
    done = t2l("batch", scenes, *PROMPT, "-o", "out", "--shard", "auto", **array)
    assert done.returncode == 0, done.stderr
    merged = t2l("batch", "--merge", "-o", "out", "--json")
    assert merged.returncode == 0, merged.stderr
    assert json.loads(merged.stdout) == {"files": ["out/results.jsonl"], "jobs": 3}
    assert contents(Path("out")) == one_worker
    assert sorted(os.listdir("out")) == sorted([".results.jsonl.lock", "results.jsonl", *DONE])


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A batch that watches the folder in."""
    (tmp_path / "in").mkdir()
    process = started("batch", tmp_path / "in", *PROMPT, "-o", tmp_path / "out", "--watch")
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_new_photos_are_edited_as_they_come(
    watching: subprocess.Popen[bytes], scenes: Path, one_worker: dict[str, bytes], tmp_path: Path
) -> None:
    wait_for(lambda: (tmp_path / "out/results.jsonl").exists(), watching)
    for name in ("ball", "mug"):
        shutil.copy(scenes / f"{name}.png", tmp_path / "in")
        wait_for(lambda name=name: f"{name}-red-ball.png" in recorded(tmp_path / "out"), watching)  # type: ignore[misc]
    (tmp_path / "in/bad.png").write_bytes(np.zeros(100, np.uint8).tobytes())
    wait_for(lambda: "bad-red-ball.png" in recorded(tmp_path / "out"), watching)
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=100)
    assert watching.returncode == 130, err
    assert lines(err)[-1] == "Error: interrupted; 2 of 3 jobs are done, the same command goes on."
    assert lines(out) == [str(tmp_path / f"out/{name}-red-ball.png") for name in ("ball", "mug")]
    assert contents(tmp_path / "out") == {name: one_worker[name] for name in DONE[:2]}
