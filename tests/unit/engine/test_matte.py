"""Matting: outlines of drawn pictures whose truth is known, and what is left alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from pymatting import estimate_alpha_cf
from torch import Tensor

from t2l_cli.engine import matte
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.matte import matted, solve
from t2l_cli.engine.resize import resized

HEIGHT, WIDTH = 120, 160
RED = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)


def disc(radius: float = 36, soft: float = 1.0, at: tuple[float, float] = (62, 78)) -> Tensor:
    """The opacity (1, 1, H, W) of a disc whose outline is ``soft`` px wide."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    distance = ((y - at[0]) ** 2 + (x - at[1]) ** 2).sqrt()
    return ((radius - distance) / soft + 0.5).clamp(0, 1)[None, None]


def picture(truth: Tensor) -> Tensor:
    """A blue disc on a bright ground, each with some grain: (1, 3, H, W)."""
    rng = torch.Generator().manual_seed(2)
    blue, ground = (torch.tensor(c).view(1, 3, 1, 1) for c in ([0.15, 0.25, 0.7], [0.75, 0.7, 0.6]))
    return (truth * blue + (1 - truth) * ground + 0.01 * torch.randn(1, 3, HEIGHT, WIDTH, generator=rng)).clamp(0, 1)


def painted(size: tuple[int, int] = (40, 53), radius: float = 33, soft: float = 16) -> EditLayer:
    """A layer as training leaves it: small, with a blurred outline that does not reach the disc's."""
    alpha = resized(disc(radius, soft), size).clamp(0, 1)
    return EditLayer(RED.expand(1, 3, *size).clone(), alpha)


def overlap(a: Tensor, b: Tensor) -> float:
    """Intersection over union of what is more than half opaque."""
    one, other = a > 0.5, b > 0.5
    return float((one & other).sum() / (one | other).sum())


def test_the_outline_becomes_the_things_and_the_rim_is_painted() -> None:
    truth = disc()
    source = picture(truth)
    before = matted(painted(), source, "off").layer
    found = matted(painted(), source, "auto")
    assert found.about == "outlines brought to those of the picture"
    assert found.layer.size == (HEIGHT, WIDTH)
    assert overlap(found.layer.alpha, truth) > 0.97 > overlap(resized(before.alpha, (HEIGHT, WIDTH)), truth)
    rim = (truth > 0.99) & (disc(33) < 0.01)
    assert float(found.layer.alpha[rim].mean()) > 0.9
    assert float((found.layer.rgb - RED).abs().amax(1, keepdim=True)[rim].max()) < 0.1


def test_nothing_changes_outside_of_the_band_or_of_the_users_bounds() -> None:
    source = picture(disc())
    layer = painted((HEIGHT, WIDTH))  # of the picture's size: nothing is enlarged
    left = torch.zeros(1, 1, HEIGHT, WIDTH)
    left[..., : WIDTH // 2] = 1
    for within in (None, left):
        found = matted(layer, source, "on", within).layer
        changed = (found.alpha - layer.alpha).abs() > 1e-6
        assert changed.any()
        deep, far = layer.alpha > 0.999, layer.alpha < 1e-6
        assert not (changed & (deep & (disc(10) > 0))).any()
        assert not (changed & far & (disc(56) == 0)).any()
        if within is not None:
            assert not (changed & (within == 0)).any()
            assert torch.equal(found.rgb[..., WIDTH // 2 :], layer.rgb[..., WIDTH // 2 :])


def test_a_layer_finer_than_what_is_solved_keeps_its_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a hand-painted layer of 12 megapixels: only the band has the solver's size."""
    source, layer = picture(disc()), painted((HEIGHT, WIDTH))
    layer.rgb[..., ::2] = 0.3  # stripes of a pixel
    monkeypatch.setattr(matte, "MAX_PIXELS", 90 * 120)
    found = matted(layer, source, "on").layer
    assert found.size == layer.size
    assert overlap(found.alpha, disc()) > 0.95 > overlap(layer.alpha, disc())
    away = (disc(20) > 0) | (disc(60) == 0)
    assert torch.equal(found.rgb[away.expand(1, 3, -1, -1)], layer.rgb[away.expand(1, 3, -1, -1)])
    assert torch.equal(found.alpha[away], layer.alpha[away])


def test_paint_that_a_mask_hides_does_not_count() -> None:
    source, layer = picture(disc()), painted((HEIGHT, WIDTH))
    near = (disc(54) > 0).float()
    veiled = EditLayer(layer.rgb, torch.maximum(layer.alpha, 0.5 * (1 - near)))  # half transparent all around
    assert matted(veiled, source, "auto").layer is veiled
    found = matted(veiled, source, "auto", near)
    assert found.about == "outlines brought to those of the picture"
    assert overlap(found.layer.alpha * near, disc()) > 0.95
    nothing = EditLayer(layer.rgb, layer.alpha * (disc(54) == 0))
    assert matted(nothing, source, "on", near).layer is nothing


def test_auto_leaves_smoke_alone_and_on_does_not() -> None:
    source = picture(disc())
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    smoke = 0.35 + 0.3 * torch.sin(y / 9.0) * torch.cos(x / 13.0)
    smoke[50:58, 60:68] = 0.9  # a little of it is dense
    layer = EditLayer(torch.full((1, 3, HEIGHT, WIDTH), 0.8), smoke[None, None])
    left = matted(layer, source, "auto")
    assert left.layer is layer
    assert "left soft" in left.about
    assert matted(layer, source, "on").layer is not layer


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_a_layer_without_outlines_is_left_alone(alpha: float) -> None:
    layer = EditLayer(torch.rand(1, 3, 40, 53), torch.full((1, 1, 40, 53), alpha))
    for mode in ("auto", "on"):
        assert matted(layer, picture(disc()), mode).layer is layer  # type: ignore[arg-type]


def test_where_the_solver_does_not_converge_the_layer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matte, "MAX_ITERATIONS", 1)
    layer = painted()
    found = matted(layer, picture(disc()), "on")
    assert found.layer is layer
    assert "did not converge" in found.about


@pytest.mark.parametrize("error", [MemoryError(), ImportError("no numba"), OSError("no cache")])
def test_a_layer_is_never_lost_to_its_outlines(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(matte, "solve", fail)
    layer = painted()
    found = matted(layer, picture(disc()), "on")
    assert found.layer is layer
    assert type(error).__name__ in found.about


def test_a_highlight_within_the_thing_is_left_as_it_is() -> None:
    layer = painted((HEIGHT, WIDTH))
    hole = disc(6, 2, at=(62, 78))
    layer = EditLayer(layer.rgb, layer.alpha * (1 - 0.6 * hole))
    found = matted(layer, picture(disc()), "on").layer
    assert torch.equal(found.alpha[hole > 0], layer.alpha[hole > 0])


def test_the_band_is_solved_as_pymatting_solves_the_whole_picture() -> None:
    """The box around the band is enough: what lies beyond is known."""
    rgb = picture(disc())[0].permute(1, 2, 0).double().numpy()
    inner, outer = disc(26, 1)[0, 0].numpy() > 0.5, disc(46, 1)[0, 0].numpy() > 0.5
    band, alpha = outer & ~inner, inner.astype(np.float64)
    trimap = np.where(band, 0.5, alpha)
    options: dict[str, Any] = {"rtol": 1e-10, "maxiter": 5000}
    expected = estimate_alpha_cf(rgb, trimap, laplacian_kwargs={"epsilon": matte.EPSILON}, cg_kwargs=options)
    steep = ((expected - matte.DOUBT) / (1 - 2 * matte.DOUBT)).clip(0, 1)
    assert np.abs(solve(rgb, alpha, band) - steep**2 * (3 - 2 * steep)).max() < 1e-3


def test_the_number_of_threads_is_the_callers_afterwards() -> None:
    """pymatting's import sets it to that of all cores."""
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from t2l_cli.engine.layers import EditLayer\n"
        "from t2l_cli.engine.matte import matted\n"
        "alpha = torch.zeros(1, 1, 60, 60); alpha[..., 20:40, 20:40] = 1\n"
        "found = matted(EditLayer(torch.rand(1, 3, 60, 60), alpha), torch.rand(1, 3, 60, 60), 'on')\n"
        "assert found.about, found\n"
        "print(torch.get_num_threads())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
