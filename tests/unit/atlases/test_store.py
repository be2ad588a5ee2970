"""Atlas folders: what comes back, and what is said of folders that are broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from t2l_cli.atlases.store import RECORD, TENSORS, check_atlas_output, is_atlas_folder, load_atlas, save_atlas
from t2l_cli.engine.atlas.model import LAYERS, Atlas
from t2l_cli.errors import RequestError, T2LError
from tests.truth import make_truth


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return make_truth((64, 40), 3).atlas()


@pytest.fixture
def folder(atlas: Atlas, tmp_path: Path) -> Path:
    save_atlas(atlas, tmp_path / "atlas")
    return tmp_path / "atlas"


def test_what_was_saved_comes_back(atlas: Atlas, folder: Path) -> None:
    back = load_atlas(folder)
    assert back.clip == atlas.clip
    assert back.origin == atlas.origin
    assert torch.equal(back.alpha, atlas.alpha)
    for name in LAYERS:
        a, b = atlas.layer(name), back.layer(name)
        assert torch.equal(a.uv, b.uv)
        assert torch.equal(a.used, b.used)
        assert (a.texture - b.texture).abs().max() < 1e-5 + 0.5 / 65_535


def test_the_pictures_have_the_atlas_size_and_show_what_is_in_use(atlas: Atlas, folder: Path) -> None:
    for name in LAYERS:
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.mode == "RGBA"
            assert picture.size[::-1] == atlas.layer(name).size


def test_an_existing_folder_stays_without_overwrite(atlas: Atlas, folder: Path) -> None:
    with pytest.raises(RequestError, match="exists"):
        save_atlas(atlas, folder)
    save_atlas(atlas, folder, overwrite=True)
    assert is_atlas_folder(folder)
    assert [p.name for p in folder.parent.iterdir()] == ["atlas"]


def test_a_folder_of_something_else_is_never_replaced(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.txt").write_text("mine")
    with pytest.raises(RequestError, match="something else"):
        check_atlas_output(tmp_path / "photos", overwrite=True)


def _without_tensors(folder: Path) -> None:
    (folder / TENSORS).unlink()


def _truncated(folder: Path) -> None:
    data = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(data[: len(data) // 2])


def _no_json(folder: Path) -> None:
    (folder / RECORD).write_text("{")


def _newer(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | {"version": 99}))


def _of_something_else(folder: Path) -> None:
    (folder / RECORD).write_text('{"format": "other", "version": 1}')


def _other_clip(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    record["clip"]["frames"] += 1
    (folder / RECORD).write_text(json.dumps(record))


def _not_a_number(folder: Path) -> None:
    tensors = load_file(folder / TENSORS)
    tensors["foreground.uv"][0, 0, 0, 0] = torch.nan
    save_file(tensors, folder / TENSORS)


def _lost_part(folder: Path) -> None:
    tensors = load_file(folder / TENSORS)
    del tensors["background.uv"]
    save_file(tensors, folder / TENSORS)


@pytest.mark.parametrize(
    "harm", [_without_tensors, _truncated, _no_json, _newer, _of_something_else, _other_clip, _not_a_number, _lost_part]
)
def test_a_broken_folder_is_said_in_one_line(harm, folder: Path) -> None:
    harm(folder)
    with pytest.raises(T2LError) as caught:
        load_atlas(folder)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not an atlas"):
        load_atlas(tmp_path / "nowhere")
