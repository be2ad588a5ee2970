import pytest
import torch

from mini.score import scores
from t2l_cli.weights import mini
from t2l_cli.weights.mini import create

SCENES = 48


@pytest.mark.slow
def test_mini_scores_far_above_chance_where_its_edits_depend_on_it() -> None:
    table = {name: part for name, (part, _, _) in scores(*mini.load(), scenes=SCENES).items()}
    assert table["object colour"] > 0.75
    assert table["direction of a colour edit"] > 0.6
    assert table["colour edit gains all the way from gray"] > 0.6
    assert table["relevancy of its noun peaks on the object"] > 0.8


@pytest.mark.slow
def test_an_untrained_model_scores_like_chance() -> None:
    torch.manual_seed(0)
    table = {name: part for name, (part, _, _) in scores(*create(), scenes=SCENES).items()}
    assert table["object colour"] < 0.4
    assert table["colour edit gains all the way from gray"] < 0.6
    assert table["relevancy of its noun peaks on the object"] < 0.6
