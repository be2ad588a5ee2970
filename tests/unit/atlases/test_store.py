"""Atlas folders: what is written comes back, nothing else is overwritten, and whatever is broken is one clear line."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from t2l_cli.atlases import store
from t2l_cli.atlases.store import as_stored, check_atlas_output, is_atlas_folder, load_atlas, save_atlas
from t2l_cli.config import LAYERS
from t2l_cli.engine.atlas.model import Atlas
from t2l_cli.errors import OutputError, RequestError
from tests.truth import make_truth


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    made = make_truth((40, 24), 3).atlas()
    video = dataclasses.replace(made.video, first_frame="ab12", start=5)
    return dataclasses.replace(made, video=video, origin={"maker": "truth", "psnr": 33.25, "boxes": [1, 2]})


@pytest.fixture
def folder(atlas: Atlas, tmp_path: Path) -> Path:
    save_atlas(atlas, tmp_path / "atlas")
    return tmp_path / "atlas"


def test_an_atlas_comes_back(atlas: Atlas, folder: Path) -> None:
    again = load_atlas(folder)
    assert again.video == atlas.video
    assert again.origin == atlas.origin
    assert torch.equal(again.alpha, atlas.alpha)
    for name in LAYERS:
        ours, theirs = atlas.layer(name), again.layer(name)
        assert theirs.uv.dtype == torch.float32
        assert torch.equal(theirs.uv, ours.uv)
        assert torch.equal(theirs.used, ours.used)
        assert theirs.texture.dtype == torch.float32
        assert (theirs.texture - ours.texture).abs().max() < 1e-5


def test_an_atlas_as_stored_is_what_comes_back_to_the_bit(atlas: Atlas, folder: Path) -> None:
    """So that an edit gives the same bytes whether its atlas was fitted just now or was in the cache."""
    stored, again = as_stored(atlas), load_atlas(folder)
    assert torch.equal(stored.alpha, again.alpha)
    assert (stored.video, stored.origin) == (again.video, again.origin)
    for name in LAYERS:
        for part in ("texture", "uv", "used"):
            ours, theirs = getattr(stored.layer(name), part), getattr(again.layer(name), part)
            assert ours.dtype == theirs.dtype
            assert ours.stride() == theirs.stride()  # another layout takes other kernels, which round otherwise
            assert torch.equal(ours, theirs)
        assert not torch.equal(stored.layer(name).texture, atlas.layer(name).texture)


def test_a_second_save_of_what_was_read_is_the_same_file(folder: Path, tmp_path: Path) -> None:
    save_atlas(load_atlas(folder), tmp_path / "again")
    for name in ("atlas.safetensors", "atlas.json", "foreground.png"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_the_pictures_are_what_a_person_paints_over(atlas: Atlas, folder: Path) -> None:
    for name in LAYERS:
        layer = atlas.layer(name)
        with Image.open(folder / f"{name}.png") as image:
            assert image.mode == "RGBA"
            picture = np.asarray(image)
        assert np.array_equal(picture[..., 3] == 255, layer.used.numpy())
        assert set(np.unique(picture[..., 3])) <= {0, 255}
        texture = layer.texture.permute(1, 2, 0).numpy() * 255
        seen = layer.used.numpy()
        assert np.abs(picture[..., :3][seen] - texture[seen]).max() <= 0.51


def test_the_record_says_what_it_is(atlas: Atlas, folder: Path) -> None:
    record = json.loads((folder / "atlas.json").read_text())
    assert (record["format"], record["version"]) == ("t2l-atlas", 2)
    assert record["video"]["frames"] == 3
    assert "texel" in record["coordinates"]
    assert record["sizes"]["background"] == {"width": atlas.background.size[1], "height": atlas.background.size[0]}


def test_an_atlas_of_release_0_1_is_read(atlas: Atlas, folder: Path) -> None:
    record = json.loads((folder / "atlas.json").read_text())
    record["clip"] = record.pop("video")
    (folder / "atlas.json").write_text(json.dumps(record | {"version": 1}))
    assert load_atlas(folder).video == atlas.video


def test_whoever_may_read_the_pictures_may_read_the_rest(folder: Path) -> None:
    assert len({(folder / name).stat().st_mode for name in ("foreground.png", "atlas.safetensors", "atlas.json")}) == 1


def test_what_an_atlas_folder_is(folder: Path, tmp_path: Path) -> None:
    assert is_atlas_folder(folder)
    assert is_atlas_folder(str(folder))
    assert not is_atlas_folder(tmp_path)
    assert not is_atlas_folder(folder / "foreground.png")
    assert not is_atlas_folder(tmp_path / "nothing")


# --- what is there already


def test_an_existing_folder_is_kept_without_overwrite(atlas: Atlas, folder: Path) -> None:
    before = (folder / "atlas.json").read_bytes()
    with pytest.raises(RequestError, match="--overwrite"):
        save_atlas(atlas, folder)
    assert (folder / "atlas.json").read_bytes() == before


def test_an_atlas_is_replaced_with_overwrite(folder: Path, tmp_path: Path) -> None:
    other = make_truth((40, 24), 2, seed=1).atlas()
    save_atlas(other, folder, overwrite=True)
    assert load_atlas(folder).video.frames == 2
    assert os.listdir(tmp_path) == ["atlas"]


def test_a_folder_of_something_else_is_never_replaced(atlas: Atlas, tmp_path: Path) -> None:
    """Also where it has an atlas.json of another program."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"dear")
    for _ in range(2):
        with pytest.raises(RequestError, match="something else"):
            save_atlas(atlas, photos, overwrite=True)
        assert (photos / "holiday.jpg").read_bytes() == b"dear"
        (photos / "atlas.json").write_text('{"frames": {"sprite": 1}}')


def test_paint_beside_an_atlas_is_never_deleted(atlas: Atlas, folder: Path) -> None:
    (folder / "my paint.png").write_bytes(b"hours of work")
    with pytest.raises(RequestError, match=r"my paint\.png"):
        check_atlas_output(folder, overwrite=True)
    with pytest.raises(RequestError, match="--output"):
        save_atlas(atlas, folder, overwrite=True)
    assert (folder / "my paint.png").exists()


@pytest.mark.parametrize("name", [".env", ".git/config", ".git/", ".foreground.png", "run.json/", "link", "pipe"])
def test_nothing_hidden_or_odd_beside_an_atlas_is_deleted(atlas: Atlas, folder: Path, name: str) -> None:
    """Neither files nor folders, nor where they have a name of ours."""
    place = folder / name
    if name == "pipe":
        os.mkfifo(place)
    elif name == "link":
        (folder / "alpha.png").symlink_to(folder.parent)
    elif name.endswith("/"):
        place.mkdir()
    else:
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"secret")
    before = sorted(folder.rglob("*"))
    with pytest.raises(RequestError, match="beside the atlas, which would be deleted"):
        save_atlas(atlas, folder, overwrite=True)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", LAYERS)
def test_an_atlas_that_was_painted_over_is_kept(atlas: Atlas, folder: Path, name: str) -> None:
    picture = folder / f"{name}.png"
    with Image.open(picture) as image:
        painted = image.copy()
    painted.putpixel((3, 3), (255, 0, 255, 255))
    painted.save(picture)
    before = picture.read_bytes()
    with pytest.raises(RequestError, match=rf"{name}\.png is no longer as it was written: .* painted"):
        save_atlas(atlas, folder, overwrite=True)
    assert picture.read_bytes() == before
    picture.unlink()
    save_atlas(atlas, folder, overwrite=True)
    assert picture.exists()


def test_pictures_that_nobody_vouches_for_are_kept(folder: Path) -> None:
    for pictures in (None, [], {"foreground.png": 7}):
        record(folder, pictures=pictures)
        with pytest.raises(RequestError, match=r"no longer as it was written|something else than an atlas"):
            check_atlas_output(folder, overwrite=True)


def test_an_input_is_no_output(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    for given in (folder, tmp_path / "link", folder / "foreground.png", tmp_path / "link" / "atlas.json"):
        for output in (folder, tmp_path / "link"):
            with pytest.raises(RequestError, match="the input"):
                check_atlas_output(output, True, None, given)
    check_atlas_output(folder, True, tmp_path, tmp_path / "none", "-")


def test_the_programs_own_previews_may_go(atlas: Atlas, folder: Path) -> None:
    for name in ("alpha.png", "checkerboard.mp4", "run.json", ".DS_Store"):
        (folder / name).write_bytes(b"")
    save_atlas(atlas, folder, overwrite=True)
    assert not (folder / "alpha.png").exists()


def test_an_empty_folder_may_be_filled_with_overwrite(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    save_atlas(atlas, tmp_path / "new", overwrite=True)
    assert is_atlas_folder(tmp_path / "new")


def test_a_link_to_an_atlas_stays_a_link(atlas: Atlas, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    save_atlas(atlas, tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["atlas", "link"]


def test_places_that_cannot_be_written(atlas: Atlas, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="does not exist"):
        save_atlas(atlas, tmp_path / "no" / "where")
    with pytest.raises(RequestError, match="is a file"):
        save_atlas(atlas, folder / "atlas.json", overwrite=True)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_everything_as_it_was(
    atlas: Atlas, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*args: object) -> None:
        raise error

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(store, "save_file", fail)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
            save_atlas(atlas, target, overwrite=True)
    assert os.listdir(tmp_path) == ["atlas"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_rename_that_fails_puts_the_old_atlas_back(
    atlas: Atlas, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, calls = os.rename, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OutputError, match="Input/output error"):
        save_atlas(atlas, folder, overwrite=True)
    assert load_atlas(folder).video == atlas.video
    assert os.listdir(tmp_path) == ["atlas"]


# --- what is broken


def record(folder: Path, **changes: object) -> None:
    path = folder / "atlas.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "atlas.safetensors"
    held = {name: value.clone() for name, value in load_file(path).items()}
    change(held)
    save_file(held, path)


def spoil(name: str, value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda held: held[name].view(-1)[3].fill_(value)


VIDEO = {"frames": 3, "width": 40, "height": 24}
BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no record": (r"no atlas\.json", lambda f: (f / "atlas.json").unlink()),
    "no tensors": (r"no atlas\.safetensors", lambda f: (f / "atlas.safetensors").unlink()),
    "record cut off": ("cannot be read", lambda f: (f / "atlas.json").write_text('{"format": "t2l-')),
    "record in bytes": ("cannot be read", lambda f: (f / "atlas.json").write_bytes(b"\xff\xfe\x00")),
    "record a list": ("not the record", lambda f: (f / "atlas.json").write_text("[1]")),
    "another format": ("not the record", lambda f: record(f, format="sprites")),
    "a newer version": ("newer t2l", lambda f: record(f, version=3)),
    "no version": ("not the record", lambda f: record(f, version=None)),
    "no video": ("broken", lambda f: record(f, video=None)),
    "half a video": ("broken", lambda f: record(f, video={"frames": 3})),
    "more of a video": ("broken", lambda f: record(f, video={"frames": 3, "width": 40, "height": 24, "depth": 2})),
    "another video": ("broken", lambda f: record(f, video={"frames": 3, "width": 24, "height": 40})),
    "words for numbers": ("broken", lambda f: record(f, video={"frames": "3", "width": 40, "height": 24})),
    "frames in parts": (r"video\.frames", lambda f: record(f, video=VIDEO | {"frames": 3.5})),
    "infinitely wide": (r"video\.width", lambda f: record(f, video=VIDEO | {"width": float("inf")})),
    "no number of frames a second": ("the rate", lambda f: record(f, video=VIDEO | {"rate": float("nan")})),
    "a start in words": (r"video\.start", lambda f: record(f, video=VIDEO | {"start": "first"})),
    "an origin of another kind": ("origin", lambda f: record(f, origin=[1])),
    "record nested deeply": ("cannot be read", lambda f: (f / "atlas.json").write_text("[" * 100_000)),
    "a texture of no texels": ("texture", lambda f: tensors(f, lambda held: held.update(
        {"foreground.texture": torch.zeros(3, 0, 9, dtype=torch.uint16), "foreground.used": torch.zeros(0, 9) > 0}))),
    "no frames": ("broken", lambda f: (
        record(f, video={"frames": 0, "width": 40, "height": 24}),
        tensors(f, lambda held: held.update({n: held[n][:0].clone() for n in held if n == "alpha" or "uv" in n})))),
    "tensors cut off": ("cannot be read", lambda f: os.truncate(f / "atlas.safetensors", 500)),
    "tensors empty": ("cannot be read", lambda f: os.truncate(f / "atlas.safetensors", 0)),
    "no alpha": ("alpha", lambda f: tensors(f, lambda held: held.pop("alpha"))),
    "no texture": (r"background\.texture", lambda f: tensors(f, lambda held: held.pop("background.texture"))),
    "fewer frames": ("broken", lambda f: tensors(f, lambda held: held.update(alpha=held["alpha"][:2].clone()))),
    "uv NaN": ("NaN", lambda f: tensors(f, spoil("foreground.uv", float("nan")))),
    "uv infinite": ("NaN or infinity", lambda f: tensors(f, spoil("background.uv", float("inf")))),
    "alpha NaN": ("opacity", lambda f: tensors(f, spoil("alpha", float("nan")))),
    "alpha out of range": ("opacity", lambda f: tensors(f, spoil("alpha", 1.5))),
    "textures of another kind": ("broken", lambda f: tensors(f, lambda held: held.update(
        {"foreground.texture": held["foreground.texture"].float()}))),
    "a grey texture": ("broken", lambda f: tensors(f, lambda held: held.update(
        {"foreground.texture": held["foreground.texture"][:1].clone()}))),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_clear_line(folder: Path, case: str) -> None:
    says, change = BROKEN[case]
    change(folder)
    with pytest.raises(RequestError, match=says) as caught:
        load_atlas(folder)
    assert "\n" not in str(caught.value)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not an atlas"):
        load_atlas(tmp_path / "nowhere")
