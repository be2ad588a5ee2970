"""An engine made of cardboard, for the walks of an edit."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import torch

from t2l_cli.config import EditConfig
from t2l_cli.engine.fullres import FullLayer
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.losses import Losses
from t2l_cli.engine.optimize import Step
from t2l_cli.errors import DivergedError

HEIGHT, WIDTH = 20, 30


class Cardboard:
    """An PhotoEdit of ``n`` steps that diverges after ``until`` of them. Its layer is half a red."""

    def __init__(self, n: int = 10, until: int | None = None) -> None:
        self.n, self.until = n, until
        self.config = EditConfig(("red",))
        self.runtime = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32, check_every=1)
        self.texts = SimpleNamespace(prompts=("red",), layer_texts=("red",))
        self.roi, self.roi_chosen, self.tries, self.seed, self.size = None, True, [], 0, (HEIGHT, WIDTH)

    def __iter__(self) -> Iterator[Step]:
        for i in range(self.n):
            if i == self.until:
                raise DivergedError("the loss became NaN.")
            yield Step(i, self.n, losses=Losses({"cosine": torch.tensor(1.0), "screen": torch.tensor(0.5)}), lr=0.1)

    def preview(self) -> EditLayer:
        red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH)
        return EditLayer(red, torch.full((1, 1, HEIGHT, WIDTH), 0.5))

    result = preview

    def full_layer(self) -> FullLayer:
        return FullLayer(self.preview(), torch.zeros(1, 3, HEIGHT, WIDTH))
