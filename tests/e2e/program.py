"""The installed program as a process, and drawn pictures to run it on; shared by the tests of this folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFilter

Bytes = npt.NDArray[np.uint8]
Run = subprocess.CompletedProcess[bytes]

SHORT = ("--clip", "mini", "--offline", "--steps", "2", "--views", "1", "--size", "129")
"""Options for a run of seconds, where what the edit looks like is not the question."""


def slow(*values: object) -> Any:
    """A case of a parametrised test that is left out unless slow tests are asked for."""
    return pytest.param(*values, marks=pytest.mark.slow)


def command() -> list[str]:
    """The installed `t2l` of this Python, or the module where it is not installed."""
    script = shutil.which("t2l", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "t2l_cli"]


@dataclass(frozen=True)
class Scene:
    """A drawn picture with one object on a plain ground."""

    path: Path
    rgb: Bytes  # (H, W, 3)
    inside: npt.NDArray[np.bool_]  # (H, W), the object


SCENES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], list[tuple[float, float, float, float]]]] = {
    # object's colour, ground's colour, ellipses (left, top, right, bottom) in parts of the picture
    "ball": ((150, 150, 155), (205, 195, 180), [(0.3, 0.25, 0.7, 0.75)]),
    "mug": ((90, 120, 170), (190, 200, 190), [(0.3, 0.3, 0.65, 0.75), (0.58, 0.38, 0.78, 0.64)]),
    "pear": ((170, 160, 90), (120, 120, 130), [(0.32, 0.42, 0.68, 0.86), (0.41, 0.2, 0.59, 0.6)]),
}


def draw_scene(name: str, folder: Path, size: tuple[int, int] = (320, 240)) -> Scene:
    """Draw the scene ``name`` of SCENES into ``folder``."""
    colour, ground, ellipses = SCENES[name]
    width, height = size
    mask = Image.new("L", size)
    for left, top, right, bottom in ellipses:
        box = (left * width, top * height, right * width, bottom * height)
        ImageDraw.Draw(mask).ellipse(box, fill=255)
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(1)), np.float64)[..., None] / 255
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    light = (1.12 - 0.25 * x - 0.2 * y)[..., None]
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 1))
    picture = soft * np.array(colour) * light + (1 - soft) * np.array(ground) * (0.5 + 0.5 * light) + noise
    rgb = np.clip(picture, 0, 255).astype(np.uint8)
    path = folder / f"{name}.png"
    Image.fromarray(rgb).save(path)
    return Scene(path, rgb, np.asarray(mask) > 127)


def pixels(path: Path) -> Bytes:
    """The RGB bytes of a written picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def started(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """The running program, its streams piped."""
    line = [*command(), *map(str, arguments)]
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(what: Callable[[], object], process: subprocess.Popen[bytes], seconds: float = 300.0) -> None:
    """Wait until ``what`` is true; the process must be running until then."""
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def lines(stream: bytes) -> list[str]:
    """The lines of a stream."""
    return stream.decode("utf-8", "surrogateescape").splitlines()
