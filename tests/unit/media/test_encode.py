"""Videos out: frames, times and sound of the source; whole or not at all."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media import muxing
from t2l_cli.media.decoding import Turn, upright_rgb
from t2l_cli.media.encode import VideoWriter, check_video_output
from t2l_cli.media.images import load_layer, load_picture
from t2l_cli.media.output import save_picture
from t2l_cli.media.videos import Frame, VideoInfo, probe, read_frames
from tests.tiny_videos import SIXHUNDREDTH, VFR, make_sound, make_video, packets, picture, set_matrix

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)


def write(frames: Iterable[Frame], path: Path, info: VideoInfo, *settings: Any, **more: Any) -> tuple[str, ...]:
    """Write ``frames`` as they are; returns the writer's notes."""
    with VideoWriter(path, info, *settings, **more) as writer:
        for frame in frames:
            writer.write(frame, frame.rgb)
    return writer.notes


def copy(info: VideoInfo, path: Path, span: tuple[int, int] | None = None, **settings: Any) -> tuple[str, ...]:
    """Write the frames of ``info``; returns the writer's notes."""
    return write(read_frames(info, span), path, info, span=span, **settings)


def times(info: VideoInfo, span: tuple[int, int] | None = None) -> list[Fraction]:
    """When the frames are shown, in seconds."""
    return [frame.pts * info.time_base for frame in read_frames(info, span)]


def folder_of(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for index, name in enumerate(names):
        save_picture(folder / name, picture(index))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> VideoInfo:
    """A video of eight uneven frames with sound, which is longer."""
    return probe(make_video(tmp_path / "source.mp4", VFR, SIXHUNDREDTH, audio="aac"))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".MP4"])
def test_count_times_and_sound_are_the_sources(tmp_path: Path, source: VideoInfo, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    assert copy(source, out) == ()
    info = probe(out)
    assert (info.frames, info.time_base, info.audio, info.notes) == (8, source.time_base, True, ())
    assert times(info) == times(source) == [v * SIXHUNDREDTH for v in VFR]
    sound = packets(out)
    assert len(sound) > 15
    assert sound == packets(source.path)
    assert sorted(os.listdir(tmp_path)) == sorted([out.name, "source.mp4"])
    if suffix != ".mov":  # the index comes first
        data = out.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")


def test_mkv_keeps_times_to_the_millisecond_and_sound_in_step(tmp_path: Path, source: VideoInfo) -> None:
    copy(source, tmp_path / "out.mkv")
    delays = [b - a for a, b in zip(times(source), times(probe(tmp_path / "out.mkv")), strict=True)]
    here, there = packets(source.path), packets(tmp_path / "out.mkv")
    assert [data for _, data in here] == [data for _, data in there]
    sound = [b - a for (a, _), (b, _) in zip(here, there, strict=True)]
    assert max(delays + sound) - min(delays + sound) <= Fraction(2, 1000)


def test_a_start_beyond_zero_is_kept(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        late = make_video(tmp_path / f"late{suffix}", [v + 77 for v in VFR], SIXHUNDREDTH)
        copy(probe(late), tmp_path / f"out{suffix}")
        assert times(probe(tmp_path / f"out{suffix}")) == times(probe(late))


def test_a_broadcast_recording_starts_at_zero(tmp_path: Path) -> None:
    ts = make_video(tmp_path / "a.ts", codec="libx264", pixels="yuv420p", audio="aac")
    copy(probe(ts), tmp_path / "out.mp4")
    before = [*times(probe(ts)), *(start for start, _ in packets(ts))]
    after = [*times(probe(tmp_path / "out.mp4")), *(start for start, _ in packets(tmp_path / "out.mp4"))]
    assert min(after) == 0
    assert all(abs(a - b - min(before)) < Fraction(1, 10_000) for a, b in zip(before, after, strict=True))


def test_sound_is_interleaved(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", audio="pcm_s16le", options={"qp": "0", "bf": "0"})
    copy(probe(video), tmp_path / "out.mkv", codec="lossless")
    with av.open(str(tmp_path / "out.mkv")) as file:
        order = [p.pts * p.time_base for p in file.demux() if p.size and p.pts is not None and p.stream.type == "audio"]
        assert len(order) == 20
    with av.open(str(tmp_path / "out.mkv")) as file:
        kinds = [packet.stream.type for packet in file.demux() if packet.size]
    assert "audio" in kinds[:3]
    assert "video" in kinds[-16:]  # the sound is 0.1 s longer, which are five of its packets


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_span_starts_at_zero_with_the_sound_of_its_time(tmp_path: Path, source: VideoInfo, suffix: str) -> None:
    span = (2, 6)
    out = tmp_path / f"out{suffix}"
    copy(source, out, span)
    start = times(source)[2]
    end = times(source)[6]
    info = probe(out)
    assert info.frames == 4
    near = Fraction(1, 1000) if suffix == ".mkv" else Fraction(1, 40_000)
    assert all(abs(a - start - b) <= near for a, b in zip(times(source, span), times(info), strict=True))
    inside = [(time - start, data) for time, data in packets(source.path) if start <= time < end]
    found = packets(out)
    assert [data for _, data in found] == [data for _, data in inside]
    assert all(abs(a - b) <= near for (a, _), (b, _) in zip(inside, found, strict=True))


def test_sound_that_does_not_fit_is_left_out_with_a_note(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", audio="pcm_u8")
    (note,) = copy(probe(video), tmp_path / "out.mp4")
    assert note.startswith("audio (pcm_u8) is left out")
    assert not probe(tmp_path / "out.mp4").audio
    assert copy(probe(video), tmp_path / "out.mkv") == ()
    assert packets(tmp_path / "out.mkv") == packets(video)


def test_untouched_colours_come_back(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", size=(128, 96), codec="libx264", pixels="yuv420p")
    info = probe(video)
    first = [frame.rgb for frame in read_frames(info)]
    copy(info, tmp_path / "once.mp4")
    copy(probe(tmp_path / "once.mp4"), tmp_path / "twice.mp4")
    for name in ("once.mp4", "twice.mp4"):
        tints = []
        for rgb, frame in zip(first, read_frames(probe(tmp_path / name)), strict=True):
            difference = frame.rgb.astype(int) - rgb
            assert np.abs(difference).mean() < 1.5
            assert np.abs(difference).max() <= 12
            tints.append(difference.mean((0, 1)))
        assert np.abs(np.mean(tints, 0)).max() < 1
    with av.open(str(tmp_path / "once.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert context.pix_fmt == "yuv420p"


def test_conversion_alone_loses_nothing(tmp_path: Path) -> None:
    """From yuv420p to RGB and back is exact: all that an untouched frame goes through is the codec."""
    colours = {"colorspace": 1, "color_range": 1}
    path = make_video(tmp_path / "a.mp4", range(1), codec="libx264", pixels="yuv420p", colours=colours)
    (frame,) = read_frames(probe(path))
    picture = muxing.VideoFile.picture(SimpleNamespace(recipe=muxing.recipe_of("h264", odd=False)), frame.rgb, None)
    picture.colorspace, picture.color_range = 1, 1
    assert np.array_equal(upright_rgb(picture, Turn()), frame.rgb)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("size", [(64, 48), (37, 29)])
def test_lossless_is_bit_for_bit(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    info = probe(make_video(tmp_path / "a.mkv", range(4), size=size))
    noise = [RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) for _ in range(4)]
    with VideoWriter(tmp_path / f"out{suffix}", info, "lossless") as writer:
        for frame, rgb in zip(read_frames(info), noise, strict=True):
            writer.write(frame, rgb)
    assert writer.notes == ()
    back = list(read_frames(probe(tmp_path / f"out{suffix}")))
    assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(back, noise, strict=True))


def test_prores_keeps_straight_alpha(tmp_path: Path, source: VideoInfo) -> None:
    alpha = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    with VideoWriter(tmp_path / "out.mov", source, "prores") as writer:
        for frame in read_frames(source):
            writer.write(frame, frame.rgb, alpha if frame.pts else None)
    info = probe(tmp_path / "out.mov")
    assert times(info) == times(source)
    assert "transparency is left out" in info.notes
    assert packets(tmp_path / "out.mov") == packets(source.path)
    with av.open(str(tmp_path / "out.mov")) as file:
        assert file.streams.video[0].codec_context.codec_tag == "ap4h"
        frames = list(file.decode(video=0))
    assert [frame.pts for frame in frames] == [frame.pts for frame in read_frames(info)]
    first, second = (frame.reformat(format="rgba").to_ndarray()[..., 3].astype(int) for frame in frames[:2])
    assert first.min() >= 254
    assert np.abs(second - alpha).max() <= 1
    for before, after in zip(read_frames(source), read_frames(info), strict=True):
        assert np.abs(before.rgb.astype(int) - after.rgb).max() <= 3


def test_turns_and_pixel_shapes_are_baked_in(tmp_path: Path) -> None:
    video = make_video(
        tmp_path / "a.mp4", range(2), codec="libx264", pixels="yuv420p", sample_aspect_ratio=Fraction(4, 3)
    )
    info = probe(set_matrix(video, (0, 1, -1, 0)))
    copy(info, tmp_path / "out.mp4")
    out = probe(tmp_path / "out.mp4")
    assert (out.width, out.height, out.notes) == (48, 64, ())
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert file.streams.video[0].sample_aspect_ratio == Fraction(3, 4)


def test_odd_sizes_are_kept_and_told(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "a.mkv", range(3), size=(37, 29)))
    (note,) = copy(info, tmp_path / "out.mp4")
    assert "37 x 29 is odd" in note
    back = list(read_frames(probe(tmp_path / "out.mp4")))
    assert np.abs(back[2].rgb.astype(int) - picture(2, (37, 29))).mean() < 2


def test_folders_in_and_out(tmp_path: Path, source: VideoInfo) -> None:
    info = probe(folder_of(tmp_path / "in", ["b2.png", "b10.png", "b30.png"]))
    copy(info, tmp_path / "out", (1, 3))
    assert sorted(os.listdir(tmp_path / "out")) == ["b10.png", "b30.png"]
    assert np.array_equal(load_picture(tmp_path / "out" / "b30.png").rgb, picture(2))
    copy(info, tmp_path / "out.mp4")
    assert times(probe(tmp_path / "out.mp4")) == [Fraction(i, 25) for i in range(3)]
    copy(source, tmp_path / "numbers", (3, 6))
    assert sorted(os.listdir(tmp_path / "numbers")) == ["00000.png", "00001.png", "00002.png"]
    twins = probe(folder_of(tmp_path / "twins", ["a.png", "a.tif"]))
    copy(twins, tmp_path / "twins.out".replace(".", "-"))
    assert sorted(os.listdir(tmp_path / "twins-out")) == ["a.png.png", "a.tif.png"]
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_folder_keeps_alpha_and_is_replaced_on_request_only(tmp_path: Path, source: VideoInfo) -> None:
    out = tmp_path / "out"
    copy(source, out)
    alpha = np.full((48, 64), 99, np.uint8)
    with VideoWriter(out, source, "prores", (0, 2), overwrite=True) as writer:
        for frame in read_frames(source, (0, 2)):
            writer.write(frame, NOISE, alpha)
    assert sorted(os.listdir(out)) == ["00000.png", "00001.png"]
    written = load_layer(out / "00001.png")
    assert np.array_equal(written.rgb, NOISE)
    assert np.array_equal(written.alpha, alpha)
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match=r"holds more than PNG frames and is not replaced: thesis\.txt"):
        check_video_output(out, True)
    assert sorted(os.listdir(tmp_path)) == ["out", "source.mp4"]
    (out / "thesis.txt").unlink()
    for name in (".hidden.png", ".env", ".git/config", "more/1.png"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        with pytest.raises(RequestError, match="holds more than PNG frames"):
            VideoWriter(out, source, overwrite=True)
        (out / name).unlink()
        if (out / name).parent != out:
            with pytest.raises(RequestError, match="holds more than PNG frames"):
                check_video_output(out, True)
            (out / name).parent.rmdir()
    for name in (".DS_Store", "._00000.png", "Thumbs.db", "desktop.ini"):
        (out / name).write_text("a file manager's")
    copy(source, out, (0, 1), overwrite=True)
    assert os.listdir(out) == ["00000.png"]


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out"])
@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, RequestError])
def test_an_exception_leaves_nothing_behind(
    tmp_path: Path, source: VideoInfo, name: str, failure: type[BaseException]
) -> None:
    def fails(after: int) -> None:
        with VideoWriter(tmp_path / name, source) as writer:
            for frame in itertools.islice(read_frames(source), after):
                writer.write(frame, frame.rgb)
            raise failure("stop")

    for after in (0, 5):
        with pytest.raises(failure, match="stop"):
            fails(after)
        assert os.listdir(tmp_path) == ["source.mp4"]


def test_a_failure_keeps_the_old_output(tmp_path: Path, source: VideoInfo) -> None:
    for name in ("out.mp4", "out"):
        copy(source, tmp_path / name)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with (
            pytest.raises(OutputError, match="no frame came for"),
            VideoWriter(tmp_path / name, source, overwrite=True),
        ):
            pass
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_second_run_does_not_replace(tmp_path: Path, source: VideoInfo) -> None:
    def races(name: str) -> None:
        with VideoWriter(tmp_path / name, source) as writer:
            for frame in read_frames(source):
                writer.write(frame, frame.rgb)
            copy(source, tmp_path / name)

    for name in ("out.mp4", "out"):
        with pytest.raises(OutputError, match="written by another run"):
            races(name)
    assert sorted(os.listdir(tmp_path)) == ["out", "out.mp4", "source.mp4"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out"])
def test_a_full_disk_is_one_line(tmp_path: Path, small_disk: Path, name: str) -> None:
    info = probe(make_video(tmp_path / "a.mkv", range(30), size=(128, 96)))
    noise = [Frame(RNG.integers(0, 256, (96, 128, 3), dtype=np.uint8), frame.pts, 1) for frame in read_frames(info)]
    with pytest.raises(OutputError) as caught:
        write(noise, small_disk / name, info, "lossless")
    where, why = str(caught.value).rsplit(": ", 1)
    assert where in (f"could not write {small_disk / name}", f"could not write {small_disk / name}/00005.png")
    assert why == "No space left on device."
    assert os.listdir(small_disk) == []


def test_what_pyav_refuses_is_one_line(tmp_path: Path, source: VideoInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    backwards = [Frame(NOISE, pts, 1) for pts in (5, 5)]
    with pytest.raises(OutputError, match=r"could not write .*out\.mp4: "):
        write(backwards * 30, tmp_path / "out.mp4", source)
    monkeypatch.setattr(muxing, "recipe_of", lambda *_: muxing.Recipe("no_such_encoder", "rgb24", {}))
    with pytest.raises(OutputError, match="no no_such_encoder"), VideoWriter(tmp_path / "out.mp4", source):
        pass
    assert os.listdir(tmp_path) == ["source.mp4"]


def test_a_video_made_here_has_no_source(tmp_path: Path) -> None:
    info = VideoInfo(tmp_path, 64, 48, 3, Fraction(10), Fraction(1, 10), False)
    with VideoWriter(tmp_path / "out.mp4", info) as writer:
        for index in range(3):
            writer.write(Frame(picture(index), index, 1), picture(index))
    assert times(probe(tmp_path / "out.mp4")) == [Fraction(i, 10) for i in range(3)]


def test_misuse_is_a_programming_error(tmp_path: Path, source: VideoInfo) -> None:
    frame = Frame(NOISE, 0, 1)
    for rgb, alpha in [(NOISE[:40], None), (NOISE, NOISE[..., 0])]:
        with (
            pytest.raises(ValueError, match=r"video of|keeps no alpha"),
            VideoWriter(tmp_path / "out.mp4", source) as w,
        ):
            w.write(frame, rgb, alpha)
    with pytest.raises(ValueError, match="with statement"):
        VideoWriter(tmp_path / "out.mp4", source).write(frame, NOISE)


def test_bad_outputs_are_found_before_the_work(tmp_path: Path, source: VideoInfo) -> None:
    folder = folder_of(tmp_path / "frames", ["1.png"])
    (tmp_path / "file").write_text("")
    (tmp_path / "dir.mp4").mkdir()
    make_sound(tmp_path / "there.mkv")
    cases: list[tuple[Path | str, bool, Path | None, Any, str]] = [
        ("-", False, None, "h264", "cannot go to the standard output"),
        (tmp_path / "a.avi", False, None, "h264", r"suffix \.avi of .* is not one that t2l can write a video for"),
        (tmp_path / "a.mp4", False, None, "prores", r"ProRes is written to \.mov"),
        (tmp_path / "gone" / "a.mp4", False, None, "h264", "the folder .* does not exist"),
        (tmp_path / "gone" / "a", False, None, "h264", "the folder .* does not exist"),
        (tmp_path / "there.mkv", False, None, "h264", "exists; choose another --output or add --overwrite"),
        (folder, False, None, "h264", "exists; choose another"),
        (source.path, True, source.path, "h264", "is the input itself"),
        (folder, True, folder, "h264", "is the input itself"),
        (tmp_path / "dir.mp4", True, None, "h264", "is a folder"),
        (tmp_path / "file", True, None, "h264", "is a file"),
        (tmp_path / "a\0.mp4", False, None, "h264", "zero byte"),
    ]
    for path, overwrite, origin, codec, words in cases:
        with pytest.raises(RequestError, match=words) as caught:
            check_video_output(path, overwrite, origin, codec=codec)
        assert str(caught.value).isprintable()
    for path, overwrite in [(tmp_path / "new.mkv", False), (tmp_path / "there.mkv", True), (folder, True)]:
        check_video_output(path, overwrite, source.path)
    check_video_output(tmp_path / "new", False, source.path, codec="prores")
    with pytest.raises(RequestError, match="is the input itself"):
        VideoWriter(source.path, source, overwrite=True)
