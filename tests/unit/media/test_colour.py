"""Colours brought to RGB strip by strip: the strips do not show."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from t2l_cli.media import compositing
from t2l_cli.media.colour import to_rgb

RNG = np.random.default_rng(0)
RGBA = RNG.integers(0, 256, (41, 30, 4), dtype=np.uint8)
COLOUR = Image.fromarray(RGBA[..., :3])
DEEP = RNG.integers(0, 65_536, (41, 30), dtype=np.uint16)
FLOATS = RNG.normal(0, 50, (41, 30)).astype(np.float32)
FLOATS[3, 4], FLOATS[40, 2], FLOATS[20, 20] = np.nan, np.inf, -np.inf


def palette(transparent: bool) -> Image.Image:
    image = COLOUR.quantize(64)
    if transparent:
        image.info["transparency"] = 5
    return image


def lab() -> Image.Image:
    image = ImageCms.profileToProfile(
        COLOUR, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert image is not None
    return image


IMAGES = {
    "RGB": COLOUR,
    "RGBA": Image.fromarray(RGBA),
    "RGBa": Image.fromarray(RGBA).convert("RGBa"),
    "LA": Image.fromarray(RGBA).convert("LA"),
    "L": COLOUR.convert("L"),
    "1": COLOUR.convert("1"),
    "P": palette(transparent=False),
    "P, transparent": palette(transparent=True),
    "CMYK": COLOUR.convert("CMYK"),
    "YCbCr": COLOUR.convert("YCbCr"),
    "LAB": lab(),
    "I;16": Image.fromarray(DEEP),
    "I": Image.fromarray(DEEP.astype(np.int32) * 1000 - 9),
    "F": Image.fromarray(FLOATS),
    "F, in [0, 1]": Image.fromarray(RGBA[..., 0].astype(np.float32) / 255),
}


@pytest.mark.parametrize("name", IMAGES)
def test_strips_do_not_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, alpha, *words = to_rgb(IMAGES[name], 8)
    monkeypatch.setattr(compositing, "STRIP_PIXELS", 7 * 30)
    again, alpha_again, *words_again = to_rgb(IMAGES[name], 8)
    assert rgb.std() > 10
    assert np.array_equal(again, rgb)
    assert (alpha is not None) == (name in ("RGBA", "RGBa", "LA", "P, transparent"))
    assert np.array_equal(alpha_again, alpha) if alpha is not None else alpha_again is None
    assert words_again == words


def test_the_range_is_that_of_the_finite_values() -> None:
    rgb, _, _, (note,) = to_rgb(IMAGES["F"], 8)
    finite = FLOATS[np.isfinite(FLOATS)]
    assert note == f"greyscale from {finite.min():g} to {finite.max():g} converted to 8-bit RGB"
    assert (rgb[3, 4, 0], rgb[40, 2, 0], rgb[20, 20, 0]) == (0, 255, 0)
    assert (rgb[finite.max() == FLOATS] == 255).all()
    assert (rgb[finite.min() == FLOATS] == 0).all()
