"""The process with its streams closed, full or left by their reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ANSWERS = ("--version", "--help", "models path", "models list --json", "edit-image --help")
PROGRAM = f"{sys.executable} -m t2l_cli"


def shell(line: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, check=False)


@pytest.mark.parametrize("where", [">&-", ">/dev/full"])
@pytest.mark.parametrize("asked", ANSWERS)
def test_stdout_that_takes_nothing_is_one_line(asked: str, where: str) -> None:
    done = shell(f"{PROGRAM} {asked} {where}")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(b"Error: could not print the result on the standard output: ")


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full", "<&-", "<&- 2>&-", "2>&1 >&3 3>&- | true"])
def test_other_streams_do_not_matter_to_a_result(where: str) -> None:
    plain = shell(f"{PROGRAM} models path")
    done = shell(f"exec 3>&1; {PROGRAM} models path {where}")
    assert (done.returncode, done.stdout) == (0, plain.stdout)


@pytest.mark.parametrize("where", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_failure_keeps_its_code_whatever_is_closed(where: str, tmp_path: Path) -> None:
    wrong = f"composite {tmp_path}/none.png {tmp_path}/none.png -o {tmp_path}/out.png"
    assert shell(f"{PROGRAM} {wrong} {where}").returncode == 2


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_of_ours_takes_the_place_of_a_closed_stream(closed: str) -> None:
    opens = (
        "import os; from t2l_cli.cli import streams; streams.secure(); "
        "number = os.open(os.devnull, os.O_RDONLY); os.write(9, str(number).encode())"
    )
    done = shell(f"exec 9>&1; {sys.executable} -c '{opens}' {closed}")
    assert int(done.stdout) > 2


@pytest.mark.parametrize("asked", ANSWERS)
def test_a_reader_that_goes_away_is_no_error(asked: str) -> None:
    done = shell(f"{PROGRAM} {asked} | true")
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_is_shown_in_every_encoding() -> None:
    env = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for command in ("", "edit-image", "edit-video", "fit-atlas", "render-atlas", "composite", "models"):
        done = subprocess.run([*PROGRAM.split(), *command.split(), "--help"], capture_output=True, env=env, check=False)
        assert done.returncode == 0, done.stderr
        assert b"Usage" in done.stdout
