"""`t2l batch` on Ray: the same pictures, also with a node that dies; nothing left running; and without Ray a word."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from program import SCENES, SHORT, Run, lines, started, wait_for

from tests.unit.jobs.batching import contents, recorded

PROMPT = ("--prompt", "red ball", *SHORT, "--steps", "6")
DONE = [f"{name}-red-ball.png" for name in SCENES]


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray writes a token into the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture
def cluster() -> Iterator[subprocess.Popen[str]]:
    """Two nodes; its first line is their address."""
    line = [sys.executable, str(Path(__file__).with_name("two_nodes.py"))]
    process = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    yield process
    process.communicate(timeout=100)


def in_flight(out: Path) -> set[str]:
    names: set[str] = set()
    if (out / ".results.jsonl.begun").exists():
        for line in (out / ".results.jsonl.begun").read_text().splitlines():
            began, name = json.loads(line)
            (names.add if began else names.discard)(name)
    return names


@pytest.mark.slow
def test_a_node_dies_in_the_middle(
    cluster: subprocess.Popen[str], scenes: Path, one_worker: dict[str, bytes], tmp_path: Path
) -> None:
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    address = cluster.stdout.readline().strip()
    shutil.copytree(scenes, tmp_path / "in")
    (tmp_path / "in/bad.png").write_bytes(b"broken")
    out = tmp_path / "out"
    on_ray = ("--ray", address, "--workers", "2")
    process = started("batch", tmp_path / "in", *PROMPT, "-o", out, *on_ray)
    wait_for(lambda: len(in_flight(out)) == 2 and "bad-red-ball.png" in recorded(out), process)
    cluster.stdin.write("kill\n")
    cluster.stdin.flush()
    _, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    assert lines(err)[-2] == "Error: 1 of 4 jobs failed; the same command tries them again."
    assert contents(out) == one_worker
    entries = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert sorted(entry["output"] for entry in entries) == sorted(["bad-red-ball.png", *DONE])

    shipped = started("batch", scenes, *PROMPT, "-o", tmp_path / "shipped", *on_ray[:2], "--workers", "1", "--ship")
    _, err = shipped.communicate(timeout=600)
    assert shipped.returncode == 0, err
    assert contents(tmp_path / "shipped") == one_worker


@pytest.mark.slow
def test_two_workers_make_what_one_makes(
    t2l: Callable[..., Run], scenes: Path, one_worker: dict[str, bytes], tmp_path: Path
) -> None:
    done = t2l("batch", scenes, *PROMPT, "-o", "out", "--workers", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 3
    assert contents(Path("out")) == one_worker
    assert {entry.status for entry in recorded(Path("out")).values()} == {"done"}


@pytest.mark.slow
def test_an_interruption_leaves_no_worker_and_no_half_file(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started("batch", scenes, *PROMPT, "--steps", "1000", "-o", out, "--workers", "2")
    wait_for(lambda: len(in_flight(out)) == 2, process)
    time.sleep(5)  # until steps are taken
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert lines(err)[-1] == "Error: interrupted; 0 of 3 jobs are done, the same command goes on."
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert [name for name in os.listdir(out) if not name.startswith(".results")] == ["results.jsonl"]


def test_without_ray_a_line_says_how_to_install_it(t2l: Callable[..., Run], scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no ray')")
    where = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = t2l("batch", scenes, *PROMPT, "-o", "out", "--workers", "2", PYTHONPATH=where)
    assert done.returncode == 2
    assert lines(done.stderr) == ["Error: several workers need Ray: python -m pip install ray."]


def test_a_cluster_that_is_not_there_is_a_line(t2l: Callable[..., Run], scenes: Path) -> None:
    done = t2l("batch", scenes, *PROMPT, "-o", "out", "--ray", "127.0.0.1:9")
    assert done.returncode == 1
    (line,) = lines(done.stderr)
    assert line == "Error: no Ray cluster answers at 127.0.0.1:9: Connection refused."


def test_an_address_makes_no_line_of_its_own(t2l: Callable[..., Run], scenes: Path) -> None:
    done = t2l("batch", scenes, *PROMPT, "-o", "out", "--ray", "x\nError: forged")
    assert done.returncode == 1
    (line,) = lines(done.stderr)
    assert line.startswith(r"Error: Ray cannot be reached at 'x\nError: forged': ")
