"""What the benchmarks of edits share: a CLIP without a download, pictures, and the straight way to Eq. 2."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from madgrad import MADGRAD
from torch import Tensor

from t2l_cli import engine
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.edit import Edit
from t2l_cli.engine.generator import Generator
from t2l_cli.engine.losses import Losses, cosine_loss, directional_loss, screen_loss
from t2l_cli.engine.objective import Example, Objective
from t2l_cli.engine.optimize import learning_rate
from t2l_cli.engine.runtime import Runtime
from t2l_cli.engine.views import ViewParams, make_views
from t2l_cli.errors import RequestError, WeightsError
from t2l_cli.weights import registry
from t2l_cli.weights.loading import load_clip

PUBLISHED = "published weights"
TOY = Path(__file__).with_name("toy-clip.json")  # a CLIP by the name of its file: so small that it costs nothing


def clip_of(name: str, random_weights: bool, runtime: Runtime) -> Clip:
    """The CLIP ``name``; with ``random_weights`` of the same size, without a download."""
    model, tokenizer = _random(name) if random_weights else _published(name, offline=False)
    return Clip(model, tokenizer, runtime.device, runtime.dtype)


def clip_at_hand(name: str, runtime: Runtime) -> tuple[Clip, str]:
    """The CLIP ``name`` without a network, and whose weights it has: published ones if they are here, else random."""
    model, tokenizer, whose = _at_hand(name)
    return Clip(copy.deepcopy(model), tokenizer, runtime.device, runtime.dtype), whose


@cache
def _at_hand(name: str) -> tuple[Any, Any, str]:
    try:
        return *_published(name, offline=True), PUBLISHED
    except (RequestError, WeightsError):  # none are published, or they are not here
        return *_random(name), "random weights"


def _published(name: str, offline: bool) -> tuple[Any, Any]:
    loaded = load_clip(name, offline=offline)
    return loaded.model, loaded.tokenizer


def _random(name: str) -> tuple[Any, Any]:
    """The model that t2l understands by ``name``, or the toy beside this file, with weights of seed 0."""
    open_clip.add_model_config(TOY)
    spec = registry.resolve(name)
    torch.manual_seed(0)
    model = open_clip.create_model(spec.architecture, force_quick_gelu=spec.quick_gelu)
    return model, open_clip.get_tokenizer(spec.architecture)


def narrow(channels: int) -> None:
    """Give every edit from now on a generator of so few ``channels``: the same steps, at hardly a cost."""
    # Replaced on purpose, where every edit looks it up.
    engine.edit.Generator = partial(Generator, channels)  # type: ignore[misc, assignment]


def smooth_picture(size: tuple[int, int]) -> Tensor:
    """A random smooth picture (3, H, W) in [0, 1]."""
    return F.interpolate(torch.rand(1, 3, 9, 12), size=size, mode="bilinear")[0]


class StraightObjective(Objective):
    """Eq. 2 as one reads it: every picture of every term is looked at and embedded by itself, as in the published code.

    With n views: 4 n views forward and 3 n backward, where ``Objective`` needs 3 n and 2 n.
    """

    def _text_terms(self, k: int, example: Example, I_o: Tensor) -> tuple[Losses, Losses]:
        texts, distance, embed = example.texts[k], self.weights.distance, partial(self._embed, self.clips[k])
        with torch.no_grad():
            E_s = embed(example.source, example.source_views)
        L_comp = {
            "cosine": cosine_loss(embed(I_o, example.views), texts.target, distance),
            "direction": directional_loss(embed(I_o, example.views), E_s, texts.direction),
        }
        E_screen = embed(example.layer.over_green(), example.views)
        return Losses(L_comp), Losses({"screen": screen_loss(E_screen, texts.screen, distance)})

    def structure_term(self, k: int, example: Example, I_o: Tensor) -> Losses:
        """L_structure with the source's similarities computed anew in every step."""
        return super().structure_term(k, dataclasses.replace(example, source_structure=None), I_o)

    @staticmethod
    def _embed(clip: Clip, picture: Tensor, views: ViewParams) -> Tensor:
        size = clip.view_size((picture.shape[-2], picture.shape[-1]))
        return clip.embed_images(make_views(picture, views, size))


def straight_steps(edit: Edit) -> Iterator[dict[str, float]]:
    """``edit``'s training in the straight way: parameter by parameter, and every loss is read at every step."""
    edit.objective = StraightObjective(edit.clips, edit.config.weights)
    config, random = edit.config.optim, edit.rng  # the stream that ours draws from, for the same draws
    optimizer = MADGRAD(
        edit.generator.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    for i in range(config.steps):
        optimizer.param_groups[0]["lr"] = learning_rate(config, i)
        optimizer.zero_grad()
        losses = edit.losses(edit.painter(edit.generator), random, i)
        losses.total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        yield {name: term.item() for name, term in losses.terms.items()}


def difference(ours: Edit, straight: Edit, draws: int = 2) -> float:
    """The largest relative difference of a term of both objectives, for the same pictures and the same draws."""
    apart = []
    for seed in range(draws):
        with torch.no_grad():
            a, b = (
                edit.losses(edit.painter(ours.generator), torch.Generator().manual_seed(seed), 1).terms
                for edit in (ours, straight)
            )
        apart += [(a[name] - b[name]).abs() / b[name].abs().clamp(min=1e-12) for name in b]
    return torch.stack(apart).max().item()  # NaN, if there is one
