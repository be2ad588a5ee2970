"""Cases about videos: videos in every container, folders of frames, playlists; whole and damaged."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
from PIL import Image

from tests.fuzz import atlases, damage, pictures, texts
from tests.fuzz.case import SHORT, Case, words
from tests.fuzz.dice import Dice
from tests.tiny_videos import SIXHUNDREDTH, VFR, make_sound, make_video, no_frames, set_matrix

# suffix -> settings of make_video, any of them
KINDS: dict[str, tuple[dict[str, Any], ...]] = {
    ".mp4": (
        {},
        {"codec": "libx264", "pixels": "yuv420p"},
        {"codec": "mpeg4", "pixels": "yuv420p"},
        {"audio": "aac"},
        {"times": VFR[: atlases.FRAMES], "time_base": SIXHUNDREDTH},
    ),
    ".mkv": (
        {},
        {"codec": "ffv1", "pixels": "yuv420p10le"},
        {"codec": "libx264", "pixels": "yuv444p", "audio": "flac"},
    ),
    ".mov": ({"codec": "prores_ks", "pixels": "yuva444p10le"}, {"codec": "mjpeg", "pixels": "yuvj420p"}),
    ".avi": ({"codec": "mjpeg", "pixels": "yuvj420p"}, {"codec": "mpeg4", "pixels": "yuv420p"}),
    ".gif": ({"codec": "gif", "pixels": "rgb8"},),
    ".webm": ({"codec": "libvpx", "pixels": "yuv420p"},),
    ".ts": ({"codec": "mpeg2video", "pixels": "yuv420p"},),
    ".apng": ({"codec": "apng", "pixels": "rgb24"},),
}
# bitexact: without it some containers hold a random number
_USUAL = {"times": range(atlases.FRAMES), "size": atlases.SIZE, "container": {"fflags": "+bitexact"}}
_TURNS = ((0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (0, 0, 0, 0))


def any_video(dice: Dice, folder: Path) -> Case:
    """A video of any kind, damaged in one of three, to every command that reads one."""
    case = Case(folder)
    atlases.furnish(folder)
    kind = dice.randrange(10)
    if kind < 6:
        video = _file(dice, case)
    elif kind < 8:
        video = _frames(dice, case)
    else:
        video = _no_video(dice, case)
    _line(dice, case, video)
    return case


def _file(dice: Dice, case: Case) -> str:
    suffix = dice.choice(list(KINDS))
    settings = dict(dice.choice(KINDS[suffix]))
    if dice.maybe(0.15):
        settings["size"] = dice.one((47, 31), (16, 16), (14, 14), (200, 17), (32, 48))
    if dice.maybe(0.1):
        settings["times"] = dice.one([0], [0, 1], range(9), [0, 5, 5 * 10**8])
    path = case.folder / texts.name(dice, suffix, odd=0.15)
    if not {"size", "times"} & set(settings) and suffix != ".ts":  # three frames of it are too few to be recognised
        case.due(0, "the video is whole and the atlas's")
    try:
        make_video(path, **(_USUAL | settings))
    except (av.error.FFmpegError, ValueError, OSError):  # a size that the codec does not take, a name like a protocol
        case.put(path.name, (case.folder / "video.mp4").read_bytes())
        case.code = None
    if suffix == ".mp4" and dice.maybe(0.15):
        case.code = None
        with contextlib.suppress(ValueError):  # its index is laid out otherwise
            set_matrix(path, dice.choice(_TURNS))
    if dice.maybe(0.4):
        case.code = None
        case.put(path.name, damage.damaged(dice, path.read_bytes(), dice.one(None, None, 100, 1000)))
    return path.name


def _frames(dice: Dice, case: Case) -> str:
    """A folder of frames, with things among them that are none or do not fit."""
    name = texts.name(dice, "", odd=0.2).replace("photo", "frames")
    for t in range(dice.one(0, 1, 3, 3, 3, 3, 12)):
        form = dice.one("PNG", "PNG", "JPEG")
        size = atlases.SIZE if dice.maybe(0.95) else (33, 33)
        suffix = pictures.FORMATS[form][0]
        case.put(f"{name}/{dice.one('', '', 'frame', '0')}{t}{suffix}", pictures.plain(size, form))
    for extra in dice.some((".DS_Store", "notes.txt", "sub/1.png", ".1.png", "2.PNG", "3.xyz"), 2):
        case.put(f"{name}/{extra}", pictures.plain(atlases.SIZE))
    if dice.maybe(0.25):
        made = pictures.make(dice)
        case.put(f"{name}/1{made.suffix}", made.data)
    (case.folder / name).mkdir(exist_ok=True)
    return name


def _no_video(dice: Dice, case: Case) -> str:
    """What must not be taken for a video; playlists above all, which would read other files."""
    name = dice.one("list", "video") + dice.one(".mp4", ".m3u8", ".txt", ".ffconcat", ".mkv")
    if (case.folder / name).exists():
        name = "list" + name
    other = dice.one("video.mp4", str(case.folder / "video.mp4"), f"file:{case.folder / 'video.mp4'}")
    playlists: tuple[Callable[[], bytes], ...] = (
        lambda: f"ffconcat version 1.0\nfile {other}\n".encode(),
        lambda: f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n".encode(),
        lambda: f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n".encode(),  # a stream without an end
        lambda: f"<MPD><Period><BaseURL>{other}</BaseURL></Period></MPD>".encode(),
        lambda: pictures.plain(atlases.SIZE),
        lambda: dice.randbytes(dice.one(0, 1, 5000)),
        lambda: b"1\n00:00:00,000 --> 00:00:01,000\nswan\n",
        lambda: _made(make_sound, case, ".wav"),
        lambda: _made(no_frames, case, ".avi"),
        lambda: _gif(),
    )
    choice = dice.randrange(len(playlists))
    case.put(name, playlists[choice]())
    if choice < len(playlists) - 1:
        case.due(2, "this is no video")
    return name


def _made(maker: Callable[[Path], Path], case: Case, suffix: str) -> bytes:
    path = maker(case.folder / f"made{suffix}")
    data = path.read_bytes()
    path.unlink()
    return data


def _gif() -> bytes:
    """An animation under the name of a video."""
    out = io.BytesIO()
    frames = [Image.new("RGB", atlases.SIZE, (80 * t, 0, 0)) for t in range(atlases.FRAMES)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


def _line(dice: Dice, case: Case, video: str) -> None:
    """A command for ``video``."""
    output = dice.one("out.mp4", "out.mkv", "out.mov", "out")
    codec = dice.choice(([], [], ["--codec=lossless"], ["--codec=prores"]))
    frames = ["--frames", dice.one("0:3", "0:2", ":", "-3:", "1:2")] if dice.maybe(0.2) else []
    commands = (
        words("composite", codec, frames, "--atlas=atlas", "--foreground=fg.png", "-o", output, "--", video),
        words("composite", codec, frames, "--atlas=atlas", "--paint=paint.png", "-o", output, "--", video),
        words("edit-video", codec, frames, "--atlas=atlas", SHORT, "-o", output, "--", video, "red"),
        words("render-atlas", "atlas", f"--video={video}", "-o", "new"),
        words("edit-video", frames, SHORT, "-o", output, "--", video, "red"),
        words("fit-atlas", frames, "-o", "new", dice.choice(([], ["--run-dir=run"])), "--", video),
        words("fit-atlas", "-o", "new", f"--mask={video}", "--", "video"),
        words("composite", "-o", "out.png", "--", video, "paint.png"),
    )
    command = dice.randrange(len(commands))
    case.argv = commands[command]
    case.output = case.value("--output", "-o")
    prores = codec == ["--codec=prores"] and output in ("out.mp4", "out.mkv")
    if case.code == 0 and (command > 3 or frames or prores):
        case.code = None
    elif case.code == 0 and command < 3:
        case.size, case.frames = atlases.SIZE, atlases.FRAMES
    if command == 7:
        case.code = None
