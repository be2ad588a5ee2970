"""Tiny videos for the tests, made with PyAV itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from t2l_cli.media.compositing import Bytes

VFR = (0, 24, 50, 70, 110, 130, 170, 200)  # uneven times, in ticks of 1/600 s
SIXHUNDREDTH = Fraction(1, 600)


def picture(index: int, size: tuple[int, int] = (64, 48)) -> Bytes:
    """A smooth picture of ``size`` (width, height), without symmetry, that changes with ``index``."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 200 // width + 20, y * 150 // height + 10 * index + 10, (x + y) * 200 // (width + height) + 30)
    return np.stack(channels, axis=-1).astype(np.uint8)


def make_video(
    path: Path,
    times: Iterable[int] = range(8),
    time_base: Fraction = Fraction(1, 25),
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264rgb",
    pixels: str = "rgb24",
    audio: str | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    colours: dict[str, int] | None = None,
    **settings: Any,
) -> Path:
    """Write ``picture(0)``, ``picture(1)`` ... at ``times``; with 20 packets of noise in codec ``audio``.

    ``colours``: colorspace and color_range of both the conversion and the tags. ``settings`` go to the encoder.
    """
    with av.open(str(path), "w", options=container or {}) as out:
        stream: Any = out.add_stream(codec, rate=25, options=options if options is not None else {"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.time_base = stream.codec_context.time_base = time_base
        for name, value in {**(colours or {}), **settings}.items():
            setattr(stream.codec_context, name, value)
        sound = _audio_stream(out, audio)
        for index, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(index, size), "rgb24")
            if pixels != "rgb24":
                to = {f"dst_{key}": value for key, value in (colours or {}).items()}
                frame = frame.reformat(format=pixels, interpolation="AREA", **to)
            frame.pts, frame.time_base = pts, time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            _noise(out, sound)
    return path


def _audio_stream(out: Any, codec: str | None) -> Any:
    if codec is None:
        return None
    stream = out.add_stream(codec, rate=48_000)
    stream.layout = "mono"
    return stream


def _noise(out: Any, stream: Any, packets: int = 20) -> None:
    rng = np.random.default_rng(0)
    samples = stream.codec_context.frame_size or 1024
    form = stream.codec_context.format.name
    for index in range(packets):
        wave = rng.uniform(-0.2, 0.2, (1, samples))
        data = {
            "flt": wave.astype(np.float32),
            "s16": (wave * 32_767).astype(np.int16),
            "u8": (wave * 127 + 128).astype(np.uint8),
        }[form.removesuffix("p")]
        frame = av.AudioFrame.from_ndarray(data, form, "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, index * samples, Fraction(1, 48_000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def make_sound(path: Path, codec: str = "pcm_s16le") -> Path:
    """A file of noise without pictures."""
    with av.open(str(path), "w") as out:
        _noise(out, _audio_stream(out, codec))
    return path


def no_frames(path: Path) -> Path:
    """A video track that announces itself and holds nothing."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        out.start_encoding()
    return path


def set_matrix(path: Path, matrix: Sequence[int]) -> Path:
    """Give the one track of an mp4 the display matrix (a, b, c, d)."""
    data = path.read_bytes()

    def rows(a: int, b: int, c: int, d: int) -> bytes:
        return b"".join(int(v).to_bytes(4, "big", signed=True) for v in (a << 16, b << 16, 0, c << 16, d << 16, 0))

    place = data.rindex(rows(1, 0, 0, 1))  # the movie's own comes first
    path.write_bytes(data[:place] + rows(*matrix) + data[place + 24 :])
    return path


def packets(path: Path, kind: str = "audio") -> list[tuple[Fraction, bytes]]:
    """(start in seconds, bytes) of every packet of the first ``kind`` track."""
    with av.open(str(path)) as file:
        found = []
        for packet in file.demux(getattr(file.streams, kind)[0]):
            if packet.size and packet.pts is not None:
                found.append((packet.pts * packet.time_base, bytes(packet)))
        return found
