"""t2l doctor: everything is looked at, whatever is broken, and nobody is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from program import Run, lines


def states(done: Run) -> dict[str, str]:
    """The worst state of each name in what was printed."""
    rank = ["ok", "note", "problem"]
    found: dict[str, str] = {}
    for line in lines(done.stdout)[:-1]:
        if not line.startswith(" "):
            state, name = line.split()[:2]
            found[name] = max(found.get(name, "ok"), state, key=rank.index)
    return found


@pytest.mark.slow
def test_a_sound_machine(t2l: Callable[..., Run], tmp_path: Path) -> None:
    home = tmp_path / "anna"
    home.mkdir()
    done = t2l("doctor", "--offline", "--json", HOME=str(home), LOGNAME="anna", T2L_CACHE_DIR=str(home / "cache"))
    report = json.loads(done.stdout)
    by_name = {one["name"]: one for one in report["findings"]}
    names = ["t2l", "processor", "memory", "torch", "cpu", "packages", "cache", "models", "video", "pictures"]
    assert [name for name in [*names, "network", "settings", "terminal", "self-test"] if name not in by_name] == []
    problems = [one for one in report["findings"] if one["state"] == "problem"]
    assert problems == []
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert by_name["self-test"]["facts"]["changed"] > 0
    assert by_name["cache"]["facts"]["path"] == "~/cache"
    assert b"anna" not in done.stdout
    assert os.listdir(home) == []


@pytest.mark.slow
def test_a_broken_torch_is_survived(t2l: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so: cannot open shared object file')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = t2l("doctor", "--offline", PYTHONPATH=path)
    found = states(done)
    assert done.returncode == 1
    assert {found[name] for name in ("torch", "devices", "packages", "self-test")} == {"problem"}
    assert {found[name] for name in ("t2l", "processor", "cache", "video", "pictures", "settings")} == {"ok"}
    assert "libcudart.so: cannot open shared object file" in " ".join(done.stdout.decode().split())
    assert b"Traceback" not in done.stdout
    (line,) = lines(done.stderr)
    assert line.startswith("Error: something is wrong with: torch, devices, packages, ")
    assert "problems" in lines(done.stdout)[-1]
    again = t2l("doctor", "--offline", "--verbose", PYTHONPATH=path)
    assert b"Traceback" in again.stdout


@pytest.mark.slow
def test_a_wrong_file_of_settings_is_a_problem_and_nothing_else(t2l: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()  # for speed
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('none')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    (tmp_path / "own.toml").write_text("[doctor]\nofline = true\n")
    wrong = t2l("doctor", "--offline", PYTHONPATH=path, T2L_CONFIG_FILE="own.toml")
    assert states(wrong)["settings"] == "problem"
    text = " ".join(wrong.stdout.decode().split())  # long lines are folded
    assert 'own.toml, line 2: there is no setting "ofline"' in text
    (tmp_path / "own.toml").write_text("offline = true\n[preset.quick]\nsteps = 60\n")
    right = t2l("doctor", PYTHONPATH=path, T2L_CONFIG_FILE="own.toml")
    assert states(right)["settings"] == "ok"
    assert "stay offline" in " ".join(right.stdout.decode().split())
