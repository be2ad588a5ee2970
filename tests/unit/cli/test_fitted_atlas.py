"""The atlas that edit-video fits by itself: kept for the next prompt, without which everything still works."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from t2l_cli.cli import fitted_atlas as module
from t2l_cli.cli.fitted_atlas import fitted_atlas
from t2l_cli.cli.interrupt import Interrupted, Interruption
from t2l_cli.cli.terminal import Terminal
from t2l_cli.engine.atlas.model import LAYERS, Atlas
from tests.truth import make_truth


@dataclass(frozen=True)
class Quality:
    psnr: float = 40.0
    residual: float = 0.1
    advice: tuple[str, ...] = ()


class Fits:
    """Stands in for fitting: counts the fits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.atlas = make_truth((40, 24), 3).atlas()
        monkeypatch.setattr(module, "fitting", self)

    def __call__(self, *_: object) -> Any:
        self.count += 1
        return SimpleNamespace(result=lambda: self.atlas, quality=Quality)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    return Fits(monkeypatch)


def _atlas() -> Atlas:
    request: Any = SimpleNamespace(key=lambda excerpt: "0123abcd")
    with Interruption(quiet=True) as interruption:
        return fitted_atlas(None, request, Terminal(quiet=True), interruption)  # type: ignore[arg-type]


def _same(a: Atlas, b: Atlas) -> bool:
    parts = [(a.alpha, b.alpha)]
    for name in LAYERS:
        parts += [(getattr(a.layer(name), part), getattr(b.layer(name), part)) for part in ("texture", "uv", "used")]
    return all(torch.equal(ours, theirs) for ours, theirs in parts)


def test_the_atlas_of_the_cache_is_the_one_that_was_fitted_to_the_bit(fits: Fits, user_folders: Path) -> None:
    first = _atlas()
    assert _same(_atlas(), first)
    assert fits.count == 1
    assert os.listdir(user_folders / "atlases") == ["0123abcd"]


@pytest.mark.parametrize("name", ["atlas.json", "atlas.safetensors"])
def test_what_is_broken_in_the_cache_is_fitted_again(fits: Fits, user_folders: Path, name: str) -> None:
    first = _atlas()
    (user_folders / "atlases" / "0123abcd" / name).write_bytes(b"{")
    assert _same(_atlas(), first)
    assert _same(_atlas(), first)
    assert fits.count == 2


@pytest.mark.parametrize("place", ["/dev/null", "/proc", "/proc/none"])
def test_a_cache_that_cannot_be_written_does_not_take_the_fit_along(
    fits: Fits, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], user_folders: Path, place: str
) -> None:
    kept = _atlas()
    monkeypatch.setenv("T2L_CACHE_DIR", place)
    assert _same(_atlas(), kept)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("the next run will have to fit this atlas again: ")


def test_an_interruption_while_the_atlas_is_kept_waits_for_that(
    fits: Fits, user_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed() -> Atlas:
        os.kill(os.getpid(), signal.SIGINT)
        return fits.atlas

    def fitting(*arguments: Any) -> Any:
        next(a for a in arguments if isinstance(a, Interruption)).be_patient()
        return SimpleNamespace(result=pressed, quality=Quality)

    monkeypatch.setattr(module, "fitting", fitting)
    with pytest.raises(Interrupted):
        _atlas()
    monkeypatch.undo()
    monkeypatch.setenv("T2L_CACHE_DIR", str(user_folders))
    monkeypatch.setattr(module, "fitting", fits)
    _atlas()
    assert fits.count == 0
