"""The Python functions: what they take, that they say nothing and leave everything as it was."""

from __future__ import annotations

import inspect
import random
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

import t2l_cli as t2l
from t2l_cli.atlases.store import save_atlas
from t2l_cli.config import BlendMode
from t2l_cli.engine.layers import EditLayer
from t2l_cli.jobs import judge
from t2l_cli.jobs.judge import load_judge
from t2l_cli.media.output import save_picture
from t2l_cli.settings import FIT, FIT_SETTINGS, PHOTO, VIDEO, Table
from tests.tiny_videos import make_video
from tests.truth import make_truth

QUICK: dict[str, Any] = {"clip": "mini", "offline": True, "steps": 2, "views": 1, "size": 129}
SIZE, FRAMES = (40, 24), 3


def draw(size: tuple[int, int] = (48, 32)) -> np.ndarray[Any, Any]:
    """Some colours, (H, W, 3) uint8."""
    y, x = np.mgrid[: size[1], : size[0]]
    return np.stack([(5 * x) % 256, (7 * y) % 256, (3 * x + 2 * y) % 256], -1).astype(np.uint8)


def saved(rgb: Any, folder: Path) -> Path:
    Image.fromarray(rgb).save(folder / "photo.png")
    return folder / "photo.png"


def planes(rgb: Any) -> torch.Tensor:
    return torch.from_numpy(rgb).permute(2, 0, 1) / 255


FORMS: dict[str, Callable[[Any, Path], Any]] = {
    "a path": saved,
    "a path as text": lambda rgb, folder: str(saved(rgb, folder)),
    "a picture of Pillow": lambda rgb, folder: Image.fromarray(rgb),
    "a file of Pillow": lambda rgb, folder: Image.open(saved(rgb, folder)),
    "an array": lambda rgb, folder: rgb,
    "a part of an array": lambda rgb, folder: np.concatenate([rgb, rgb], 1)[:, : rgb.shape[1]],
    "an opaque array": lambda rgb, folder: np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]),
    "a tensor": lambda rgb, folder: planes(rgb),
    "a batch of one": lambda rgb, folder: planes(rgb)[None].double(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_in_any_form_is_the_same_picture(form: str, tmp_path: Path) -> None:
    job = t2l.edit_image(FORMS[form](draw(), tmp_path), "red cup")
    assert np.array_equal(job.picture.rgb, draw())
    assert (job.request.source is None) == (not form.startswith("a path"))


@pytest.mark.parametrize(
    "source",
    [
        3,
        [[1]],
        "no-such-file",
        np.zeros((32, 48, 3)),
        np.zeros((32, 48, 2), np.uint8),
        np.zeros((4, 4, 3), np.uint8),
        torch.zeros(3, 32, 48, dtype=torch.uint8),
        torch.zeros(2, 32, 48),
        torch.zeros(2, 3, 32, 48),
    ],
    ids=lambda source: f"{type(source).__name__}-{getattr(source, 'dtype', '')}-{getattr(source, 'shape', '')}",
)
def test_what_is_no_picture_is_refused(source: Any) -> None:
    with pytest.raises(t2l.RequestError):
        _ = t2l.edit_image(source, "red cup").picture


def test_a_text_is_one_prompt_and_a_list_is_several() -> None:
    assert t2l.edit_image("photo.jpg", "red cup").request.config.prompts == ("red cup",)
    assert t2l.edit_image("photo.jpg", ["red cup", "a red mug"]).request.config.prompts == ("red cup", "a red mug")
    assert t2l.edit_video("video.mp4", "red cup").request.configs["foreground"].prompts == ("red cup",)


TABLES: dict[str, tuple[Any, Table[Any]]] = {
    "edit_image": (t2l.edit_image, PHOTO),
    "edit_video": (t2l.edit_video, VIDEO),
    "fit_atlas": (t2l.fit_atlas, FIT),
    "batch": (t2l.batch, PHOTO),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_setting_is_a_keyword(name: str) -> None:
    function, table = TABLES[name]
    keywords = inspect.signature(function).parameters
    assert {setting.name for setting in table.settings} <= keywords.keys()
    assert "settings" not in keywords
    assert (set(FIT_SETTINGS) <= keywords.keys()) == (name not in ("edit_image", "batch"))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(("wrong", "close"), [("sede", "seed"), ("preest", "preset"), ("over_write", "overwrite")])
def test_a_keyword_that_does_not_exist_names_close_ones(name: str, wrong: str, close: str) -> None:
    with pytest.raises(TypeError, match=f"no setting '{wrong}'; did you mean .*{close}"):
        TABLES[name][0]("source", **{wrong: 1})


@pytest.fixture
def unchanged() -> Any:
    """Whatever the whole process shares is afterwards as it was."""

    def state() -> list[Any]:
        signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        randomness = [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # type: ignore[index]
        return [torch.get_num_threads(), list(warnings.filters), signals, randomness, torch.get_default_dtype()]

    import open_clip  # noqa: F401  # what libraries do when they are imported is theirs

    before = state()
    yield
    assert state() == before


def test_an_edit_says_nothing_and_leaves_everything_as_it_was(
    unchanged: None, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((32, 48), np.uint8)
    mask[8:24, 10:30] = 255
    edit = t2l.edit_image(draw(), "red cup", mask=mask, roi="cup", **QUICK)
    assert [(step.i, step.n) for step in edit] == [(0, 2), (1, 2)]
    assert np.array_equal(np.asarray(edit.image)[mask == 0], draw()[mask == 0])
    assert set(np.asarray(edit.alpha)[mask == 0]) == {0}
    assert edit.record["texts"]["roi"] == "cup"
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_video_is_taken_apart_edited_and_put_together(
    unchanged: None, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    truth = make_truth(SIZE, FRAMES)
    video = make_video(tmp_path / "video.mp4", range(FRAMES), size=SIZE)
    save_atlas(truth.atlas(), tmp_path / "atlas")
    atlas = t2l.render_atlas(tmp_path / "atlas", video=video)
    assert atlas.foreground.mode == "RGBA"
    assert atlas.record["psnr"] > 0
    edit = t2l.edit_video(video, "red ball", atlas=tmp_path / "atlas", roi="ball", **QUICK | {"size": 129}).run()
    assert (edit.image.size, edit.layer.size) == (SIZE, atlas.foreground.size)
    edit.save(tmp_path / "out.mp4")
    atlas.foreground.save(tmp_path / "painted.png")
    painted = t2l.composite(video, atlas=tmp_path / "atlas", foreground=tmp_path / "painted.png")
    assert painted.image.size == SIZE
    painted.save(tmp_path / "painted.mp4")
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in tmp_path.iterdir()} == {"atlas", "out.mp4", "painted.mp4", "painted.png", "video.mp4"}


def test_a_layer_over_a_photo(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    layer = np.dstack([np.full_like(draw(), 200), np.full(draw().shape[:2], 255, np.uint8)])
    layer[:, 20:, 3] = 0
    Image.fromarray(layer).save(tmp_path / "layer.png")
    job = t2l.composite(saved(draw(), tmp_path), tmp_path / "layer.png")
    expected = np.where(layer[..., 3:] == 255, layer[..., :3], draw())
    assert np.array_equal(np.asarray(job.image), expected)
    job.save(tmp_path / "out.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)
    assert (job._repr_png_() or b"").startswith(b"\x89PNG")
    assert capfd.readouterr() == ("", "")


def test_what_is_to_be_written_needs_a_place(tmp_path: Path) -> None:
    for job in (
        t2l.fit_atlas("video.mp4"),
        t2l.render_atlas("atlas"),
        t2l.composite("photo.png", "layer.png"),
        t2l.composite("video.mp4", atlas="atlas", paint="paint.png"),
    ):
        with pytest.raises(t2l.RequestError, match="no output to write to"):
            job.write()


def test_a_painted_layer_is_matted_over_its_photo(tmp_path: Path) -> None:
    """A square painted too small grows to the square of the photo."""
    rgb = np.full((60, 80, 3), 200, np.uint8)
    rgb[20:40, 25:55] = (30, 60, 160)
    layer = np.zeros((60, 80, 4), np.uint8)
    layer[22:38, 27:53] = (220, 20, 20, 255)
    Image.fromarray(layer).save(tmp_path / "layer.png")
    plain = t2l.composite(saved(rgb, tmp_path), tmp_path / "layer.png").image
    job = t2l.composite(tmp_path / "photo.png", tmp_path / "layer.png", matte="on")
    red = np.abs(np.asarray(job.image).astype(int) - (220, 20, 20)).max(-1) < 40
    assert red[20:40, 25:55].mean() > 0.97
    assert not red[:18].any()
    assert (np.abs(np.asarray(plain).astype(int) - (220, 20, 20)).max(-1) < 40)[20:40, 25:55].mean() < 0.8
    with pytest.raises(t2l.RequestError, match="--matte must be"):
        t2l.composite(tmp_path / "photo.png", tmp_path / "layer.png", matte="maybe")  # type: ignore[arg-type]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("mode", get_args(BlendMode))
def test_a_layer_is_blended_and_dimmed_over_its_photo(tmp_path: Path, mode: BlendMode, deep: bool) -> None:
    rng = np.random.default_rng(0)
    rgb, layer = (rng.integers(0, 256, (20, 30, channels), np.uint8) for channels in (3, 4))
    layer[:, :10, 3] = 0
    photo, painted = saved(rgb, tmp_path), tmp_path / "layer.png"
    if deep:
        photo = tmp_path / "deep.tif"
        save_picture(photo, rgb.astype(np.uint16) * 257)
    Image.fromarray(layer).save(painted)
    job = t2l.composite(photo, painted, blend=mode, opacity=0.25, output=tmp_path / f"out{photo.suffix}")
    made = np.asarray(job.image, float)
    below, paint = (torch.from_numpy(x[..., :3] / 255).permute(2, 0, 1)[None].float() for x in (rgb, layer))
    alpha = torch.from_numpy(layer[..., 3] / 255)[None, None].float() * 0.25
    want = EditLayer(paint, alpha).blended(below, mode).over(below)[0].permute(1, 2, 0).numpy()
    assert np.abs(made - 255 * want).max() < 1.5
    assert (made[:, :10] == rgb[:, :10]).all()
    assert {"blend": mode, "opacity": 0.25}.items() <= job.write().record.items()
    assert not np.asarray(t2l.composite(photo, painted, opacity=0.0).layer[0:20])[..., 3].any()  # type: ignore[attr-defined]
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(t2l.RequestError, match="--opacity must be between 0 and 1"):
            t2l.composite(photo, painted, opacity=opacity)


def test_a_batch_says_nothing_leaves_everything_as_it_was_and_loads_clip_once(
    unchanged: None, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    monkeypatch.setattr(judge, "load_judge", lambda *given: loads.append(given) or load_judge(*given))
    for name in "abc":
        Image.fromarray(draw()).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    batch = t2l.batch(tmp_path, "red cup", output=tmp_path / "out", threads=torch.get_num_threads(), **QUICK)
    entries = list(batch)
    assert [(entry.output, entry.status) for entry in entries] == [
        ("a-red-cup.png", "done"),
        ("b-red-cup.png", "failed"),
        ("c-red-cup.png", "done"),
    ]
    assert len(loads) == 1
    assert batch.record["done"] == 2
    alone = t2l.edit_image(tmp_path / "c.png", "red cup", **QUICK).run()
    with Image.open(tmp_path / "out/c-red-cup.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(alone.image))
    assert capfd.readouterr() == ("", "")


def test_clip_that_cannot_be_had_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    monkeypatch.setattr(judge, "load_judge", lambda *given: loads.append(given) or load_judge(*given))
    for name in "abc":
        Image.fromarray(draw()).save(tmp_path / f"{name}.png")
    result = t2l.batch(tmp_path, "red cup", output=tmp_path / "out", **QUICK | {"clip": "ViT-B-32"}).run()
    assert (result.status, result.record["failed"], len(loads)) == ("failed", 3, 1)
    (failure,) = result.record["failures"]
    assert (failure["code"], len(failure["sources"])) == ("weights", 3)
