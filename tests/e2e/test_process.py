"""The program among others: streams that take nothing, folders that take nothing, a second run beside it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from program import SHORT, Run, command, lines, pixels


def edit(photo: Path, *more: str) -> list[str]:
    return [*command(), "edit-image", str(photo), "red ball", *SHORT, *more]


def shell(line: list[str], streams: str, folder: Path, **environment: str) -> Run:
    """Run ``line`` in ``folder`` with its streams as the shell sets them."""
    words = f"{shlex.join(line)} {streams}"
    env = {**os.environ, **environment}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", words], capture_output=True, cwd=folder, env=env, timeout=500, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&-", "2>&1 | head -1"])
def test_notes_need_no_reader(streams: str, photo: Path, tmp_path: Path) -> None:
    done = shell(edit(photo, "-o", "out.png"), streams, tmp_path)
    assert done.returncode == 0, done.stderr
    assert pixels(tmp_path / "out.png").shape == (240, 320, 3)


@pytest.mark.slow
def test_a_picture_that_cannot_be_printed_is_a_failure(photo: Path, tmp_path: Path) -> None:
    done = shell(edit(photo, "-o", "-", "-q"), ">/dev/full", tmp_path)
    assert done.returncode == 1
    (line,) = lines(done.stderr)
    assert line == "Error: could not write the picture to the standard output: No space left on device."


def test_what_is_kept_beside_the_result_does_not_take_it_along(photo: Path, tmp_path: Path) -> None:
    """A run directory and a cache that cannot be written; and nothing is left in the folder for temporary files."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    places = {"T2L_CACHE_DIR": str(photo), "TMPDIR": str(temporary)}
    done = shell(edit(photo, "-o", "out.png", "-q", "--run-dir", "/proc/run"), "", tmp_path, **places)
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout) == ["out.png"]
    (line,) = lines(done.stderr)
    assert line.startswith("--run-dir /proc/run is not complete: ")
    assert pixels(tmp_path / "out.png").shape == (240, 320, 3)
    assert os.listdir(temporary) == []


@pytest.mark.slow
def test_of_two_runs_with_one_run_directory_one_is_refused(
    t2l: Callable[..., Run], photo: Path, tmp_path: Path
) -> None:
    start = [edit(photo, "-q", "--run-dir", "run", "-o", f"{name}.png") for name in "ab"]
    runs = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) for line in start]
    said = [run.communicate(timeout=500) for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2], said
    assert b"--run-dir" in b"".join(err for _, err in said)
    assert len(list(tmp_path.glob("[ab].png"))) == 1
