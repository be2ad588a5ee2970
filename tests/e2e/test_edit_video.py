"""Videos through the installed program, judged against a video whose decomposition is known."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from program import Bytes, Run, lines, pixels

from mini.vocabulary import COLOURS
from t2l_cli.atlases.store import load_atlas, save_atlas
from t2l_cli.engine.atlas.networks import NeuralAtlas
from tests.fits_schema import fits
from tests.lna import state_of, write_checkpoint
from tests.truth import TruthVideo, bilinear, make_truth

FAST = ("--clip", "mini", "--offline", "--steps", "2", "--views", "1", "--size", "129", "--roi", "object")


@pytest.fixture(scope="module")
def truth() -> TruthVideo:
    return make_truth((160, 96), 8)


@pytest.fixture
def frames(truth: TruthVideo, tmp_path: Path) -> Path:
    folder = tmp_path / "shot"
    folder.mkdir()
    for i, rgb in enumerate(truth.frames):
        Image.fromarray(rgb).save(folder / f"f{i:03d}.png")
    return folder


@pytest.fixture
def atlas(truth: TruthVideo, tmp_path: Path) -> Path:
    save_atlas(truth.atlas(), tmp_path / "atlas")
    return tmp_path / "atlas"


def read(folder: Path) -> Bytes:
    return np.stack([pixels(path) for path in sorted(folder.glob("*.png"))])


def test_a_video_comes_back_with_its_layer_and_its_record(
    t2l: Callable[..., Run], frames: Path, atlas: Path, tmp_path: Path
) -> None:
    done = t2l("edit-video", frames, "red object", "--atlas", atlas, *FAST, "-o", "out", "--run-dir", "run")
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout) == ["out", "out-foreground.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"f{i:03d}.png" for i in range(8)]
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["layers"] == {"foreground": ["red object"]}
    fits(record, "run")
    assert (tmp_path / "run/foreground/losses.csv").exists()
    # the painted layer over the video is the very same video
    again = t2l("composite", frames, "--atlas", atlas, "--foreground", "out-foreground.png", "-o", "again")
    assert again.returncode == 0, again.stderr
    assert np.array_equal(read(tmp_path / "out"), read(tmp_path / "again"))
    # a mask would help to fit an atlas, but the record names one
    Image.new("L", (160, 96)).save(tmp_path / "mask.png")
    refused = t2l("edit-video", "--config", "run/run.json", "--mask", "mask.png", "-o", "masked")
    assert refused.returncode == 2
    _one_line(refused, "--mask helps to fit an atlas and does nothing beside the atlas of --config")
    # and the record repeats the run
    shutil.rmtree(tmp_path / "again")
    repeat = t2l("edit-video", "--config", "run/run.json", "-o", "again")
    assert repeat.returncode == 0, repeat.stderr
    assert np.array_equal(read(tmp_path / "out"), read(tmp_path / "again"))


@pytest.mark.parametrize("place", ["out-foreground.png", "run/foreground/layer.png", "shot/look.png"])
def test_a_preview_takes_no_place_of_the_result(
    place: str, t2l: Callable[..., Run], frames: Path, atlas: Path, tmp_path: Path
) -> None:
    """Nor of the source; it is refused before any work."""
    (tmp_path / "run" / "foreground").mkdir(parents=True)
    line = ("edit-video", frames, "red object", "--atlas", atlas, *FAST, "-o", "out.mp4", "--run-dir", "run", "-q")
    refused = t2l(*line, "--overwrite", "--preview", place)
    assert refused.returncode == 2
    _one_line(refused, place)
    assert not list(tmp_path.glob("out*"))
    assert not (tmp_path / place).exists()


@pytest.mark.slow
def test_both_layers_in_one_run(t2l: Callable[..., Run], frames: Path, atlas: Path, tmp_path: Path) -> None:
    prompts = ("--foreground", "red object", "--background", "blue background")
    done = t2l("edit-video", frames, *prompts, "--atlas", atlas, *FAST, "-o", "out.mp4")
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout) == ["out.mp4", "out-foreground.png", "out-background.png"]


def test_an_empty_edit_returns_the_frames_bit_for_bit(
    t2l: Callable[..., Run], frames: Path, atlas: Path, truth: TruthVideo, tmp_path: Path
) -> None:
    width, height = Image.open(atlas / "foreground.png").size
    Image.fromarray(np.full((height, width, 4), [255, 0, 0, 0], np.uint8)).save(tmp_path / "empty.png")
    for output in ("out", "out.mkv"):
        done = t2l(
            "composite", frames, "--atlas", atlas, "--foreground", "empty.png", "-o", output, "--codec", "lossless"
        )
        assert done.returncode == 0, done.stderr
    assert np.array_equal(read(tmp_path / "out"), truth.frames)
    # through the lossless video and back to pictures
    done = t2l("composite", "out.mkv", "--atlas", atlas, "--foreground", "empty.png", "-o", "back")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(read(tmp_path / "back"), truth.frames)


@pytest.mark.parametrize("name", ["foreground", "background"])
def test_a_mark_on_the_atlas_is_at_its_place_in_every_frame(
    t2l: Callable[..., Run], frames: Path, atlas: Path, truth: TruthVideo, tmp_path: Path, name: str
) -> None:
    width, height = Image.open(atlas / f"{name}.png").size
    place = (width // 2, height // 2) if name == "foreground" else (width // 2, height // 5)
    y, x = np.mgrid[:height, :width]
    spot = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 4.0**2))
    layer = np.dstack([np.full((height, width, 3), [255, 0, 255]), 255 * spot]).round().astype(np.uint8)
    Image.fromarray(layer).save(tmp_path / "mark.png")
    done = t2l("composite", frames, "--atlas", atlas, f"--{name}", "mark.png", "-o", "out")
    assert done.returncode == 0, done.stderr
    found = 0
    for t, rgb in enumerate(read(tmp_path / "out")):
        share = truth.alpha[t] if name == "foreground" else 1 - truth.alpha[t]
        expected = share * bilinear(layer[..., 3:] / 255.0, truth.uv[name][t])[..., 0]  # type: ignore[index]
        if expected.max() < 0.9:
            continue  # hidden, or beyond the frame
        painted = np.abs(rgb.astype(float) - truth.frames[t]).sum(2)
        room = np.abs(np.array([255.0, 0, 255]) - truth.frames[t]).sum(2)
        seen = painted / room
        rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
        for axis in (rows, columns):
            assert abs((seen * axis).sum() / seen.sum() - (expected * axis).sum() / expected.sum()) < 0.25  # px
        found += 1
    assert found >= 5


def test_paint_on_one_frame_goes_to_all(
    t2l: Callable[..., Run], frames: Path, atlas: Path, truth: TruthVideo, tmp_path: Path
) -> None:
    middle = np.argwhere(truth.alpha[0] > 0.999).mean(0).round().astype(int)
    paint = np.zeros((*truth.frames.shape[1:3], 4), np.uint8)
    paint[middle[0] - 4 : middle[0] + 5, middle[1] - 4 : middle[1] + 5] = [0, 255, 255, 255]
    Image.fromarray(paint).save(tmp_path / "paint.png")
    done = t2l("composite", frames, "--atlas", atlas, "--paint", "paint.png", "--frame", "0", "-o", "out")
    assert done.returncode == 0, done.stderr
    out = read(tmp_path / "out").astype(float)
    texel = truth.uv["foreground"][0, middle[0], middle[1]]
    for t in range(len(out)):
        x, y = truth.seen("foreground", t, texel).round().astype(int)
        assert np.abs(out[t, y, x] - [0, 255, 255]).max() < 40


def test_render_atlas_says_how_good_it_is(t2l: Callable[..., Run], frames: Path, atlas: Path, tmp_path: Path) -> None:
    done = t2l("render-atlas", atlas, "-o", "pictures", "--clip-file", frames, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["psnr"] > 45
    assert {"foreground.png", "background.png", "alpha.png", "checkerboard.mp4", "atlas.json"} <= {
        p.name for p in (tmp_path / "pictures").iterdir()
    }
    assert load_atlas(tmp_path / "pictures").video.first_frame is not None


@pytest.mark.slow
def test_a_checkpoint_is_rendered_and_painted_over(t2l: Callable[..., Run], frames: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)  # how much of the unit square untrained networks show is up to their weights
    write_checkpoint(tmp_path / "lna", state_of(NeuralAtlas()), (8, 160, 96))
    done = t2l("render-atlas", "lna", "-o", "pictures", "--resolution", "2000", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["networks_psnr"] > 20
    assert b"coordinates: step 8/8 (100 %)" in done.stderr
    layer = np.full((*pixels(tmp_path / "pictures/background.png").shape[:2], 4), [0, 0, 255, 255], np.uint8)
    Image.fromarray(layer).save(tmp_path / "blue.png")
    done = t2l("composite", frames, "--atlas", "pictures", "--background", "blue.png", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert b"mapping back: frame 8/8" in done.stderr
    assert (read(tmp_path / "out")[..., 2].astype(int) - read(frames)[..., 2]).mean() > 40


BAD = {
    "no atlas there": (("--atlas", "nowhere"), "no atlas"),
    "a layer that does not exist": (("--layer", "middle"), "foreground or background"),
    "too few frames": (("--frames", "0:3"), "frames"),
    "no frame": (("--frames", "5:5"), "holds no frame"),
    "an unknown suffix": (("-o", "out.txt"), "suffix"),
    "prores to mp4": (("-o", "out.mp4", "--codec", "prores"), "mov"),
    "an unknown codec": (("--codec", "vp9"), "codec"),
    "the source itself": (("-o", "shot"), "exists|input itself"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_one_line_and_do_nothing(
    case: str, t2l: Callable[..., Run], frames: Path, atlas: Path, tmp_path: Path
) -> None:
    before = sorted(p for p in tmp_path.rglob("*"))
    options, message = BAD[case]
    done = t2l("edit-video", frames, "red object", "--atlas", atlas, *FAST, *options)
    assert done.returncode == 2
    assert done.stdout == b""
    _one_line(done, message)
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_what_is_no_video_is_said(t2l: Callable[..., Run], atlas: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "hollow").mkdir()
    for name in ("text.mp4", "empty.mp4", "hollow", "missing.mp4"):
        done = t2l("edit-video", name, "red object", "--atlas", atlas, *FAST)
        assert done.returncode == 2
        _one_line(done, name)


def _one_line(done: Run, message: str) -> None:
    errors = [line for line in lines(done.stderr) if line.startswith("Error:")]
    assert len(errors) == 1
    assert re.search(message, errors[0])
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.slow
def test_the_foreground_is_of_the_asked_colour_in_every_frame_without_flicker(
    t2l: Callable[..., Run], tmp_path: Path
) -> None:
    truth = make_truth((160, 96), 8, plain=True)
    (tmp_path / "shot").mkdir()
    for i, rgb in enumerate(truth.frames):
        Image.fromarray(rgb).save(tmp_path / "shot" / f"f{i:03d}.png")
    save_atlas(truth.atlas(), tmp_path / "atlas")
    quick = ("--clip", "mini", "--offline", "--preset", "draft", "--size", "129", "--steps", "80", "--views", "4")
    done = t2l("edit-video", "shot", "red object", "--roi", "object", "--atlas", "atlas", *quick, "-o", "out")
    assert done.returncode == 0, done.stderr
    out = read(tmp_path / "out").astype(float)
    for t, (before, after) in enumerate(zip(truth.frames.astype(float), out, strict=True)):
        inside, outside = truth.alpha[t] > 0.99, truth.alpha[t] == 0
        assert nearest(before[inside].mean(0)) == "blue"
        assert nearest(after[inside].mean(0)) == "red"
        assert np.array_equal(after[outside], before[outside])
    # paint on the surface keeps its colour to one level of 255, beyond what sampling it costs the source
    assert flicker(out, truth) < flicker(truth.frames.astype(float), truth) + 1


def nearest(rgb: np.ndarray) -> str:
    """The name of the colour, of those that mini knows."""
    return min(COLOURS, key=lambda name: float(np.linalg.norm(np.array(COLOURS[name]) - rgb)))


def flicker(video: np.ndarray, truth: TruthVideo) -> float:
    """Mean change of the surface's points from frame to frame, along their known motion."""
    texels = truth.uv["foreground"][0][truth.alpha[0] > 0.999]
    seen = []
    for t, rgb in enumerate(video):
        at = truth.seen("foreground", t, texels)
        seen.append(bilinear(rgb, at))
    return float(np.abs(np.diff(np.stack(seen), axis=0)).mean())
