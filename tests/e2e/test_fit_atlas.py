"""fit-atlas through the installed program: masks of every kind, bad videos and masks, and going on after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import Bytes, Run, command, lines

from t2l_cli.atlases.store import load_atlas
from t2l_cli.media.encode import VideoWriter
from t2l_cli.media.videos import Frame, probe
from tests.fits_schema import fits
from tests.truth import TruthVideo, make_truth

QUICK = ("--preset", "draft", "--visits", "1", "--threads", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def truth() -> TruthVideo:
    return make_truth((96, 64), 6)


def folder_of(frames: Bytes, path: Path) -> Path:
    path.mkdir()
    for i, rgb in enumerate(frames):
        Image.fromarray(rgb).save(path / f"{i:03d}.png")
    return path


@pytest.fixture
def video(truth: TruthVideo, tmp_path: Path) -> Path:
    return folder_of(truth.frames, tmp_path / "video")


@pytest.fixture
def masks(truth: TruthVideo) -> Bytes:
    """(T, H, W) uint8, 255 where the object is."""
    return np.where(truth.alpha > 0.5, 255, 0).astype(np.uint8)


def overlap(folder: Path, own: Bytes) -> float:
    alpha, solid = load_atlas(folder).alpha.numpy() > 0.5, own > 0
    return float((alpha & solid).sum() / (alpha | solid).sum())


def refused(done: Run, words: str) -> None:
    """Exit 2, nothing written, one or two lines with ``words`` and no traceback."""
    said = lines(done.stderr)
    assert done.returncode == 2, said
    assert done.stdout == b""
    errors = [i for i, line in enumerate(said) if line.startswith("Error: ")]
    assert len(errors) == 1, said
    assert len(said) - errors[0] <= 2, said
    assert words in said[errors[0]], said


@pytest.mark.slow
def test_masks_as_a_folder(t2l: Callable[..., Run], video: Path, masks: Bytes, tmp_path: Path) -> None:
    folder_of(masks, tmp_path / "masks")
    done = t2l("fit-atlas", video, "-o", "atlas", "--mask", "masks", "--run-dir", "run", *QUICK)
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout) == ["atlas"]
    assert overlap(tmp_path / "atlas", masks) > 0.85
    assert not (tmp_path / "atlas.resume").exists()
    record = json.loads((tmp_path / "run/run.json").read_text())
    fits(record, "run")
    fits(json.loads((tmp_path / "atlas/atlas.json").read_text()), "atlas")
    assert record["ended"] == "done"
    assert record["quality"]["psnr"] > 25
    names = {path.name.split("-")[0] for path in (tmp_path / "run").glob("*.png")}
    assert names == {"mask", "alpha", "flow", "rebuilt"}
    for path in (tmp_path / "run").glob("flow-*.png"):
        levels = np.asarray(Image.open(path))
        assert ((levels > 0) & (levels < 255)).any(-1).mean() > 0.3  # motion in shades, not clipped to full colours


@pytest.mark.slow
def test_masks_as_a_video(t2l: Callable[..., Run], video: Path, masks: Bytes, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "masks.mp4", probe(video)) as writer:
        for t, mask in enumerate(masks):
            picture = np.ascontiguousarray(mask[..., None].repeat(3, -1))
            writer.write(Frame(picture, t, 1), picture)
    done = t2l("fit-atlas", video, "-o", "atlas", "--mask", "masks.mp4", *QUICK)
    assert done.returncode == 0, done.stderr
    assert overlap(tmp_path / "atlas", masks) > 0.85


@pytest.mark.slow
def test_the_mask_of_a_given_frame(t2l: Callable[..., Run], video: Path, masks: Bytes, tmp_path: Path) -> None:
    Image.fromarray(masks[4]).resize((192, 128)).save(tmp_path / "mask.png")  # of another size, the same shape
    done = t2l("fit-atlas", video, "-o", "a", "--mask", "mask.png", "--mask-frame", "4", "--frames", "2:6", *QUICK)
    assert done.returncode == 0, done.stderr
    assert overlap(tmp_path / "a", masks[2:6]) > 0.8
    refused(
        t2l("fit-atlas", video, "-o", "b", "--mask", "mask.png", "--mask-frame", "1", "--frames", "2:6", *QUICK),
        "--mask-frame 1 is not among the frames 2 to 5",
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda m: m[:4], "4 masks, the video 6 frames"),
        (lambda m: m[:, :40], "are 96 x 40 px, the video 96 x 64"),
        (lambda m: 0 * m, "the mask is empty"),
        (lambda m: 0 * m + 255, "covers the whole frame"),
    ],
)
def test_masks_that_do_not_fit(
    t2l: Callable[..., Run], video: Path, masks: Bytes, tmp_path: Path, make: Callable[[Bytes], Bytes], words: str
) -> None:
    folder_of(make(masks), tmp_path / "masks")
    done = t2l("fit-atlas", video, "-o", "atlas", "--mask", "masks", *QUICK)
    refused(done, words)
    assert not (tmp_path / "atlas").exists()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((64, 96), np.uint8), "the mask is empty"),
        (np.full((64, 96), 255, np.uint8), "covers the whole frame"),
        (np.full((96, 96), 255, np.uint8), "the two must have the same shape"),
    ],
)
def test_a_mask_picture_that_does_not_fit(
    t2l: Callable[..., Run], video: Path, tmp_path: Path, mask: Bytes, words: str
) -> None:
    Image.fromarray(mask).save(tmp_path / "mask.png")
    refused(t2l("fit-atlas", video, "-o", "atlas", "--mask", "mask.png", *QUICK), words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mask", "nowhere.png"), "nowhere.png"),
        (("--mask-class", "dgo"), "no class 'dgo'. Did you mean"),
        (("--mask-class", "dog", "--mask", "video"), "--mask or --mask-class, not both"),
        (("--flow", "farneback"), "--flow must be dis or raft"),
        (("--resume",), "no interrupted fit"),
        (("--visits", "0"), "visits"),
        (("--frames", "2:3"), "one frame"),
    ],
)
def test_requests_that_cannot_be_met(
    t2l: Callable[..., Run], video: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    refused(t2l("fit-atlas", video, "-o", "atlas", *QUICK, *options), words)
    assert not (tmp_path / "atlas").exists()
    if options[0] in ("--mask-class", "--flow"):
        refused(t2l("edit-video", video, "red thing", "--clip", "mini", *options), words)


@pytest.mark.parametrize("options", [("--flow", "raft"), ("--mask-class", "dog")])
def test_networks_that_are_not_here_name_the_ways_out(
    t2l: Callable[..., Run], video: Path, options: tuple[str]
) -> None:
    done = t2l("fit-atlas", video, "-o", "atlas", "--offline", *QUICK, *options)
    assert done.returncode == 1
    said = lines(done.stderr)
    assert "stay offline" in said[-2]
    assert "t2l models pull" in said[-1]


def test_a_video_of_one_frame(t2l: Callable[..., Run], truth: TruthVideo, tmp_path: Path) -> None:
    folder_of(truth.frames[:1], tmp_path / "one")
    refused(t2l("fit-atlas", "one", "-o", "atlas", *QUICK), "a video of one frame has no motion")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["equal", "black", "two"])
def test_dull_videos_give_an_atlas(t2l: Callable[..., Run], truth: TruthVideo, tmp_path: Path, kind: str) -> None:
    frames = truth.frames[[0, 3]] if kind == "two" else truth.frames[[0] * 4] * (kind == "equal")
    folder_of(frames, tmp_path / "dull")
    done = t2l("fit-atlas", "dull", "-o", "atlas", "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["quality"]["psnr"] > (20 if kind == "two" else 30)
    if kind != "two":
        assert b"nothing moves but the camera" in done.stderr


def test_a_cut_is_said_with_its_frame(t2l: Callable[..., Run], truth: TruthVideo, tmp_path: Path) -> None:
    other = 255 - make_truth((96, 64), 3, foreground=False, seed=9).frames
    folder_of(np.concatenate([truth.frames[:3], other]), tmp_path / "cut")
    done = t2l("fit-atlas", "cut", "-o", "atlas", *QUICK)
    refused(done, "the scene changes between frames 2 and 3")
    assert "--frames 0:3 or --frames 3:6" in lines(done.stderr)[-1]


def test_frames_of_two_sizes(t2l: Callable[..., Run], video: Path) -> None:
    Image.open(video / "004.png").resize((64, 96)).save(video / "004.png")
    refused(t2l("fit-atlas", video, "-o", "atlas", *QUICK), "004.png")


def test_a_truncated_file(t2l: Callable[..., Run], video: Path, truth: TruthVideo, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "whole.mp4", probe(video)) as writer:
        for t, rgb in enumerate(truth.frames):
            writer.write(Frame(rgb, t, 1), rgb)
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    refused(t2l("fit-atlas", "half.mp4", "-o", "atlas", *QUICK), "")


def interrupted(*arguments: str, sure: str) -> subprocess.CompletedProcess[bytes]:
    """Run `t2l` and send it one SIGINT after a line on stderr begins with ``sure``."""
    process = subprocess.Popen(
        [*command(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stderr is not None
    said = b""
    for line in process.stderr:
        said += line
        if line.startswith(sure.encode()):
            os.kill(process.pid, signal.SIGINT)
            break
    rest = process.stderr.read()
    stdout = process.stdout.read() if process.stdout else b""
    return subprocess.CompletedProcess(arguments, process.wait(60), stdout, said + rest)


@pytest.mark.slow
def test_ctrl_c_keeps_the_atlas_and_resume_ends_as_if_nothing_had_been(
    t2l: Callable[..., Run], video: Path, tmp_path: Path
) -> None:
    fit = ("fit-atlas", str(video), "--preset", "draft", "--visits", "150", "--threads", "1", "--device", "cpu")
    first = interrupted(*fit, "-o", "atlas", sure="fit 1 of")
    assert first.returncode == 130, first.stderr
    assert lines(first.stdout) == ["atlas"]
    assert b"--resume goes on from here" in first.stderr
    record = json.loads((tmp_path / "atlas/run.json").read_text())
    assert record["ended"] == "interrupted"
    assert (tmp_path / "atlas.resume").exists()
    refused(t2l(*fit, "-o", "atlas", "--resume", "--seed", "5"), "another video, mask or setting")
    refused(t2l(*fit, "-o", "atlas"), "exists")
    painted, before = tmp_path / "atlas" / "foreground.png", (tmp_path / "atlas" / "foreground.png").read_bytes()
    Image.new("RGBA", Image.open(painted).size, (255, 0, 0, 255)).save(painted)
    refused(t2l(*fit, "-o", "atlas", "--resume"), "foreground.png is no longer as it was written")
    painted.write_bytes(before)
    second = t2l(*fit, "-o", "atlas", "--resume")
    assert second.returncode == 0, second.stderr
    assert b"optical flow" not in second.stderr
    assert not (tmp_path / "atlas.resume").exists()
    whole = t2l(*fit, "-o", "whole")
    assert whole.returncode == 0, whole.stderr
    for name in ("atlas.safetensors", "foreground.png", "background.png"):
        assert (tmp_path / "atlas" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_an_interrupted_edit_goes_on_with_its_fit_and_the_next_one_has_it(
    t2l: Callable[..., Run], video: Path, tmp_path: Path
) -> None:
    edit = ["edit-video", str(video), "red thing", "--clip", "mini", "--steps", "1", "--views", "1", "--size", "129"]
    first = interrupted(*edit, "-o", "out", sure="fit 1 of")
    assert first.returncode == 130, first.stderr
    assert not (tmp_path / "out").exists()
    second = t2l(*edit, "-o", "out")
    assert second.returncode == 0, second.stderr
    assert b"going on with its fit" in second.stderr
    assert b"optical flow" not in second.stderr
    third = t2l(*edit, "-o", "again")
    assert third.returncode == 0, third.stderr
    assert b"using the atlas that was fitted before" in third.stderr
    assert (tmp_path / "again-foreground.png").read_bytes() == (tmp_path / "out-foreground.png").read_bytes()
    for frame in (tmp_path / "out").iterdir():
        assert (tmp_path / "again" / frame.name).read_bytes() == frame.read_bytes()
