"""Videos in: frames, times, colours and turns as they should be seen; one line for everything that is no video."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import GeneratorType

import av
import numpy as np
import pytest

from t2l_cli.errors import RequestError
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.output import save_picture
from t2l_cli.media.videos import VideoInfo, frame_digest, parse_span, probe, read_frames
from tests.tiny_videos import SIXHUNDREDTH, VFR, make_sound, make_video, no_frames, packets, picture, set_matrix


def frames_of(path: Path) -> list[Bytes]:
    return [frame.rgb for frame in read_frames(probe(path))]


def error(a: Bytes, b: Bytes) -> float:
    return float(np.abs(a.astype(int) - b).max())


def test_a_video_of_uneven_times(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", VFR, SIXHUNDREDTH, container={"video_track_timescale": "600"})
    info = probe(path)
    assert info == VideoInfo(path, 64, 48, 8, info.rate, SIXHUNDREDTH, audio=False)
    assert 20 < info.rate < 27
    frames = read_frames(info)
    assert isinstance(frames, GeneratorType)  # one at a time
    frames_read = list(frames)
    assert [frame.pts for frame in frames_read] == list(VFR)
    assert frames_read[0].duration == 24
    assert all(np.array_equal(frame.rgb, picture(i)) for i, frame in enumerate(frames_read))
    assert all(frame.rgb.flags.c_contiguous and frame.rgb.flags.writeable for frame in frames_read)


def test_frames_are_freed_without_the_collector(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "a.mkv", range(12), codec="libx264", pixels="yuv420p"))
    gc.collect()
    gc.disable()
    try:
        frames = read_frames(info)
        alive = [sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects()) for _ in frames]
    finally:
        gc.enable()
    assert 1 <= max(alive) <= 4


def test_a_span_is_those_frames(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "a.mkv", VFR, SIXHUNDREDTH))
    part = list(read_frames(info, (3, 6)))
    assert [frame.pts for frame in part] == [frame.pts for frame in read_frames(info)][3:6]
    assert np.array_equal(part[0].rgb, picture(3))


TURNS: list[tuple[tuple[int, int, int, int], str, Callable[[Bytes], Bytes]]] = [  # a point (x, y) -> (ax + cy, bx + dy)
    ((1, 0, 0, 1), "", lambda p: p),
    ((0, 1, -1, 0), "turned by 90 degrees", lambda p: np.rot90(p, -1)),
    ((-1, 0, 0, -1), "turned by 180 degrees", lambda p: np.rot90(p, 2)),
    ((0, -1, 1, 0), "turned by 270 degrees", lambda p: np.rot90(p, 1)),
    ((-1, 0, 0, 1), "mirrored", np.fliplr),
    ((1, 0, 0, -1), "mirrored", np.flipud),
    ((0, 1, 1, 0), "mirrored", lambda p: p.transpose(1, 0, 2)),
    ((0, -1, -1, 0), "mirrored", lambda p: np.rot90(p, 2).transpose(1, 0, 2)),
]


@pytest.mark.parametrize(("matrix", "words", "turn"), TURNS)
def test_frames_are_turned_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], words: str, turn: Callable[[Bytes], Bytes]
) -> None:
    path = set_matrix(make_video(tmp_path / "a.mp4", range(2)), matrix)
    info = probe(path)
    expected = turn(picture(0))
    assert (info.height, info.width) == expected.shape[:2]
    assert info.notes == ((f"{words} as its metadata says",) if words else ())
    assert np.array_equal(frames_of(path)[0], expected)


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p", "yuv444p10le"])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize("limited", [True, False])
def test_colours_by_the_videos_own_matrix_and_range(tmp_path: Path, pixels: str, matrix: int, limited: bool) -> None:
    colours = {"colorspace": matrix, "color_range": 1 if limited else 2}
    path = make_video(tmp_path / "a.mkv", range(1), codec="ffv1", pixels=pixels, colours=colours, options={})
    (frame,) = frames_of(path)
    worst = error(frame, picture(0))
    assert worst <= (6 if pixels == "yuv420p" else 2)
    assert abs(frame.mean() - picture(0).mean()) < 1
    assert probe(path).notes == (("10-bit, read as 8-bit",) if "10" in pixels else ())


@pytest.mark.parametrize(("size", "matrix"), [((64, 48), 5), ((1280, 720), 1), ((720, 576), 5)])
def test_untagged_colours_are_taken_as_players_do(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    tagged = {"colorspace": matrix, "color_range": 1}
    path = make_video(
        tmp_path / "a.mkv", range(1), size=size, codec="ffv1", pixels="yuv444p", colours=tagged, options={}
    )
    untagged = tmp_path / "untagged.nut"
    with av.open(str(path)) as source, av.open(str(untagged), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        for frame in source.decode(video=0):
            frame.colorspace, frame.color_range = 2, 0
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert error(frames_of(untagged)[0], picture(0, size)) <= 2


def test_odd_sizes_and_full_range_jpeg(tmp_path: Path) -> None:
    odd = make_video(tmp_path / "odd.mkv", range(2), size=(37, 29), codec="ffv1", pixels="yuv420p", options={})
    info = probe(odd)
    assert (info.width, info.height) == (37, 29)
    assert error(frames_of(odd)[1], picture(1, (37, 29))) < 12
    jpeg = make_video(
        tmp_path / "j.avi", range(2), codec="mjpeg", pixels="yuvj420p", options={"q": "2"}, qmin=1, qmax=2
    )
    assert abs(frames_of(jpeg)[0].mean() - picture(0).mean()) < 0.5


def test_times_always_rise(tmp_path: Path) -> None:
    for name in ("b.avi", "b.h264"):  # dts alone, and no times at all
        path = make_video(tmp_path / name, codec="libx264", pixels="yuv420p", options={"bf": "2"})
        info = probe(path)
        times = [frame.pts for frame in read_frames(info)]
        assert len(times) == info.frames == 8
        assert {(b - a) * info.time_base for a, b in itertools.pairwise(times)} == {Fraction(1, 25)}


def test_a_broadcast_recording_that_starts_between_key_frames(tmp_path: Path) -> None:
    options = {"g": "4", "bf": "0", "sc_threshold": "0"}
    path = make_video(tmp_path / "a.ts", range(12), codec="libx264", pixels="yuv420p", options=options, audio="aac")
    data = path.read_bytes()
    units = [data[i : i + 188] for i in range(0, len(data), 188)]
    starts = [i for i, unit in enumerate(units) if unit[1] & 0x40 and unit[1] & 0x1F == 1 and unit[2] == 0]
    (tmp_path / "late.ts").write_bytes(b"".join(units[: starts[0]] + units[starts[1] :]))
    info = probe(tmp_path / "late.ts")
    assert info.audio
    assert 8 <= info.frames <= 11
    assert len(list(read_frames(info))) == info.frames


def test_frames_that_the_decoder_patched_are_told(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", range(20), size=(128, 96), codec="libx264", pixels="yuv420p")
    data = path.read_bytes()
    tenth = packets(path, "video")[10][1]
    bad = tenth[: len(tenth) // 2] + bytes(byte ^ 0x55 for byte in tenth[len(tenth) // 2 :])
    path.write_bytes(data.replace(tenth, bad))
    (note,) = probe(path).notes
    assert "of 20 frames are damaged" in note


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.webm", "libvpx", "yuva420p"),
        ("a.mkv", "libvpx-vp9", "yuva420p"),
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mkv", "ffv1", "yuva420p"),
        ("a.mov", "qtrle", "argb"),
    ],
)
def test_transparency_that_is_left_out_is_said(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
    video = make_video(tmp_path / name, codec=codec, pixels=pixels, options=options)
    assert "transparency is left out" in probe(video).notes


def test_the_cover_of_a_sound_file_is_no_video(tmp_path: Path) -> None:
    save_picture(tmp_path / "cover.png", picture(0))
    with av.open(str(tmp_path / "song.mkv"), "w") as out:
        out.add_attachment("cover.png", "image/png", (tmp_path / "cover.png").read_bytes())
        stream = out.add_stream("pcm_s16le", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), "s16", "stereo")
        frame.sample_rate = 48_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(RequestError, match="holds no video"):
        probe(tmp_path / "song.mkv")


def test_a_folder_of_frames(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    names = ["f1.png", "f2.PNG", "f10.tiff"]
    for index, name in enumerate(names):
        alpha = np.full((48, 64), 200, np.uint8) if index == 1 else None
        save_picture(folder / name, picture(index), alpha)
    (folder / ".hidden.png").write_text("no picture")
    (folder / "notes.txt").write_text("no picture")
    (folder / "more.png").mkdir()
    info = probe(folder)
    assert info == VideoInfo(
        folder, 64, 48, 3, Fraction(25), Fraction(1, 25), False, tuple(names), ("transparency is left out",)
    )
    frames = list(read_frames(info, (1, 3)))
    assert [(frame.pts, frame.duration) for frame in frames] == [(1, 1), (2, 1)]
    assert np.array_equal(frames[1].rgb, picture(2))


def test_bad_folders(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    with pytest.raises(RequestError, match="holds no pictures"):
        probe(folder)
    save_picture(folder / "1.png", picture(0))
    save_picture(folder / "2.png", picture(0, (64, 50)))
    with pytest.raises(RequestError, match=r"2\.png is 64 x 50 pixels and 1\.png 64 x 48: .* one size"):
        probe(folder)
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes()[:-200])
    with pytest.raises(RequestError, match=r"2\.png is damaged or cut short"):
        probe(folder)
    (folder / "2.png").unlink()
    save_picture(folder / "1.png", picture(0, (16_400, 16)), overwrite=True)
    with pytest.raises(RequestError, match="the limit is 16,384 a side"):
        probe(folder)


def broken(path: Path) -> Path:
    """An mp4, its index first, of which the end is missing."""
    path = make_video(path, range(30), options={"qp": "0", "g": "1"}, container={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    return path


def resized(path: Path) -> Path:
    """A stream whose frames grow after the third."""
    small = make_video(path.with_name("s.h264"), range(3), codec="libx264", pixels="yuv420p")
    large = make_video(path.with_name("l.h264"), range(3), size=(80, 48), codec="libx264", pixels="yuv420p")
    path.write_bytes(small.read_bytes() + large.read_bytes())
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def cut(path: Path) -> Path:
    """An mp4 of which the index, at the end, is missing."""
    make_video(path)
    return written(path, path.read_bytes()[:-400])


def device(path: Path) -> Path:
    os.mkfifo(path)
    return path


def test_a_file_cut_between_two_pictures_is_said_to_be_short(tmp_path: Path) -> None:
    path = make_video(tmp_path / "whole.mp4", range(12), container={"movflags": "faststart"})
    assert probe(path).notes == ()
    with av.open(str(path)) as container:
        ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
    short = written(tmp_path / "short.mp4", path.read_bytes()[: ends[7]])
    info = probe(short)
    assert info.frames == 8
    assert info.notes == ("8 frames could be read of the 12 in its index: the file may be cut short",)


REFUSED = "is not a video that t2l reads, or it is cut short; playlists are not followed"
DASH = b"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="1"
codecs="avc1" width="64" height="48"><BaseURL>other.ts</BaseURL></Representation></AdaptationSet></Period></MPD>"""
PLAYLISTS = {
    "ended.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n",
    "endless.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n",
    "remote.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "concat.txt": b"ffconcat version 1.0\nfile other.ts\n",
    "dash.mpd": DASH,
    "session.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [None, ".mp4", ".mkv"])
def test_playlists_are_not_followed_under_any_name(tmp_path: Path, kind: str, suffix: str | None) -> None:
    make_video(tmp_path / "other.ts", codec="libx264", pixels="yuv420p", options={})
    assert probe(tmp_path / "other.ts").frames == 8
    path = tmp_path / kind if suffix is None else (tmp_path / kind).with_suffix(suffix)
    path.write_bytes(PLAYLISTS[kind])
    with pytest.raises(RequestError, match=REFUSED):
        probe(path)


def test_a_name_is_no_pattern_of_other_files(tmp_path: Path) -> None:
    for index in range(3):
        save_picture(tmp_path / f"{index}.png", picture(index))
    (tmp_path / "%d.png").write_bytes((tmp_path / "0.png").read_bytes())
    with pytest.raises(RequestError, match="is a still picture"):
        probe(tmp_path / "%d.png")


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        *((f"a.{suffix}", "libx264", "yuv420p") for suffix in ("mp4", "mov", "3gp", "mkv", "ts", "m2ts", "flv", "nut")),
        *((f"a.{suffix}", "mpeg2video", "yuv420p") for suffix in ("mpg", "vob", "mxf", "m2v")),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.ivf", "libvpx-vp9", "yuv420p"),
        ("a.wmv", "wmv2", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.apng", "apng", "rgb24"),
        ("a.y4m", "wrapped_avframe", "yuv420p"),
        ("a.h264", "libx264", "yuv420p"),
        ("a.hevc", "libx265", "yuv420p"),
        ("a.mjpeg", "mjpeg", "yuvj420p"),
    ],
)
def test_the_kinds_of_files_that_people_have(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    info = probe(make_video(tmp_path / name, codec=codec, pixels=pixels, options={}))
    assert (info.width, info.height, info.frames) == (64, 48, 8)


BAD: list[tuple[str, Callable[[Path], Path], str]] = [
    ("gone.mp4", lambda path: path, "there is no file or folder"),
    ("empty.mp4", lambda path: written(path, b""), "is empty"),
    ("text.mp4", lambda path: written(path, b"not a video\n" * 99), REFUSED),
    ("text.txt", lambda path: written(path, b"not a video\n" * 99), REFUSED),
    ("sound.wav", make_sound, "holds no video"),
    ("photo.png", lambda path: (save_picture(path, picture(0)), path)[1], "is a still picture, not a video"),
    ("cut.mp4", cut, "is not a video that t2l reads, or it is cut short"),
    ("none.avi", no_frames, "holds no frame that can be decoded"),
    ("broken.mp4", broken, r"breaks after \d+ frames .*; repair it"),
    ("resized.h264", resized, "changes its size from 64 x 48 to 80 x 48 pixels at frame 3"),
    (
        "small.mkv",
        lambda path: make_video(path, size=(14, 48)),
        "14 x 48 pixels, which is too small .* 16 x 16 at least",
    ),
    (
        "large.mkv",
        lambda path: make_video(path, range(1), size=(16_400, 16), codec="ffv1", pixels="bgr0", options={}),
        "16400 x 16 pixels; the limit is 16,384 a side",
    ),
    ("fifo.mp4", device, "is neither a video file nor a folder"),
    ("zero\0.mp4", lambda path: path, "is not a file name"),
    ("line\nbreak.mp4", lambda path: path, "there is no file"),
]


@pytest.mark.parametrize(("name", "make", "words"), BAD, ids=[case[0] for case in BAD])
def test_what_is_no_video_gets_one_line(tmp_path: Path, name: str, make: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        probe(make(tmp_path / name))
    assert str(caught.value).isprintable()


def test_unreadable_and_standard_input(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot come from the standard input"):
        probe("-")
    path = make_video(tmp_path / "a.mp4", range(2))
    path.chmod(0)
    if os.geteuid() != 0:  # root reads everything
        with pytest.raises(RequestError, match="Permission denied"):
            probe(path)


def test_a_video_that_changed_since_it_was_opened(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", range(4))
    info = probe(path)
    make_video(path, range(3))
    with pytest.raises(RequestError, match="has changed since it was opened"):
        list(read_frames(info))
    make_video(path, range(4), size=(48, 64))
    with pytest.raises(RequestError, match="has changed"):
        list(read_frames(info))


def test_spans() -> None:
    for text, span in {
        None: (0, 9),
        ":": (0, 9),
        "2:": (2, 9),
        ":4": (0, 4),
        " 2 : 4 ": (2, 4),
        "-3:-1": (6, 8),
    }.items():
        assert parse_span(text, 9) == span
    for text in ("", "4", "a:b", "1:2:3", "1.5:3", "1" * 30 + ":"):
        with pytest.raises(RequestError, match=r"is not a range; write it as first:end"):
            parse_span(text, 9)
    for text, words in {
        "4:4": "no frame",
        "5:2": "no frame",
        "9:": "no frame",
        "0:10": "beyond",
        "-10:": "beyond",
    }.items():
        with pytest.raises(RequestError, match=words):
            parse_span(text, 9)


def test_digests_tell_frames_and_sizes_apart() -> None:
    one = picture(0)
    assert frame_digest(one) == frame_digest(one.copy()) == frame_digest(np.asfortranarray(one))
    assert len({frame_digest(p) for p in (one, picture(1), one.reshape(64, 48, 3))}) == 3
    assert len(frame_digest(one)) == 64
