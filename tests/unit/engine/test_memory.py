"""Short memory: views in chunks with the same numbers, chosen after a step that failed, and said so."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from t2l_cli.config import EditConfig, LossWeights, OptimConfig, ViewConfig
from t2l_cli.engine import edit as edits
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.motion.detectors import class_mask, raft_flow
from t2l_cli.engine.objective import Objective
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.runtime import memory_guard, resolve
from t2l_cli.errors import DeviceMemoryError
from tests.unit.engine.conftest import tiny_model
from tests.unit.engine.test_objective import example

__all__ = ["example"]  # the fixture
N_VIEWS = 3
CONFIG = EditConfig(("red ball",), roi="ball", size=129, optim=OptimConfig(steps=3), views=ViewConfig(n_views=N_VIEWS))


@pytest.fixture
def clip(make_tiny_clip: Callable[..., Clip]) -> Clip:
    """One of its own: how many views it keeps is changed."""
    return make_tiny_clip()


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_chunks_give_the_same_losses_and_gradients(clip: Clip, example: object, at_once: int) -> None:
    def both(at_once: int | None) -> tuple[Tensor, Tensor]:
        clip.at_once = at_once
        losses = Objective(clip, LossWeights())([example])  # type: ignore[list-item]
        return losses.total, torch.autograd.grad(losses.total, example.layer.rgb, retain_graph=True)[0]  # type: ignore[attr-defined]

    for whole, parts in zip(both(None), both(at_once), strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-5)


def test_chunks_keep_less(clip: Clip) -> None:
    kept = []
    views = torch.rand(8, 3, 32, 32).requires_grad_()
    for at_once in (None, 2):
        clip.at_once, sizes = at_once, []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.numel()) or x, lambda x: x):
            clip.embed_images(views)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 10


def crowded(clip: Clip, monkeypatch: pytest.MonkeyPatch, room: int) -> list[int]:
    """A device that holds ``room`` views; the numbers of views that were tried."""
    tried: list[int] = []
    plain = clip.embed_at_once

    def embed(pictures: Tensor, *tower: nn.Module) -> Tensor:
        tried.append(len(pictures))
        if len(pictures) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(pictures, *tower)

    monkeypatch.setattr(clip, "embed_at_once", embed)
    monkeypatch.setattr(edits, "Generator", functools.partial(Generator, channels=8))
    return tried


def test_a_step_is_repeated_with_fewer_views(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = torch.rand(3, 140, 150, generator=torch.Generator().manual_seed(0))
    crowded(clip, monkeypatch, room=100)
    expected = next(iter(PhotoEdit(picture, clip, CONFIG)))
    assert expected.note == ""
    tried = crowded(clip, monkeypatch, room=1)
    edit = PhotoEdit(picture, clip, CONFIG)
    tried.clear()
    steps = list(edit)
    assert tried[0] == 2 * N_VIEWS
    assert max(tried[1:]) == 1
    assert clip.at_once == 1
    assert [step.note for step in steps] == [
        "cpu ran out of memory: CLIP keeps 1 of 6 views at a time, with the same result", "", "",
    ]  # fmt: skip
    assert steps[0].terms == pytest.approx(expected.terms, rel=1e-5)  # the same draws, the same numbers


def test_what_does_not_fit_in_the_smallest_pieces_is_an_error(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    edit = PhotoEdit(torch.rand(3, 140, 150), clip, CONFIG)
    tried = crowded(clip, monkeypatch, room=0)
    with pytest.raises(DeviceMemoryError, match="--size"):
        next(iter(edit))
    assert tried == [6, 1]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")],
)
def test_a_device_without_room_for_a_model_is_no_bug(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another program fills the GPU: CLIP, the generator and the networks for videos are told alike."""
    tiny, network = tiny_model(), nn.Conv2d(1, 1, 1)

    def full(self: nn.Module, *to: object, **more: object) -> nn.Module:
        raise error

    monkeypatch.setattr(nn.Module, "to", full)
    cpu = resolve("cpu")
    for load in (
        lambda: Clip(tiny, lambda texts: torch.zeros(1)),
        lambda: edits.Run(0, cpu),
        lambda: raft_flow(network, cpu.device),
        lambda: class_mask(network, 1, cpu.device),
    ):
        with pytest.raises(DeviceMemoryError, match=r"ran out of memory"):
            load()


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="made up"), memory_guard(torch.device("cpu")):
        raise RuntimeError("made up")
