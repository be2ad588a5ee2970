"""Pictures with 16 bits per channel: read through OpenCV, since Pillow has 8; and written as PNG."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo, putchunk

from t2l_cli.media.compositing import Bytes, Deep, Pixels, flattened, strips

FORMATS = ("PNG", "TIFF")  # that are read with 16 bits, by Pillow's names

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OF_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels -> grey, RGB, RGBA (PNG specification, 11.2.1)
_SUB, _UP, _PAETH = 1, 2, 4  # filter types (9.2)
_LEVEL = 4  # of zlib, as for PNGs of 8 bits
_TURNS: dict[int, tuple[bool, bool, bool]] = {  # EXIF's orientation -> exchange the axes, then mirror in x, in y
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def read_deep(file: BinaryIO, orientation: int, shown: Bytes, alpha: Bytes | None) -> Deep | None:
    """The 16-bit pixels of a PNG or TIFF: (H, W, 3), or (H, W, 4) with straight alpha; upright.

    shown, alpha: what Pillow has read of it, (H, W, 3) and (H, W) in 8 bits. None where OpenCV reads something else,
    such as colours that it converted or alpha that it multiplied in.
    """
    pixels = _decoded(np.frombuffer(_bare(file.read()), np.uint8))
    if pixels is None or pixels.dtype != np.uint16:
        return None
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    else:
        for rows in strips(pixels.shape):
            pixels[rows, :, :3] = pixels[rows, :, 2::-1].copy()  # OpenCV's order is blue, green, red
    if orientation in _TURNS:
        swap, mirror_x, mirror_y = _TURNS[orientation]
        pixels = pixels.transpose(1, 0, 2) if swap else pixels
        pixels = np.ascontiguousarray(pixels[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1])
    deep: Any = pixels
    return deep if _agree(deep, shown, alpha) else None


def high_bytes(deep: Deep) -> Bytes:
    """The higher byte of every value: ``deep`` in 8 bits, as Pillow reads it, in the same memory."""
    place = 1 if sys.byteorder == "little" else 0
    return deep.view(np.uint8)[..., place::2]


def _bare(data: bytes) -> bytes:
    """Of a PNG, the chunks that its pixels are made of; any other file as it is.

    libpng writes to stderr about each odd chunk, and OpenCV does not let it be told otherwise.
    """
    if not data.startswith(_SIGNATURE):
        return data
    whole, parts, at, kind = memoryview(data), [memoryview(_SIGNATURE)], len(_SIGNATURE), b""
    while at < len(data) and kind != b"IEND":
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")  # 12: all but its data
        if kind in _OF_PIXELS:
            parts.append(whole[at:end])
        at = end
    return b"".join(parts)


def _decoded(data: Bytes) -> Any:
    """What OpenCV decodes, without its lines about odd tags on stderr; None if that fails."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _agree(deep: Deep, shown: Bytes, alpha: Bytes | None) -> bool:
    if deep.shape != (*shown.shape[:2], 3 if alpha is None else 4):
        return False
    small = flattened(deep)
    for rows in strips(deep.shape):
        whole = shown[rows] if alpha is None else np.dstack([shown[rows], alpha[rows]])
        if np.abs(small[rows].astype(np.int16) - whole).max() > 1:  # Pillow cuts the lower bits off
            return False
    return True


def encode_png(pixels: Pixels, icc: bytes | None, exif: bytes | None, texts: PngInfo | None) -> bytes:
    """Encode ``pixels``, (H, W), (H, W, 3) or (H, W, 4) uint16, as a PNG, with a few rows in memory at a time."""
    height, width, channels = (*pixels.shape, 1)[:3]
    file = io.BytesIO()
    file.write(_SIGNATURE)
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0))
    if icc:
        putchunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    for kind, data, *_ in texts.chunks if texts else ():
        putchunk(file, kind, data)
    if exif:
        putchunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
    packer = zlib.compressobj(_LEVEL)
    for lines in _filtered(pixels, 2 * channels):
        if packed := packer.compress(lines.tobytes()):
            putchunk(file, b"IDAT", packed)
    putchunk(file, b"IDAT", packer.flush())
    putchunk(file, b"IEND", b"")
    return file.getvalue()


def _filtered(pixels: Pixels, step: int) -> Iterator[Bytes]:
    """The rows of ``pixels`` in strips, each after the number of the filter that makes it smallest (9.2, 12.7).

    step: bytes per pixel.
    """
    above: Bytes | None = None  # the last row of the strip before
    for rows in strips(pixels.shape):
        strip = np.ascontiguousarray(pixels[rows], ">u2")
        raw = strip.reshape(len(strip), -1).view(np.uint8)
        up = np.vstack([np.zeros_like(raw[:1]) if above is None else above, raw[:-1]])
        left, corner = (np.pad(bytes_, ((0, 0), (step, 0)))[:, :-step] for bytes_ in (raw, up))
        choices = {_SUB: raw - left, _UP: raw - up, _PAETH: raw - _paeth(left, up, corner)}
        sizes = [np.abs(lines.view(np.int8).astype(np.int16)).sum(1, dtype=np.int64) for lines in choices.values()]
        best = np.argmin(sizes, axis=0)
        lines = np.empty((len(raw), 1 + raw.shape[1]), np.uint8)
        for number, (kind, choice) in enumerate(choices.items()):
            lines[best == number, 0] = kind
            lines[best == number, 1:] = choice[best == number]
        above = raw[-1:].copy()
        yield lines


def _paeth(left: Bytes, up: Bytes, corner: Bytes) -> Bytes:
    """Of the three neighbours, the one nearest to left + up - corner (9.4)."""
    a, b, c = (values.astype(np.int16) for values in (left, up, corner))
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    return np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, up, corner))


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation of an opened ``image``; 1 where it has none, or none that can be read."""
    try:
        return int(image.getexif().get(274, 1))
    except Exception:  # broken EXIF raises whatever its bytes provoke
        return 1
