"""What stands in for the slow parts, so that a case takes milliseconds: a tiny CLIP, a tiny generator, one step."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import open_clip
import torch
import typer.main
from torch import Tensor, nn

from t2l_cli.engine import edit
from t2l_cli.engine.fit import fit, training
from t2l_cli.weights import mini

STEPS = 1  # of a training, whatever is asked for


class Wash(nn.Module):
    """In the generator's place: each pixel's colour and opacity from its own colour, (B, 3, H, W) to (B, 4, H, W)."""

    def __init__(self, *, rng: torch.Generator) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 1)
        nn.init.normal_(self.mix.weight, generator=rng)

    def forward(self, picture: Tensor) -> Tensor:
        return torch.sigmoid(self.mix(picture))


@functools.cache
def _tiny() -> tuple[Any, Any]:
    """A random CLIP of the real kind, in mini's place, and its tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        vision = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2, "pool_type": "avg"}
        text = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
        model = open_clip.CLIP(16, vision, text)
    return model.eval(), open_clip.tokenizer.SimpleTokenizer(context_length=32)


_real_mini = functools.cache(mini.load)
_command = functools.cache(typer.main.get_command)


def _copied(load: Any) -> Any:
    """``load`` with a fresh copy of the model each time: who takes a model over may change it."""

    def fresh() -> tuple[Any, Any]:
        model, tokenizer = load()
        return copy.deepcopy(model), tokenizer

    return fresh


def _few(steps: Any) -> Any:
    return lambda *given, **named: itertools.islice(steps(*given, **named), STEPS)


class _BriefFit(fit.AtlasFit):
    """A fit of two steps on few pixels."""

    def __init__(self, frames: Tensor, config: Any, *given: Any, **named: Any) -> None:
        small = dataclasses.replace(config, visits=1, size=min(config.size, 32), levels=min(config.levels, 2))
        super().__init__(frames, small, *given, **named)


@contextlib.contextmanager
def in_place(real: bool) -> Iterator[None]:
    """Within the block the program's slow parts are replaced; ``real``: nothing but what is only read, once."""
    with contextlib.ExitStack() as stack:

        def put(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        put(typer.main, "get_command", _command)
        put(mini, "load", _copied(_real_mini if real else _tiny))
        if not real:
            put(edit, "Generator", Wash)
            put(edit, "optimise", _few(edit.optimise))
            put(fit, "AtlasFit", _BriefFit)
            put(training, "LEAST_STEPS", 2)
        yield
