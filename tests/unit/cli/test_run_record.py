"""losses.csv while it grows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from t2l_cli.cli.run_record import RunDir


@dataclass(frozen=True)
class FakeStep:
    i: int
    read: list[int]
    n: int = 1000
    stage: str = ""
    lr: float = 0.1
    total: float = 3.0

    @property
    def terms(self) -> dict[str, float]:
        self.read.append(self.i)
        return {"cosine": 1.0, "screen": 2.0}


def test_an_accelerators_losses_are_read_some_steps_at_a_time(tmp_path: Path) -> None:
    read: list[int] = []
    edit: Any = SimpleNamespace(runtime=SimpleNamespace(check_every=4))
    run_dir = RunDir(tmp_path)
    for i in range(6):
        run_dir.add(FakeStep(i, read), edit)  # type: ignore[arg-type]
        assert read == ([] if i < 3 else [0, 1, 2, 3])
    run_dir.keep_layer(np.zeros((2, 2, 4), np.uint8))
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert lines[0] == "step,stage,lr,total,cosine,screen"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4", "5", "6"]
