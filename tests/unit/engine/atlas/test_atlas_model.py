"""The Atlas: its parts have to belong together, and to the video."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from t2l_cli.engine.atlas.model import Atlas, AtlasLayer, spread_over, used_texels
from t2l_cli.errors import RequestError
from tests.truth import make_truth


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return make_truth((40, 24), 3).atlas()


def test_parts_of_other_shapes_are_refused(atlas: Atlas) -> None:
    layer = atlas.foreground
    broken = [
        {"alpha": atlas.alpha[:2]},
        {"alpha": atlas.alpha[..., None]},
        {"foreground": dataclasses.replace(layer, uv=layer.uv[:, :-1])},
        {"background": dataclasses.replace(layer, uv=layer.uv[..., :1])},
        {"foreground": dataclasses.replace(layer, texture=layer.texture[:1])},
        {"foreground": dataclasses.replace(layer, texture=layer.texture[0])},
        {"background": dataclasses.replace(layer, used=layer.used[1:])},
        {"video": dataclasses.replace(atlas.video, width=41)},
    ]
    for changes in broken:
        with pytest.raises(RequestError, match="the atlas is broken") as caught:
            dataclasses.replace(atlas, **changes)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_layers_by_name_and_their_shares(atlas: Atlas) -> None:
    assert atlas.layer("foreground") is atlas.foreground
    assert atlas.layer("background") is atlas.background
    assert atlas.foreground.size == tuple(atlas.foreground.texture.shape[1:])
    assert torch.equal(atlas.share("foreground", 1), atlas.alpha[1])
    assert torch.equal(atlas.share("background"), 1 - atlas.alpha)
    assert atlas.share("background", torch.tensor([2, 0])).shape == (2, 24, 40)


def test_the_video_has_to_match(atlas: Atlas) -> None:
    atlas.check_video(3, 40, 24)
    with pytest.raises(RequestError, match=r"40 x 24 px, this one is 24 x 40"):
        atlas.check_video(3, 24, 40)
    with pytest.raises(RequestError, match=r"3 frames, the video 2\.$"):
        atlas.check_video(2, 40, 24)
    with pytest.raises(RequestError, match=r"--frames a:b with 3 frames"):
        atlas.check_video(70, 40, 24)


def test_used_texels_are_the_four_around_each_owned_coordinate() -> None:
    random = torch.Generator().manual_seed(0)
    uv = torch.rand(2, 5, 6, 2, generator=random) * 16 - 3
    share = torch.rand(2, 5, 6, generator=random)
    expected = torch.zeros(9, 11, dtype=torch.bool)
    for t, y, x in itertools.product(range(2), range(5), range(6)):
        if share[t, y, x] > 0.4:
            u, v = (int(c) for c in uv[t, y, x].floor())
            for dx, dy in itertools.product((0, 1), (0, 1)):
                expected[min(max(v + dy, 0), 8), min(max(u + dx, 0), 10)] = True
    assert torch.equal(used_texels(uv, share, (9, 11), least=0.4), expected)
    assert not used_texels(uv, torch.zeros_like(share), (9, 11)).any()


def test_used_texels_of_the_truth_are_its_blob(atlas: Atlas) -> None:
    layer: AtlasLayer = atlas.foreground
    assert 0.3 < layer.used.float().mean() < 0.8
    assert layer.used[layer.size[0] // 2, layer.size[1] // 2]


def test_items_are_chosen_from_first_to_last() -> None:
    assert spread_over([1, 2, 3, 4, 5], 3) == [1, 3, 5]
    assert spread_over([7], 3) == [7]
    assert spread_over([1, 2], 1) == [2]
