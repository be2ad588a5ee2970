"""The installed program, run as a person runs it: a process, files, streams, exit codes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium
from PIL import Image
from program import SCENES, Run, Scene, command, draw_scene

from tests.unit.jobs.batching import contents


@pytest.fixture
def t2l(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Run `t2l` with arguments in an empty folder; returns the finished process with its bytes."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, stdin: bytes | None = None, **environment: str) -> Run:
        line = [*command(), *map(str, arguments)]
        source: dict[str, object] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        env = {**os.environ, **environment}
        return subprocess.run(line, capture_output=True, env=env, timeout=1500, check=False, **source)  # type: ignore[call-overload]  # its overloads know no keywords from a dict

    return run


@pytest.fixture(params=list(SCENES))
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    """One of the drawn scenes, 320 x 240, shaded and slightly noisy as a photo is."""
    return draw_scene(request.param, tmp_path)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photo of each scene, for batches."""
    folder = tmp_path_factory.mktemp("scenes")
    for name in SCENES:
        draw_scene(name, folder, (160, 132))
    return folder


@pytest.fixture(scope="module")
def one_worker(
    request: pytest.FixtureRequest, scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What one worker makes of them in one go, with the module's PROMPT: the bytes of each file."""
    out = tmp_path_factory.mktemp("one") / "out"
    line = [*command(), "batch", str(scenes), *request.module.PROMPT, "-o", str(out)]
    subprocess.run(line, check=True, capture_output=True)
    return contents(out)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small JPEG to edit where it does not matter what it shows."""
    rgb = draw_scene("ball", tmp_path).rgb
    path = tmp_path / "photo.jpg"
    Image.fromarray(rgb).save(path, quality=95)
    return path


@pytest.fixture
def browser() -> Iterator[Any]:
    """A fresh Chromium."""
    with chromium() as made:
        yield made
