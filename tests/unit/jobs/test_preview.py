"""When a preview is made, what it may cost, and that it never takes the work along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2l_cli.errors import OutputError, RequestError
from t2l_cli.jobs.preview import EVERY, SHARE, Preview, PreviewFile

GREY = np.full((4, 6, 3), 90, np.uint8)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Looking(Preview):
    """Notes when it shows; a look takes ``cost``."""

    def __init__(self, cost: float, clock: Clock) -> None:
        self.warnings: list[str] = []
        super().__init__(self.warnings.append, clock)
        self.cost, self.clock, self.at = cost, clock, list[float]()

    def show(self, picture: Any) -> None:
        self.at.append(self.clock.now)
        self.clock.now += self.cost


def trained(preview: Looking, steps: int, step: float) -> float:
    """Offer a look after each of ``steps``; the part of all time that looks took until now."""
    clock = preview.clock
    for _ in range(steps):
        clock.now += step
        preview.offer(lambda: GREY)
    return len(preview.at) * preview.cost / (clock.now - 100)


@pytest.mark.parametrize("cost_in_steps", [0.001, 0.1, 0.25])
@pytest.mark.parametrize("step", [0.001, 0.05, 1.0, 30.0])
def test_looks_take_their_share_of_the_time_and_no_more(cost_in_steps: float, step: float) -> None:
    preview = Looking(cost_in_steps * step, Clock())
    for steps in (1, 5, 20, 200, 1000):
        assert trained(preview, steps, step) <= SHARE
    assert preview.at
    assert all(b - a >= EVERY for a, b in zip(preview.at, preview.at[1:], strict=False))
    whole = preview.clock.now - 100
    assert len(preview.at) * preview.cost <= SHARE * whole
    # And they are not seldomer than they have to be.
    assert len(preview.at) >= min(SHARE * whole / preview.cost, whole / (EVERY + step)) * 0.8 - 1


def test_a_look_that_was_dearer_than_thought_is_made_up_for() -> None:
    preview = Looking(5.0, Clock())
    trained(preview, 100, 1.0)
    first = preview.clock.now
    assert len(preview.at) == 1
    trained(preview, 2000, 1.0)
    assert len(preview.at) * 5.0 <= SHARE * (preview.clock.now - 100)
    assert preview.at[1] > first


@pytest.mark.parametrize("error", [OutputError("the disk is full."), MemoryError(), ValueError("x")])
def test_a_look_that_fails_is_the_last_one_and_ends_nothing(error: Exception) -> None:
    preview = Looking(0.0, Clock())
    asked = []

    def glimpse() -> Any:
        asked.append(1)
        raise error

    for _ in range(100):
        preview.clock.now += 1
        preview.offer(glimpse)
    assert len(asked) == len(preview.warnings) == 1
    assert preview.warnings[0].startswith("no more previews: ")
    assert preview.at == []


def test_the_file_is_rewritten_and_told_of(tmp_path: Path) -> None:
    told: list[Path] = []
    file = PreviewFile(tmp_path / "look.png", False, (), pytest.fail, told.append)
    assert not list(tmp_path.iterdir())
    for level in (90, 200):
        file.show(np.full((4, 6, 3), level, np.uint8))
        with Image.open(tmp_path / "look.png") as image:
            assert image.size == (6, 4)
            assert image.getpixel((0, 0)) == (level,) * 3
    assert told == [tmp_path / "look.png"] * 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "name", ["there.png", "source.png", "out.png", "look.jpg", "look", "no/look.png", "run/look.png"]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_no_file_of_the_users_is_replaced(name: str, overwrite: bool, tmp_path: Path) -> None:
    for there in ("there.png", "source.png"):
        (tmp_path / there).write_bytes(b"mine")
    (tmp_path / "run").mkdir()
    others = (tmp_path / "source.png", tmp_path / "out.png", tmp_path / "run", None)
    if overwrite and name == "there.png":
        PreviewFile(tmp_path / name, overwrite, others, pytest.fail)
    else:
        with pytest.raises(RequestError, match=r"--preview|does not exist"):
            PreviewFile(tmp_path / name, overwrite, others, pytest.fail)
    assert (tmp_path / "there.png").read_bytes() == (tmp_path / "source.png").read_bytes() == b"mine"
