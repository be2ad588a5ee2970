"""Compiled towers and generator, with compilers that a CPU can run: the same numbers, few graphs, and a way back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from t2l_cli.config import AugmentConfig, EditConfig, OptimConfig, ViewConfig
from t2l_cli.engine import augment
from t2l_cli.engine import edit as edits
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.runtime import BUCKET, Compiler, Runtime

CONFIG = EditConfig(("red ball",), roi="ball", size=192, optim=OptimConfig(steps=4), views=ViewConfig(n_views=2))


@pytest.fixture(autouse=True)
def fresh_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(edits, "Generator", functools.partial(Generator, channels=4))
    torch.compiler.reset()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, whatever the compiler makes of the graph
    yield
    torch.set_num_threads(threads)
    torch.compiler.set_stance("default")
    torch.compiler.reset()


def train(clip: Clip, compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict[str, float]], list[str]]:
    monkeypatch.setattr(Runtime, "multiple", BUCKET)  # the same pictures for both ways
    picture = torch.rand(3, 192, 256, generator=torch.Generator().manual_seed(0))
    runtime = Runtime(torch.device("cpu"), torch.float32, torch.contiguous_format, 1, compiler)
    steps = list(PhotoEdit(picture, clip, CONFIG, runtime))
    return [step.terms for step in steps], [step.note for step in steps]


@pytest.mark.slow
def test_compiled_training_has_the_same_losses_and_few_graphs(
    make_tiny_clip: Callable[..., Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = []

    def compiler(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    expected, _ = train(make_tiny_clip(), "", monkeypatch)
    terms, notes = train(make_tiny_clip(), compiler, monkeypatch)
    assert graphs
    assert notes == [""] * 4
    for have, want in zip(terms, expected, strict=True):
        assert have == pytest.approx(want, rel=1e-4, abs=1e-6)


def test_a_failing_compiler_is_done_without(
    make_tiny_clip: Callable[..., Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiler(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler found")

    expected, _ = train(make_tiny_clip(), "", monkeypatch)
    terms, notes = train(make_tiny_clip(), compiler, monkeypatch)
    assert terms == expected
    assert "torch.compile failed" in notes[0]
    assert notes[1:] == [""] * 3


def test_sizes_come_in_few_kinds() -> None:
    random = torch.Generator().manual_seed(0)
    sizes = {augment.draw(AugmentConfig(), (512, 512), random, BUCKET).size for _ in range(500)}
    assert all(side % BUCKET == 0 and side >= 129 for size in sizes for side in size)
    assert len(sizes) <= 16
    assert augment.whole((40, 40), BUCKET) == (192, 192)
    assert augment.whole((40, 40)) == (129, 129)
    assert augment.whole((333.4, 333.4)) == (333, 333)
