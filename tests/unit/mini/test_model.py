from pathlib import Path

import pytest
import torch

from mini.student import save
from t2l_cli.weights import mini
from t2l_cli.weights.registry import MINI_WEIGHTS


def test_the_file_fits_in_the_wheel() -> None:
    assert MINI_WEIGHTS.stat().st_size < 8e6


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fresh, tokenizer = mini.create()
    ids = tokenizer(["red cup"])[0].unique()
    save(fresh.state_dict(), ids, tmp_path / "m.safetensors")
    back, _ = mini.load(tmp_path / "m.safetensors")
    assert (back.token_embedding.weight.abs().sum(1) > 0).sum() == len(ids)
    torch.testing.assert_close(back.visual.proj, fresh.visual.proj.half().float())
    torch.testing.assert_close(back.token_embedding.weight[ids], fresh.token_embedding.weight[ids].half().float())


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    fresh, _ = mini.create()
    state = {k: v for k, v in fresh.state_dict().items() if k != "visual.proj"}
    save(state, torch.tensor([5]), tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="proj"):
        mini.load(tmp_path / "m.safetensors")


def test_words_that_it_never_saw_are_zero() -> None:
    loaded, tokenizer = mini.load()
    known, unknown = tokenizer(["red"])[0, 1], tokenizer(["parliament"])[0, 1]
    assert loaded.token_embedding.weight[known].norm() > 0
    assert loaded.token_embedding.weight[unknown].norm() == 0
