"""Signals at work: every command treats SIGTERM and SIGHUP as Ctrl-C, and leaves no temporary file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import SHORT, command, draw_scene, lines, slow

from t2l_cli.atlases.store import load_atlas, save_atlas
from tests.truth import make_truth
from tests.unit.weights.hub import Hub

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
LONG = 1500  # frames: seconds of work after the first tenth, on a fast machine, too
SIZE = (64, 48)


def signalled(folder: Path, number: signal.Signals, after: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `t2l` in ``folder`` and send the signal after a line on stderr that begins with ``after``."""
    process = subprocess.Popen(
        [*command(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
    )
    assert process.stderr is not None
    said = b""
    for line in process.stderr:
        said += line
        if line.startswith(after.encode()):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, said + err)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a long video, its atlas, and a red layer of the atlas's size."""
    folder = tmp_path_factory.mktemp("long")
    truth = make_truth(SIZE, LONG)
    save_atlas(truth.atlas(), folder / "atlas")
    height, width = truth.atlas().foreground.size
    Image.new("RGBA", (width, height), (255, 0, 0, 255)).save(folder / "layer.png")
    (folder / "video").mkdir()
    for i, rgb in enumerate(truth.frames):
        Image.fromarray(rgb).save(folder / "video" / f"{i:05d}.png", compress_level=1)
    return folder


@pytest.mark.parametrize(
    ("number", "output"), [*(slow(number, "out.mp4") for number in SIGNALS), (signal.SIGTERM, "out")]
)
def test_composite_of_a_video(number: signal.Signals, output: str, shot: Path, tmp_path: Path) -> None:
    paint = ("--atlas", str(shot / "atlas"), "--foreground", str(shot / "layer.png"), "-o", output)
    done = signalled(tmp_path, number, "mapping back: frame", "composite", str(shot / "video"), *paint)
    assert done.returncode == 128 + number, done.stderr
    assert done.stdout == b""
    assert lines(done.stderr)[-1] == "Error: interrupted; nothing was written."
    assert names(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_render_atlas(number: signal.Signals, shot: Path, tmp_path: Path) -> None:
    done = signalled(tmp_path, number, "checkerboard: frame", "render-atlas", str(shot / "atlas"), "-o", "atlas")
    assert done.returncode == 128 + number, done.stderr
    assert done.stdout == b""
    assert names(tmp_path) == []


@pytest.mark.slow
def test_fit_atlas_keeps_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "video").mkdir()
    for i, rgb in enumerate(make_truth((96, 64), 4).frames):
        Image.fromarray(rgb).save(tmp_path / "video" / f"{i}.png")
    fit = ("fit-atlas", "video", "-o", "atlas", "--preset", "draft", "--visits", "2000", "--device", "cpu")
    done = signalled(tmp_path, signal.SIGTERM, "fit 1 of", *fit)
    assert done.returncode == 143, done.stderr
    assert lines(done.stdout) == ["atlas"]
    assert names(tmp_path) == ["atlas", "atlas.resume", "video"]
    assert load_atlas(tmp_path / "atlas").video.frames == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_edit_video_keeps_what_is_painted(number: signal.Signals, tmp_path: Path) -> None:
    truth = make_truth((96, 64), 3)
    save_atlas(truth.atlas(), tmp_path / "atlas")
    (tmp_path / "video").mkdir()
    for i, rgb in enumerate(truth.frames):
        Image.fromarray(rgb).save(tmp_path / "video" / f"{i}.png")
    edit = ("edit-video", "video", "red ball", "--atlas", "atlas", *SHORT, "--steps", "100000", "-o", "out.mp4")
    done = signalled(tmp_path, number, "about", *edit)
    assert done.returncode == 128 + number, done.stderr
    assert lines(done.stdout) == ["out.mp4", "out-foreground.png"]
    assert names(tmp_path) == ["atlas", "out-foreground.png", "out.mp4", "video"]


@pytest.mark.slow
def test_models_pull(tmp_path: Path, user_folders: Path) -> None:
    hub = Hub()
    hub.files["timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors"] = bytes(1000)
    hub.delay = 300.0
    env = {**os.environ, "HF_ENDPOINT": hub.url}
    process = subprocess.Popen(
        [*command(), "models", "pull", "ViT-B-32"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    while not hub.gets:  # the download has begun
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    hub.close()
    assert process.returncode == 143, err
    assert out == b""
    assert [path.name for path in user_folders.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_an_edit_is_stopped_while_it_imports(tmp_path: Path) -> None:
    """Large libraries swallow exceptions at times."""
    photo = draw_scene("ball", tmp_path).path
    line = [sys.executable, "-X", "importtime", "-m", "t2l_cli", "edit-image", str(photo), "red ball", *SHORT]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert process.stderr is not None
    for said in process.stderr:
        if said.split()[-1:] == [b"torch.autograd"]:
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert out == b""
    assert b"Traceback" not in err
    assert names(tmp_path) == ["ball.png"]


@pytest.mark.slow
@pytest.mark.parametrize("output", ["out.mp4", "out"])
def test_what_a_killed_run_left_is_removed_by_the_next(output: str, shot: Path, tmp_path: Path) -> None:
    paint = ("--atlas", str(shot / "atlas"), "--foreground", str(shot / "layer.png"), "-o", output)
    killed = signalled(tmp_path, signal.SIGKILL, "mapping back: frame", "composite", str(shot / "video"), *paint)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    layer, photo = tmp_path / "layer.png", tmp_path / "photo.png"
    Image.fromarray(np.zeros((48, 64, 4), np.uint8)).save(layer)
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(photo)
    subprocess.run([*command(), "composite", str(photo), str(layer), "-o", "other.png"], cwd=tmp_path, check=True)
    assert names(tmp_path) == ["layer.png", "other.png", "photo.png"]
