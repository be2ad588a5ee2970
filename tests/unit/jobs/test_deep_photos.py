"""A photo of 16 bits through edit-image and composite: untouched where the layer is transparent, to the last level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import t2l_cli as t2l
from t2l_cli.media.compositing import composite, deepened
from t2l_cli.media.images import Picture, load_picture
from t2l_cli.media.output import save_picture

QUICK: dict[str, Any] = {"clip": "mini", "offline": True, "steps": 2, "views": 1, "size": 129, "roi": "cup"}
Y, X = np.mgrid[:48, :64]
GRADIENT = np.stack([X * 1023 + Y, Y * 1361 + X, (X + Y) * 577 + 3], -1).astype(np.uint16)


def deep(path: Path) -> np.ndarray:
    picture = load_picture(path, deep=True)
    assert picture.deep is not None
    return picture.deep


@pytest.mark.parametrize("blend", ["normal", "shade"])
def test_an_edit_leaves_all_levels_outside_its_mask(tmp_path: Path, blend: str) -> None:
    save_picture(tmp_path / "photo.png", GRADIENT)
    mask = np.zeros(GRADIENT.shape[:2], np.uint8)
    mask[10:30, 20:50] = 255
    out, run = tmp_path / "out.tif", tmp_path / "run"
    edit = t2l.edit_image(tmp_path / "photo.png", "red cup", mask=mask, output=out, run_dir=run, blend=blend, **QUICK)
    edit.write()
    layer, result = deep(run / "layer.png"), deep(out)
    assert np.array_equal(result[mask == 0], GRADIENT[mask == 0])
    assert set(layer[mask == 0][:, 3]) == {0}
    assert np.array_equal(result, composite(GRADIENT, layer[..., :3], layer[..., 3]))
    assert len(np.unique(layer[mask > 0][:, 3] % 257)) > 1  # it has more than the levels of 8 bits
    assert np.array_equal(deep(run / "composite.tif"), result)
    assert np.abs(np.asarray(edit.image) - result / 257).max() <= 0.5
    t2l.composite(tmp_path / "photo.png", run / "layer.png", output=tmp_path / "again.png").write()
    assert np.array_equal(deep(tmp_path / "again.png"), result)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_transparent_layer_gives_the_gradient_back(tmp_path: Path, suffix: str) -> None:
    alpha = (X * 1023).astype(np.uint16)
    save_picture(tmp_path / f"photo{suffix}", GRADIENT, alpha)
    layer = np.zeros((48, 64, 4), np.uint8)
    Image.fromarray(layer).save(tmp_path / "layer.png")
    t2l.composite(tmp_path / f"photo{suffix}", tmp_path / "layer.png", output=tmp_path / "out.png").write()
    assert np.array_equal(deep(tmp_path / "out.png"), np.dstack([GRADIENT, alpha]))
    layer[8:20] = (200, 10, 90, 128)
    Image.fromarray(layer).save(tmp_path / "layer.png")
    t2l.composite(tmp_path / f"photo{suffix}", tmp_path / "layer.png", output=tmp_path / "half.tif").write()
    whole = deepened(layer).whole()
    expected = composite(GRADIENT, whole[..., :3], whole[..., 3])
    assert np.array_equal(deep(tmp_path / "half.tif"), np.dstack([expected, alpha]))


def test_a_layer_is_matted_in_sixteen_bits(tmp_path: Path) -> None:
    rgb = np.full((60, 80, 3), 50_003, np.uint16)
    rgb[20:40, 25:55] = (7_001, 16_003, 40_009)
    save_picture(tmp_path / "photo.png", rgb)
    layer = np.zeros((60, 80, 4), np.uint8)
    layer[22:38, 27:53] = (220, 20, 20, 255)
    Image.fromarray(layer).save(tmp_path / "layer.png")
    t2l.composite(tmp_path / "photo.png", tmp_path / "layer.png", matte="on", output=tmp_path / "out.png").write()
    result = deep(tmp_path / "out.png")
    assert np.array_equal(result[:12], rgb[:12])
    assert (np.abs(result[20:40, 25:55].astype(int) - np.array([220, 20, 20]) * 257).max(-1) < 10_000).mean() > 0.97


def test_a_photo_of_eight_bits_takes_a_layer_of_sixteen(tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", (GRADIENT // 257).astype(np.uint8))
    save_picture(tmp_path / "layer.png", GRADIENT, np.full(GRADIENT.shape[:2], 65_535, np.uint16))
    result: Picture = t2l.composite(tmp_path / "photo.png", tmp_path / "layer.png").picture  # type: ignore[attr-defined]
    assert result.deep is None
    image = np.asarray(t2l.composite(tmp_path / "photo.png", tmp_path / "layer.png").image)
    assert np.abs(image - GRADIENT / 257).max() <= 1
