"""An engine made of cardboard, for the walks of an edit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from t2l_cli.config import EditConfig
from t2l_cli.engine.fullres import FullLayer
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.optimize import LastGood, Step, check_finite
from t2l_cli.progress import Silent

HEIGHT, WIDTH = 20, 30


def diverge(i: int) -> None:
    """What the engine does where the loss of step ``i`` is NaN."""
    check_finite(i, LastGood(torch.nn.Linear(1, 1)), [torch.tensor(math.nan)])


class Cardboard:
    """A PhotoEdit of ``n`` steps that diverges after ``until`` of them. Its layer is half a red."""

    def __init__(self, n: int = 10, until: int | None = None, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
        self.n, self.until, self.next = n, until, 0
        self.n_steps, self.about_matte, self.about_cutout = n, "", ""
        self.config = EditConfig(("red",))
        self.runtime = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32, check_every=1)
        self.texts = SimpleNamespace(prompts=("red",), layer_texts=("red",))
        self.roi, self.roi_chosen, self.tries, self.seed, self.size = None, True, [], 0, size

    def __iter__(self) -> Iterator[Step]:
        for i in range(self.next, self.n):
            if i == self.until:
                diverge(i)
            self.next = i + 1
            yield Step(i, self.n, losses=Losses({"cosine": torch.tensor(1.0), "screen": torch.tensor(0.5)}), lr=0.1)

    def preview(self) -> EditLayer:
        red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, *self.size)
        return EditLayer(red, torch.full((1, 1, *self.size), 0.5))

    result = preview

    def full_layer(self) -> FullLayer:
        return FullLayer(self.preview(), torch.zeros(1, 3, *self.size))


class Listener(Silent):
    """A reporter that remembers what it was told; ``stop`` ends the work."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.stop = False
        self.patient_when_asked: set[bool] = set()
        self._patient = False

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def should_stop(self) -> bool:
        self.patient_when_asked.add(self._patient)
        return self.stop

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        self._patient = True
        yield
        self._patient = False


def put_in(job: Any, edit: Cardboard) -> None:
    """Give a job an engine and a judge of cardboard."""
    job.edit, job.judge = edit, SimpleNamespace(clips=(), runtime=edit.runtime, weights_sha256=("0" * 64,))
