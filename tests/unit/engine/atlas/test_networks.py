"""LNA's networks against their definition written out in numpy, and checkpoints that are not what they claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from t2l_cli.engine.atlas.networks import NeuralAtlas, normalised
from t2l_cli.errors import RequestError
from tests.lna import state_of
from tests.truth import Array

SHAPES = {  # video method, section 2
    "model_F_mapping1_state_dict": [(256, 3), *4 * [(256, 256)], (2, 256)],
    "model_F_mapping2_state_dict": [(256, 3), *2 * [(256, 256)], (2, 256)],
    "model_F_alpha_state_dict": [(256, 30), *6 * [(256, 256)], (1, 256)],
    "F_atlas_state_dict": [(256, 40), *3 * [(256, 256)], (256, 296), *2 * [(256, 256)], (3, 296)],
}
FREQUENCIES = {"model_F_alpha_state_dict": 5, "F_atlas_state_dict": 10}
SKIPS = {"F_atlas_state_dict": (4, 7)}


@pytest.fixture
def state() -> dict[str, Any]:
    """Random weights of the published shapes, large enough for every layer to matter."""
    random = torch.Generator().manual_seed(0)
    return {
        key: {
            f"hidden.{i}.{part}": torch.randn(shape if part == "weight" else shape[:1], generator=random)
            * (1.4 / shape[1] ** 0.5 if part == "weight" else 0.1)
            for i, shape in enumerate(shapes)
            for part in ("weight", "bias")
        }
        for key, shapes in SHAPES.items()
    }


def by_definition(key: str, state: dict[str, Any], x: Array) -> Array:
    """One location (D,) through one network, as the table of the method says it; float64."""
    encoded = list(x)
    if key in FREQUENCIES:
        encoded = []
        for j in range(FREQUENCIES[key]):
            encoded += [np.sin(2**j * np.pi * v) for v in x]
            encoded += [np.cos(2**j * np.pi * v) for v in x]
    h = np.array(encoded)
    for i in range(len(SHAPES[key])):
        if i > 0:
            h = np.maximum(h, 0)
        if i in SKIPS.get(key, ()):
            h = np.concatenate([h, encoded])
        weight, bias = (state[key][f"hidden.{i}.{part}"].double().numpy() for part in ("weight", "bias"))
        h = weight @ h + bias
    return np.tanh(h)


def test_the_networks_are_what_the_paper_defines(state: dict[str, Any]) -> None:
    networks = NeuralAtlas.from_state(state).double()
    xyt = torch.rand(7, 3, generator=torch.Generator().manual_seed(1)).double() * 2 - 1
    uv = xyt[:, :2]
    for i, (at, place) in enumerate(zip(xyt.numpy(), uv.numpy(), strict=True)):
        front = 0.5 * by_definition("model_F_mapping1_state_dict", state, at) + 0.5
        back = 0.5 * by_definition("model_F_mapping2_state_dict", state, at) - 0.5
        alpha = 0.99 * 0.5 * (by_definition("model_F_alpha_state_dict", state, at) + 1) + 0.001

        def colour(where: Array) -> Array:
            return 0.5 * (by_definition("F_atlas_state_dict", state, where) + 1)

        one = xyt[i : i + 1]
        expected: list[tuple[Tensor, Array]] = [
            (networks.foreground_uv(one), front),
            (networks.background_uv(one), back),
            (networks.opacity(one).reshape(1, 1), alpha),
            (networks.colour(uv[i : i + 1]), colour(place)),
            (networks.reconstruct(one), alpha * colour(front) + (1 - alpha) * colour(back)),
        ]
        for got, want in expected:
            np.testing.assert_allclose(got[0].numpy(), want, atol=1e-9)


def test_float32_is_near_float64(state: dict[str, Any]) -> None:
    """A thousandth of an atlas texel (1 / 2000) is 5e-7."""
    networks = NeuralAtlas.from_state(state)
    xyt = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    single = networks.foreground_uv(xyt)
    assert (single.double() - networks.double().foreground_uv(xyt.double())).abs().max() < 1e-5


def test_coordinates_of_pixels() -> None:
    """The longer side counts on both axes, frames by their number, no half pixel."""
    x, y, t = (torch.tensor(k) for k in ([0, 384, 767], [0, 216, 431], [0, 35, 69]))
    at = normalised(x, y, t, (768, 432), 70)
    expected = [[-1, -1, -1], [0, 216 / 384 - 1, 0], [767 / 384 - 1, 431 / 384 - 1, 69 / 35 - 1]]
    torch.testing.assert_close(at, torch.tensor(expected))
    tall = normalised(x, y, t, (432, 768), 70)
    torch.testing.assert_close(tall, torch.tensor(expected))


def test_gradients_reach_every_weight() -> None:
    networks = NeuralAtlas()
    at = torch.rand(32, 3, generator=torch.Generator().manual_seed(0))
    networks.reconstruct(at).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in networks.parameters())


def test_what_is_saved_is_what_is_read(state: dict[str, Any]) -> None:
    again = state_of(NeuralAtlas.from_state(state))
    for key, tensors in state.items():
        assert list(again[key]) == list(tensors)
        assert all(torch.equal(again[key][name], value) for name, value in tensors.items())


def test_optimizer_and_iteration_may_be_there(state: dict[str, Any]) -> None:
    networks = NeuralAtlas.from_state(state | {"optimizer_all_state_dict": {"state": {}}, "iteration": 400000})
    assert not any(p.requires_grad for p in networks.parameters())


def put(key: str, name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda state: state[key].update({name: value})


MAP1, MAP2, ALPHA, ATLAS = SHAPES
WRONG: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    (MAP2, lambda state: state.pop(MAP2)),
    (ATLAS, lambda state: state.update({ATLAS: [1, 2]})),
    (r"hidden\.3\.bias", lambda state: state[ALPHA].pop("hidden.3.bias")),
    (r"hidden\.0\.weight", put(ATLAS, "hidden.0.weight", 3)),
    (r"hidden\.4\.weight.*\(256, 256\)", put(ATLAS, "hidden.4.weight", torch.zeros(256, 256))),
    (MAP2, put(MAP2, "hidden.4.bias", torch.zeros(2))),
    (MAP1, lambda state: state[MAP1]["hidden.5.bias"].fill_(float("nan"))),
]


@pytest.mark.parametrize(("says", "change"), WRONG)
def test_the_first_thing_wrong_is_named(
    state: dict[str, Any], says: str, change: Callable[[dict[str, Any]], object]
) -> None:
    change(state)
    with pytest.raises(RequestError, match=says) as caught:
        NeuralAtlas.from_state(state)
    assert "\n" not in str(caught.value)
    assert "checkpoint" in str(caught.value)


def test_an_empty_checkpoint_is_none() -> None:
    with pytest.raises(RequestError, match="not a Layered Neural Atlases checkpoint"):
        NeuralAtlas.from_state({})
