"""Reads pictures: any still picture that Pillow opens becomes 8-bit RGB, with a note about every conversion.

:mod:`t2l_cli.media.output` writes pictures; its functions can be imported from here, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import io
import re
import stat
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError, _imaging

from t2l_cli.errors import RequestError
from t2l_cli.media.colour import to_rgb
from t2l_cli.media.compositing import Bytes, strips
from t2l_cli.media.exif import portable_exif
from t2l_cli.media.output import check_output, save_layer, save_picture
from t2l_cli.media.paths import STDIO, reason, shown

__all__ = [
    "Picture",
    "check_output",
    "load_layer",
    "load_mask",
    "load_picture",
    "mask_of",
    "picture_of",
    "save_layer",
    "save_picture",
]

MAX_PIXELS = 300_000_000  # px; a header that claims more is taken for a decompression bomb
MAX_PIPED = 1 << 30  # maximum bytes from a pipe: more than 300 megapixels of uncompressed 8-bit RGB
MIN_PICTURE_SIDE = 16  # px; smaller pictures hold nothing to edit
_MAX_PNG_TEXT = 64 << 20  # bytes of an unpacked profile or text; by default, Pillow refuses more than one megabyte


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright, in 8 bits."""

    rgb: Bytes  # (H, W, 3)
    alpha: Bytes | None = None  # (H, W), straight; None: the file had no transparency
    icc: bytes | None = None  # RGB profile of the pixels; None: sRGB
    exif: bytes | None = None  # without orientation, thumbnail and the file's own structure
    notes: tuple[str, ...] = ()  # what was converted or left out, one phrase each

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.rgb.shape[0], self.rgb.shape[1]


def load_picture(path: str | Path) -> Picture:
    """Read a picture from a file, or from stdin for '-'.

    EXIF orientation is applied. Every mode becomes 8-bit RGB; an alpha channel is kept separately. Of an animation the
    first frame is read. RGB profiles are kept, pictures with other profiles are converted to sRGB. Raises RequestError,
    in one line with the path, for anything that is not a readable picture of at least 16 x 16 px and at most 300
    megapixels.
    """
    with _opened(path) as file, _decoding(path):
        picture = _decode(file, path)
    return _large_enough(picture, shown(path))


def picture_of(image: Image.Image) -> Picture:
    """A Pillow ``image`` as :func:`load_picture` would read it from a file."""
    with _decoding("the picture"):
        picture = _upright(image.copy(), _bits(image))
    return _large_enough(picture, "the picture")


def _large_enough(picture: Picture, name: str) -> Picture:
    height, width = picture.size
    if min(width, height) < MIN_PICTURE_SIDE:
        least = f"{MIN_PICTURE_SIDE} x {MIN_PICTURE_SIDE}"
        raise RequestError(f"{name} is {width} x {height} pixels, which is too small to edit: {least} at least.")
    return picture


def load_layer(path: str | Path) -> tuple[Bytes, Bytes]:
    """Read an edit layer: rgb (H, W, 3) and straight alpha (H, W), uint8. RequestError if it has no alpha."""
    picture = load_picture(path)
    if picture.alpha is None:
        raise RequestError(f"{shown(path)} has no alpha channel and would hide the whole picture; give an RGBA PNG.")
    return picture.rgb, picture.alpha


def load_mask(path: str | Path, size: tuple[int, int]) -> Bytes:
    """Read a mask from a file, as :func:`mask_of`."""
    return mask_of(load_picture(path), size, shown(path))


def mask_of(picture: Picture, size: tuple[int, int], name: str) -> Bytes:
    """``picture`` as a mask for a picture of ``size`` (H, W): (H, W) uint8, 255 where the edit may be.

    The mask is the brightness of ``picture`` times its alpha, resized to ``size``. Raises RequestError, which calls the
    mask ``name``, if the aspect ratios differ by more than 2 %.
    """
    (height, width), (wanted_height, wanted_width) = picture.size, size
    if abs(width * wanted_height / (height * wanted_width) - 1) > 0.02:
        raise RequestError(
            f"the mask {name} is {width} x {height} pixels and the picture {wanted_width} x {wanted_height}: "
            "the two must have the same shape."
        )
    mask = np.empty((height, width), np.uint8)
    for rows in strips(mask.shape):
        grey = Image.fromarray(picture.rgb[rows]).convert("L")
        if picture.alpha is not None:
            grey = Image.composite(grey, Image.new("L", grey.size), Image.fromarray(picture.alpha[rows]))
        mask[rows] = np.asarray(grey)
    if picture.size == size:
        return mask
    return np.array(Image.fromarray(mask).resize((wanted_width, wanted_height), Image.Resampling.BILINEAR))


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """A seekable stream of the file's bytes; RequestError if it cannot be read or is empty."""
    try:
        with contextlib.ExitStack() as stack:
            if str(path) == STDIO:
                file = _drained(sys.stdin.buffer, path)
            else:
                mode = Path(path).stat().st_mode
                if stat.S_ISDIR(mode):
                    raise RequestError(f"{shown(path)} is a folder; name a picture in it.")
                if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                    raise RequestError(f"{shown(path)} is not a file.")
                file = stack.enter_context(Path(path).open("rb"))
                if stat.S_ISFIFO(mode):  # such as a shell's <(command); Pillow needs to seek
                    file = _drained(file, path)
            if not file.read(1):
                if str(path) == STDIO:
                    raise RequestError("nothing came on the standard input: pipe a picture into it or name a file.")
                raise RequestError(f"{shown(path)} is empty.")
            file.seek(0)
            yield file
    except FileNotFoundError as error:
        raise RequestError(f"there is no file {shown(path)}.") from error
    except OSError as error:
        raise RequestError(f"cannot read {shown(path)}: {reason(error)}.") from error
    except ValueError as error:  # a null byte in the name
        raise RequestError(f"{shown(path)} is not a file name.") from error


def _drained(stream: BinaryIO, path: str | Path) -> BinaryIO:
    """The whole content of a pipe; RequestError above MAX_PIPED, because some pipes never end."""
    whole = io.BytesIO()
    while chunk := stream.read(1 << 20):
        whole.write(chunk)
        if whole.tell() > MAX_PIPED:
            raise RequestError(
                f"more than {MAX_PIPED >> 30} GB came from {shown(path)}; name a file to read a picture that large."
            )
    whole.seek(0)
    return whole


@contextlib.contextmanager
def _decoding(path: str | Path) -> Iterator[None]:
    """Turn whatever Pillow raises into one line, and suppress its warnings."""
    limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = MAX_PIXELS, _MAX_PNG_TEXT
            yield
    except RequestError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        count = f"{int(pixels[1]):,}" if pixels else "too many"
        raise RequestError(f"{shown(path)} claims {count} pixels; the limit is {MAX_PIXELS:,}.") from error
    except UnidentifiedImageError as error:
        raise RequestError(f"{shown(path)} is not a picture in any format that t2l reads.") from error
    except MemoryError as error:
        raise RequestError(f"{shown(path)} does not fit into memory.") from error
    except Exception as error:  # Pillow's readers raise almost anything on broken files
        raise RequestError(f"{shown(path)} is damaged or cut short and cannot be read as a picture.") from error
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = limits


def _decode(file: BinaryIO, path: str | Path) -> Picture:
    notes: list[str] = []
    _silence_libtiff()
    _verify_png(file)
    with Image.open(file) as image:
        if image.format == "EPS":  # Pillow would run Ghostscript on it
            raise RequestError(f"{shown(path)} is a PostScript drawing, not a photo; export it as PNG.")
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # MPO: a phone's JPEG followed by its previews
            kind = "an animation" if getattr(image, "is_animated", False) and image.format != "TIFF" else "a file"
            notes.append(f"{kind} of {frames} pictures: the first one is used")
        picture = _upright(image, _bits(image))
    return dataclasses.replace(picture, notes=(*notes, *picture.notes))


def _upright(image: Image.Image, bits: int) -> Picture:
    """``image``, which has ``bits`` per channel in its file, upright and in 8 bits; ``image`` itself may be changed."""
    image.load()  # before getexif(), which also loads a PNG: damaged pixels must not be reported as damaged EXIF
    exif, exif_note = portable_exif(image)
    with contextlib.suppress(Exception):  # an orientation that cannot be read is none
        ImageOps.exif_transpose(image, in_place=True)
    rgb, alpha, icc, colour_notes = to_rgb(image, bits)
    return Picture(rgb, alpha, icc, exif, (*colour_notes, *exif_note))


def _verify_png(file: BinaryIO) -> None:
    """If ``file`` is a PNG with a wrong checksum, let Pillow raise its error; its decoder ignores checksums."""
    with contextlib.suppress(UnidentifiedImageError), Image.open(file, formats=["PNG"]) as image:
        image.verify()
    file.seek(0)


@functools.cache
def _silence_libtiff() -> None:
    """Stop libtiff from writing to stderr about every odd tag. Pillow still raises an error for what it cannot read.

    Pillow has no function for this, so libtiff's own are looked up in the library that it has loaded. If libtiff is
    built into Pillow (on Windows), they cannot be found, and the lines still appear.
    """
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(_imaging.__file__)
        for handler in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            handler.restype = ctypes.c_void_p
            handler(None)


def _bits(image: Image.Image) -> int:
    """Bits per channel in the file. Pillow silently opens 16-bit RGB as 8-bit; the decoder's arguments tell."""
    for tile in getattr(image, "tile", ()):  # (codec, box, offset, args): args has the raw mode, PPM's the maximum
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if ";16" in str(args[0]) or (tile[0].startswith("ppm") and args[-1] > 255):
            return 16
    return 8
