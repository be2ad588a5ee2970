"""The straight way that the benchmarks compare with is Eq. 2 too."""

from __future__ import annotations

import common
import measure
import torch

from t2l_cli.config import EditConfig, ViewConfig
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.runtime import resolve


def test_the_straight_way_has_the_same_losses_at_a_higher_cost() -> None:
    runtime = resolve("cpu")
    clip, whose = common.clip_at_hand("toy-clip", runtime)
    assert whose == "random weights"
    config = EditConfig(("crochet swan",), roi="swan", size=129, views=ViewConfig(n_views=2))
    picture = common.smooth_picture((129, 129))
    ours, straight = (PhotoEdit(picture, clip, config, runtime) for _ in range(2))
    straight.objective = common.StraightObjective(clip, config.weights)
    assert common.difference(ours, straight) < 1e-4
    paint, rng = ours.painter(ours.generator), torch.Generator()
    costs = [measure.flops(lambda e=edit: e.losses(paint, rng.manual_seed(0), 1)) for edit in (ours, straight)]
    assert costs[1] > costs[0]


def test_mini_has_weights_that_were_trained() -> None:
    clip, whose = common.clip_at_hand("mini", resolve("cpu"))
    assert (whose, clip.dtype) == (common.PUBLISHED, torch.float32)
