"""Whatever is wrong with a video, an atlas, a layer or a place: one line, and nothing is left behind."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from program import Run, lines

from t2l_cli.atlases.store import save_atlas
from t2l_cli.engine.atlas.networks import NeuralAtlas
from tests.lna import state_of, write_checkpoint
from tests.tiny_videos import make_sound, make_video, no_frames
from tests.truth import make_truth

SIZE, FRAMES = (96, 64), 4


@dataclass(frozen=True)
class Shot:
    """A video, its atlas, and one red layer of the atlas's size, in an otherwise empty folder."""

    folder: Path
    video: Path
    atlas: Path
    layer: Path


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    atlas = make_truth(SIZE, FRAMES).atlas()
    save_atlas(atlas, tmp_path / "atlas")
    height, width = atlas.foreground.size
    Image.new("RGBA", (width, height), (255, 0, 0, 255)).save(tmp_path / "layer.png")
    video = make_video(tmp_path / "video.mp4", range(FRAMES), size=SIZE)
    return Shot(tmp_path, video, tmp_path / "atlas", tmp_path / "layer.png")


def refused(done: Run, code: int, *words: str) -> None:
    """Check that ``done`` ended with ``code`` and one line that says ``words``."""
    errors = lines(done.stderr)
    assert done.returncode == code, done.stderr
    assert done.stdout == b""
    assert [line for line in errors if line.startswith("Error: ")] == errors[-1:], errors
    assert "Traceback" not in done.stderr.decode()
    for word in words:
        assert word in errors[-1]


class Malice:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.slow
def test_checkpoints(t2l: Callable[..., Run], shot: Shot) -> None:
    good = state_of(NeuralAtlas())
    numbers = (FRAMES, *SIZE)

    def render(state: dict[str, Any], video: tuple[int, int, int] = numbers, cut: int = 0) -> Run:
        path = write_checkpoint(shot.folder / "lna", state, video)
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])
        return t2l("render-atlas", path, "-o", "out", "--clip-file", shot.video)

    other = good | {"model_F_mapping1_state_dict": torch.nn.Linear(3, 64).state_dict()}
    refused(render(other), 2, "not a Layered Neural Atlases checkpoint", "mapping1")
    refused(render(good, cut=5000), 2, "checkpoint", "damaged")
    refused(render(good | {"iteration": Malice(shot.folder / "owned")}), 2, "never run")
    (shot.folder / "lna/checkpoint").write_bytes(pickle.dumps(Malice(shot.folder / "owned")))
    refused(t2l("render-atlas", "lna", "-o", "out", "--clip-file", shot.video), 2, "checkpoint")
    assert not (shot.folder / "owned").exists()
    refused(render(good, (FRAMES - 1, *SIZE)), 2, "has 3 frames, the video 4", "--frames 0:3")
    refused(render(good, (FRAMES, SIZE[0] + 2, SIZE[1])), 2, "98 x 64", "96 x 64")
    assert not (shot.folder / "out").exists()


@pytest.mark.slow
def test_an_atlas_of_another_video(t2l: Callable[..., Run], shot: Shot) -> None:
    paint = ("--atlas", shot.atlas, "--foreground", shot.layer, "-o", "out.mp4")
    make_video(shot.folder / "longer.mp4", range(FRAMES + 1), size=SIZE)
    refused(t2l("composite", "longer.mp4", *paint), 2, "4 frames, the video 5", "--frames a:b")
    make_video(shot.folder / "shorter.mp4", range(FRAMES - 1), size=SIZE)
    refused(t2l("composite", "shorter.mp4", *paint), 2, "4 frames, the video 3")
    make_video(shot.folder / "wider.mp4", range(FRAMES), size=(SIZE[0] + 2, SIZE[1]))
    refused(t2l("composite", "wider.mp4", *paint), 2, "96 x 64", "98 x 64")
    part = t2l("composite", "longer.mp4", "--frames", "1:5", *paint)
    assert part.returncode == 0, part.stderr


@pytest.mark.slow
def test_layers(t2l: Callable[..., Run], shot: Shot) -> None:
    start = ("composite", shot.video, "--atlas", shot.atlas, "-o", "out.mp4")
    Image.new("RGBA", (50, 40)).save(shot.folder / "other.png")
    refused(t2l(*start, "--foreground", "other.png"), 2, "50 x 40")
    refused(t2l(*start, "--paint", "other.png"), 2, "50 x 40", "96 x 64")
    Image.open(shot.layer).convert("RGB").save(shot.folder / "opaque.png")
    refused(t2l(*start, "--foreground", "opaque.png"), 2, "opaque.png", "alpha")
    refused(t2l(*start, "--paint", shot.layer, "--frame", "9"), 2, "--frame")
    assert not (shot.folder / "out.mp4").exists()


def test_what_is_no_video(t2l: Callable[..., Run], shot: Shot) -> None:
    make_sound(shot.folder / "sound.wav")
    (shot.folder / "text.mp4").write_text("Dear diary, this is no video.\n" * 20)
    no_frames(shot.folder / "none.avi")
    (shot.folder / "hollow").mkdir()
    for name, words in {
        "sound.wav": "holds no video",
        "text.mp4": "is not a video",
        "none.avi": "holds no frame",
        "hollow": "holds no pictures",
    }.items():
        paint = ("--atlas", shot.atlas, "--foreground", shot.layer, "-o", "out.mp4")
        refused(t2l("composite", name, *paint), 2, name, words)


def test_places_that_cannot_be_written(t2l: Callable[..., Run], shot: Shot) -> None:
    paint = ("composite", shot.video, "--atlas", shot.atlas, "--foreground", shot.layer, "-o")
    refused(t2l(*paint, "/proc/out.mp4"), 2, "/proc")
    refused(t2l(*paint, "nowhere/out.mp4"), 2, "nowhere")
    refused(t2l("render-atlas", shot.atlas, "-o", "/proc/atlas"), 2, "/proc")
    refused(t2l("edit-video", shot.video, "red object", "--atlas", shot.atlas, "-o", "/proc/out"), 2, "/proc")


@pytest.mark.slow
def test_nothing_of_the_users_is_overwritten(t2l: Callable[..., Run], shot: Shot) -> None:
    """Whatever --overwrite is said to: an input, a part of one, hidden files, what was painted over."""
    (shot.folder / "frames").mkdir()
    for name in ("1.png", "2.png"):
        Image.new("RGB", SIZE).save(shot.folder / "frames" / name)
    render = ("render-atlas", shot.atlas, "--overwrite", "-o")
    paint = ("composite", shot.video, "--atlas", shot.atlas, "--overwrite", "--foreground")
    edit = ("edit-video", shot.video, "red object", "--clip", "mini", "--overwrite", "--mask")
    refused(t2l(*render, shot.atlas), 2, "atlas is the input itself")
    refused(t2l(*paint, shot.layer, "-o", shot.video), 2, "video.mp4 is the input itself")
    refused(t2l(*paint, "frames/1.png", "-o", "frames"), 2, "frames holds the input frames/1.png")
    Image.open(shot.layer).save(shot.folder / "out-foreground.png")
    refused(t2l(*edit, "out-foreground.png", "-o", "out.mp4"), 2, "out-foreground.png is the input itself")
    refused(t2l("fit-atlas", shot.video, "--overwrite", "--mask", "atlas/alpha.png", "-o", "atlas"), 2, "alpha.png")
    assert t2l("render-atlas", shot.atlas, "-o", "other").returncode == 0
    (shot.folder / "other" / ".git").mkdir()
    refused(t2l(*render, "other"), 2, ".git beside the atlas")
    (shot.folder / "other" / ".git").rmdir()
    shutil.copy(shot.layer, shot.folder / "other" / "foreground.png")
    refused(t2l(*render, "other"), 2, "foreground.png is no longer as it was written")
    assert (shot.folder / "other" / "foreground.png").read_bytes() == shot.layer.read_bytes()
    shutil.copy(shot.atlas / "foreground.png", shot.folder / "other")
    assert t2l(*render, "other").returncode == 0


def test_a_playlist_is_no_video(t2l: Callable[..., Run], shot: Shot) -> None:
    (shot.folder / "list.mp4").write_text("ffconcat version 1.0\nfile video.mp4\n")
    (shot.folder / "live.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nclip.mp4\n")
    for name in ("list.mp4", "live.m3u8"):
        paint = ("--atlas", shot.atlas, "--foreground", shot.layer, "-o", "out.mp4")
        refused(t2l("composite", name, *paint), 2, name, "playlists are not followed")


@pytest.fixture
def small_disk(shot: Shot) -> Iterator[Path]:
    """A file system of 32 kB."""
    place = shot.folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_file(t2l: Callable[..., Run], shot: Shot, small_disk: Path) -> None:
    folder = shot.folder / "noise"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(FRAMES):
        rgb = random.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / f"{i}.png")
    paint = ("composite", folder, "--atlas", shot.atlas, "--foreground", shot.layer, "--codec", "lossless", "-o")
    for name in ("out.mp4", "out.mkv", "out"):
        refused(t2l(*paint, small_disk / name), 1, name, "No space left on device")
        assert os.listdir(small_disk) == []
    refused(t2l("render-atlas", shot.atlas, "-o", small_disk / "atlas"), 1, "atlas")
    assert os.listdir(small_disk) == []
