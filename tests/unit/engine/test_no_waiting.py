"""A step never waits for its device: it runs on "meta", where no value can be read, with all copies watched."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from t2l_cli.config import AugmentConfig, EditConfig, LossWeights, OptimConfig, ViewConfig, video_config
from t2l_cli.engine import edit as edits
from t2l_cli.engine import optimize
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.edit import Edit
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.runtime import Runtime
from t2l_cli.engine.video import VideoEdit
from tests.truth import make_truth
from tests.unit.engine.conftest import tiny_model

META = torch.device("meta")
RUNTIME = Runtime(META, torch.float32, torch.channels_last, check_every=10)
OPTIM = OptimConfig(steps=3, source_every=1)
AUGMENT = AugmentConfig(jitter_p=1.0)  # every branch of a step is taken
VIEWS = ViewConfig(n_views=2)  # few of everything: "meta" computes shapes in Python


class Watched(TorchFunctionMode):
    """Fails on what makes a CUDA device wait: a value brought from the CPU by a copy that does not say non_blocking.

    Values that go the other way need no watch: on "meta" there are none, and PyTorch raises.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        name = getattr(function, "__name__", "")
        if isinstance(out, Tensor) and out.device == META:
            assert name not in ("tensor", "as_tensor", "new_tensor"), f"{name} builds its values on the CPU and waits"
            if name in ("to", "copy_", "cuda"):
                source = args[1] if name == "copy_" else args[0]
                waits = isinstance(source, Tensor) and source.device.type == "cpu" and not kwargs.get("non_blocking")
                assert not waits, f"{name} waits for the device"
        return out


@pytest.fixture
def meta_clip() -> Clip:
    with torch.random.fork_rng(devices=[]):
        model = tiny_model.__wrapped__()  # the cached one stays on the CPU
    return Clip(model, open_clip.get_tokenizer("ViT-B-32"), META)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps whose losses are looked at; their values are not."""
    steps: list[int] = []
    monkeypatch.setattr(optimize, "check_finite", lambda i, *_: steps.append(i))
    monkeypatch.setattr(edits, "Generator", functools.partial(Generator, channels=8))
    return steps


def picture_edit(clip: Clip) -> Edit:
    config = EditConfig(("red ball",), roi="ball", size=129, optim=OPTIM, views=VIEWS, augment=AUGMENT)
    return PhotoEdit(torch.rand(3, 140, 160), clip, config, RUNTIME, mask=torch.ones(1, 140, 160))


def layer_edit(clip: Clip) -> Edit:
    truth = make_truth((120, 80), 5)
    config = dataclasses.replace(video_config(("red object",)), roi="object", size=129, optim=OPTIM)
    # the relevancy map of an atlas is gathered on the CPU before the first step
    config = dataclasses.replace(config, views=VIEWS, augment=AUGMENT, weights=LossWeights(bootstrap=0.0))
    return VideoEdit(truth.tensor(), truth.atlas(), "foreground", clip, config, RUNTIME)


@pytest.mark.parametrize("make", [picture_edit, layer_edit])
def test_no_value_is_read_or_awaited(meta_clip: Clip, checked: list[int], make: Callable[[Clip], Edit]) -> None:
    steps = iter(make(meta_clip))
    next(steps)  # what is made once may wait
    with Watched():
        step = next(steps)
    assert checked == [0]
    with pytest.raises(RuntimeError):  # the watch itself: reading does fail
        step.total  # noqa: B018
    with Watched(), pytest.raises(AssertionError, match="waits"):
        torch.zeros(1).to(META)
