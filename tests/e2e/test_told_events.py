"""Events of the installed program: what another program that starts it can rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from program import SHORT, Run, command, lines, pixels

from tests.fits_schema import fits


def events(stream: bytes) -> list[dict[str, Any]]:
    """The lines of a stream, each of which must be an event."""
    found = [json.loads(line) for line in lines(stream)]
    for line in found:
        fits(line, "event")
    assert len({line["job"] for line in found}) == 1
    assert [line["time"] for line in found] == sorted(line["time"] for line in found)
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in found]


def test_an_edit_is_told_from_start_to_result(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    done = t2l("edit-image", photo, "red ball", *SHORT, "-o", "out.png", "--run-dir", "run", "--events", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    told = events(done.stdout)
    assert (kinds(told)[0], kinds(told)[-1]) == ("start", "result")
    assert {"step", "preview", "note"} <= set(kinds(told))
    assert [line["done"] for line in told if line["event"] == "step"] == [1, 2]
    previews = [tmp_path / line["path"] for line in told if line["event"] == "preview"]
    assert previews == sorted((tmp_path / "run" / "snapshots").iterdir())
    result = told[-1]
    assert (result["status"], result["files"], result["error"]) == ("done", ["out.png"], None)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record == result["record"]
    published = json.loads(t2l("schema", "run").stdout)
    jsonschema.Draft202012Validator(published).validate(record)
    assert t2l("schema").stdout.startswith(b"run\t")


def test_what_fails_ends_in_an_error(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    done = t2l("edit-image", photo, "red ball", "--clip", "ViT-B-32", "--offline", "--events", "--preset=draft")
    assert done.returncode == 1
    told = events(done.stdout)
    assert (told[-1]["event"], told[-1]["code"], told[-1]["exit_code"]) == ("error", "weights", 1)
    assert f"Error: {told[-1]['message']}" in done.stderr.decode()
    refused = t2l("edit-image", "missing.png", "red ball", "--events", "events.jsonl", "--json")
    assert refused.returncode == 2
    assert events((tmp_path / "events.jsonl").read_bytes())[-1]["code"] == "request"
    assert json.loads(refused.stdout)["error"]["code"] == "request"


def test_stdout_has_room_for_one(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    for other in (["-o", "-"], ["--json"]):
        done = t2l("edit-image", photo, "red ball", *SHORT, *other, "--events")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"both write to the standard output" in done.stderr
    before = photo.read_bytes()
    done = t2l("edit-image", photo, "red ball", *SHORT, "--events", photo, "--overwrite")
    assert done.returncode == 2
    assert photo.read_bytes() == before


@pytest.mark.slow
def test_the_result_does_not_need_a_reader_of_events(photo: Path, tmp_path: Path) -> None:
    for number, streams in enumerate(("| head -1", ">/dev/full", ">&-")):
        line = [*command(), "edit-image", str(photo), "red ball", *SHORT, "-o", f"{number}.png", "--events"]
        shell = ["bash", "-c", f'"$@" {streams}; exit ${{PIPESTATUS[0]}}', "-", *line]
        done = subprocess.run(shell, capture_output=True, cwd=tmp_path, timeout=500, check=False)
        assert done.returncode == 0, done.stderr
        assert b"no more events" in done.stderr
        assert pixels(tmp_path / f"{number}.png").shape == (240, 320, 3)


@pytest.mark.slow
def test_an_interrupted_edit_ends_in_its_result(photo: Path, tmp_path: Path) -> None:
    long = [*command(), "edit-image", str(photo), "red ball", *SHORT, "--steps", "100000", "-o", "out.png", "--events"]
    process = subprocess.Popen(long, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    told = b""
    for line in process.stdout:
        told += line
        if json.loads(line)["event"] == "step":
            process.send_signal(signal.SIGTERM)
            break
    rest, err = process.communicate(timeout=500)
    assert process.returncode == 128 + signal.SIGTERM, err
    last = events(told + rest)[-1]
    assert (last["event"], last["status"], last["record"]["ended"]) == ("result", "interrupted", "interrupted")
    assert pixels(tmp_path / "out.png").shape == (240, 320, 3)


@pytest.mark.slow
def test_the_users_file_is_read_by_the_program(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    lines_of_file = ["offline = true", "[edit-image]", 'preset = "tiny"', "json = true"]
    lines_of_file += ["[preset.tiny]", 'base = "draft"', "steps = 2", "views = 1", "size = 129", 'clip = "mini"']
    own.write_text("\n".join(lines_of_file))
    done = t2l("edit-image", photo, "red ball", "-o", "out.png", T2L_CONFIG_FILE=str(own), T2L_SEED="5")
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)["config"]
    assert (config["optim"]["steps"], config["size"], config["seed"], config["clip"]) == (2, 129, 5, "mini")
    assert (config["blend"], config["optim"]["lr"]) == ("shade", 0.008)
    own.write_text("[edit-image]\nstep = 2\n")
    refused = t2l("edit-image", photo, "red ball", "-o", "other.png", T2L_CONFIG_FILE=str(own))
    assert refused.returncode == 2
    assert lines(refused.stderr)[0].startswith(f"Error: {own}, line 2: ")
    assert not os.path.exists(tmp_path / "other.png")
