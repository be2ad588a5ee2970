"""What came out beside what went in, as another program reads both: ffprobe where it is installed, else PyAV alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
from program import SHORT, Run

from t2l_cli.atlases.store import save_atlas
from tests.tiny_videos import SIXHUNDREDTH, VFR, make_video
from tests.truth import make_truth

SIZE, FRAMES = (160, 96), len(VFR)


@dataclass(frozen=True)
class Facts:
    """One file, as a reader finds it."""

    size: tuple[int, int]
    times: list[Fraction]  # s, of the video's frames, in order
    duration: Fraction  # s, of the file
    sound: list[tuple[Fraction, str]]  # s and MD5 of every audio packet

    @property
    def start_of_sound(self) -> Fraction:
        return min(time for time, _ in self.sound)


def by_ffprobe(path: Path) -> Facts:
    """Read by FFmpeg's own ffprobe, in another process."""
    what = "format=duration:stream=index,codec_type,width,height,time_base:packet=stream_index,pts,data_hash"
    line = ["ffprobe", "-v", "error", "-show_data_hash", "md5", "-show_packets", "-show_entries", what, "-of", "json"]
    found = json.loads(subprocess.run([*line, path], capture_output=True, check=True).stdout)
    tracks = {track["codec_type"]: track for track in found["streams"]}

    def packets(kind: str) -> list[tuple[Fraction, str]]:
        track = tracks.get(kind, {"index": None})
        own = [packet for packet in found["packets"] if packet["stream_index"] == track["index"]]
        return sorted(
            (packet["pts"] * Fraction(track["time_base"]), packet["data_hash"].split(":")[1]) for packet in own
        )

    video = tracks["video"]
    times = [time for time, _ in packets("video")]
    return Facts((video["width"], video["height"]), times, Fraction(found["format"]["duration"]), packets("audio"))


def by_pyav(path: Path) -> Facts:
    """Read packet by packet, by none of the program's code."""
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        packets = [p for p in file.demux() if p.pts is not None and p.size]
        times = sorted(p.pts * p.time_base for p in packets if p.stream.type == "video")
        sound = sorted(
            (p.pts * p.time_base, hashlib.md5(bytes(p)).hexdigest()) for p in packets if p.stream.type == "audio"
        )
        return Facts((video.width, video.height), times, Fraction(file.duration or 0, 1_000_000), sound)


READERS = [
    pytest.param(by_pyav, id="pyav"),
    pytest.param(
        by_ffprobe, id="ffprobe", marks=pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe here")
    ),
]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Eight frames at uneven times, and sound that is longer."""
    options = {"codec": "libx264", "pixels": "yuv420p", "audio": "aac", "options": {"crf": "10"}}
    return make_video(tmp_path / "video.mp4", VFR, SIXHUNDREDTH, SIZE, **options)  # type: ignore[arg-type]


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    save_atlas(make_truth(SIZE, FRAMES).atlas(), tmp_path / "atlas")
    return tmp_path / "atlas"


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_an_edited_video_is_the_source_in_all_but_its_pixels(
    t2l: Callable[..., Run], video: Path, atlas: Path, reader: Callable[[Path], Facts], tmp_path: Path
) -> None:
    done = t2l("edit-video", video, "red object", "--atlas", atlas, *SHORT, "--roi", "object", "-o", "edit.mp4")
    assert done.returncode == 0, done.stderr
    done = t2l("composite", video, "--atlas", atlas, "--foreground", "edit-foreground.png", "-o", "again.mov")
    assert done.returncode == 0, done.stderr
    source = reader(video)
    assert source.times == [pts * SIXHUNDREDTH for pts in VFR]
    assert source.sound
    for name in ("edit.mp4", "again.mov"):
        out = reader(tmp_path / name)
        assert out.size == source.size
        assert out.times == source.times  # exactly, although they are uneven
        assert out.sound == source.sound  # the very packets, at the very times
        assert abs(out.duration - source.duration) < Fraction(1, 100)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_part_of_a_video_begins_at_zero_with_its_own_sound(
    t2l: Callable[..., Run], video: Path, reader: Callable[[Path], Facts], tmp_path: Path
) -> None:
    save_atlas(make_truth(SIZE, 4).atlas(), tmp_path / "part")
    done = t2l("edit-video", video, "red object", "--atlas", "part", *SHORT, "--roi", "object", "-o", "out.mp4")
    assert done.returncode == 2
    assert b"--frames a:b with 4 frames" in done.stderr
    done = t2l(
        "edit-video",
        video,
        "red object",
        "--frames",
        "2:6",
        "--atlas",
        "part",
        *SHORT,
        "--roi",
        "object",
        "-o",
        "out.mkv",
    )
    assert done.returncode == 0, done.stderr
    source, out = reader(video), reader(tmp_path / "out.mkv")
    assert out.size == source.size
    # Matroska counts milliseconds, and puts what begins before 0 later: the sound and the frames stay in step
    begin = out.times[0]
    for seen, was in zip(out.times, source.times[2:6], strict=True):
        assert abs((seen - begin) - (was - source.times[2])) <= Fraction(1, 1000)
    span = (source.times[2], source.times[6])
    expected = [(time - source.times[2], digest) for time, digest in source.sound if span[0] <= time < span[1]]
    assert [digest for _, digest in out.sound] == [digest for _, digest in expected]
    for (seen, _), (was, _) in zip(out.sound, expected, strict=True):
        assert abs((seen - begin) - was) <= Fraction(1, 1000)
