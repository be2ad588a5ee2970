"""Layer over photo in 8 bits, against exact rational arithmetic and against Pillow as an editor."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from t2l_cli.errors import RequestError
from t2l_cli.media import compositing
from t2l_cli.media.compositing import Rows, composite, over, quantise_layer, rgba

byte = st.integers(0, 255)


@given(byte, byte, byte)
def test_composite_is_the_exact_mean_rounded(photo: int, layer: int, alpha: int) -> None:
    rgb, colour = np.full((1, 1, 3), photo, np.uint8), np.full((1, 1, 3), layer, np.uint8)
    exact = Fraction(alpha * layer + (255 - alpha) * photo, 255)
    got = int(composite(rgb, colour, np.full((1, 1), alpha, np.uint8))[0, 0, 0])
    assert abs(got - exact) <= Fraction(1, 2)


def test_every_level_is_kept_where_alpha_is_0_and_replaced_where_it_is_255() -> None:
    photo, layer = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    photo, layer = np.dstack([photo] * 3), np.dstack([layer] * 3)
    assert np.array_equal(composite(photo, layer, np.zeros((256, 256), np.uint8)), photo)
    assert np.array_equal(composite(photo, layer, np.full((256, 256), 255, np.uint8)), layer)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.uint8, (9, 7, 7)))
def test_an_editor_shows_the_composite(planes: np.ndarray) -> None:
    photo, layer, alpha = planes[..., :3], planes[..., 3:6], planes[..., 6]
    below = Image.fromarray(np.dstack([photo, np.full(alpha.shape, 255, np.uint8)]))
    editor = np.array(Image.alpha_composite(below, Image.fromarray(np.dstack([layer, alpha]))))[..., :3]
    assert np.abs(editor.astype(int) - composite(photo, layer, alpha)).max() <= 1


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rgb, alpha = rng.random((37, 11, 3)), rng.random((37, 11)) * (rng.random((37, 11)) > 0.3)
    photo = rng.integers(0, 256, (37, 11, 3), dtype=np.uint8)
    whole = quantise_layer(rgb, alpha)
    out = composite(photo, *whole)
    monkeypatch.setattr(compositing, "STRIP_PIXELS", 50)
    assert all(np.array_equal(a, b) for a, b in zip(whole, quantise_layer(rgb, alpha), strict=True))
    assert np.array_equal(out, composite(photo, *whole))


def test_rows_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    photo, layer = rng.integers(0, 256, (37, 11, 3), dtype=np.uint8), rng.integers(0, 256, (37, 11, 4), dtype=np.uint8)
    made: list[slice] = []

    def make(rows: slice) -> np.ndarray:
        made.append(rows)
        return layer[rows]

    rows = over(Rows(layer.shape, make), photo)
    assert not made  # before they are asked for
    whole = composite(photo, layer[..., :3], layer[..., 3])
    assert np.array_equal(rows.whole(), whole)
    for part in (slice(3, 9), slice(30, 50), slice(None), slice(-4, None)):
        assert np.array_equal(rows[part], whole[part])
    assert all(0 <= part.start <= part.stop <= 37 for part in made)
    assert np.array_equal(rgba(photo, layer[..., 3]).whole(), np.dstack([photo, layer[..., 3]]))


def test_a_composite_may_take_the_photos_place() -> None:
    rng = np.random.default_rng(0)
    photo, layer = rng.integers(0, 256, (2, 37, 11, 3), dtype=np.uint8)
    alpha = rng.integers(0, 256, (37, 11), dtype=np.uint8)
    expected = composite(photo, layer, alpha)
    assert composite(photo, layer, alpha, out=photo) is photo
    assert np.array_equal(photo, expected)


def test_quantised_layer_is_within_half_a_level_and_empty_where_unseen() -> None:
    rng = np.random.default_rng(1)
    rgb, alpha = rng.random((20, 20, 3), dtype=np.float32), rng.random((20, 20), dtype=np.float32)
    alpha[:5] = 0.001
    colour, cover = quantise_layer(rgb, alpha)
    assert np.abs(cover / 255 - alpha).max() <= 0.5 / 255 + 1e-6
    seen = cover > 0
    assert np.abs(colour[seen] / 255 - rgb[seen]).max() <= 0.5 / 255 + 1e-6
    assert not cover[:5].any()
    assert not colour[:5].any()


def test_another_size_is_a_request_error() -> None:
    with pytest.raises(RequestError, match="4 x 5 pixels and the picture 6 x 5"):
        composite(np.zeros((5, 6, 3), np.uint8), np.zeros((5, 4, 3), np.uint8), np.zeros((5, 4), np.uint8))
