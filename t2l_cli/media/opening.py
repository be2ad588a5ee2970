"""Opens pictures: a file or a pipe as a seekable stream, and what Pillow raises about it as one line for the user."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import re
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image, PngImagePlugin, UnidentifiedImageError, _imaging

from t2l_cli.errors import RequestError
from t2l_cli.media.long_xmp import whole_packet
from t2l_cli.media.paths import STDIO, reason, sha256_of, shown

MAX_PIXELS = 300_000_000  # px; a header that claims more is taken for a decompression bomb
MAX_PIPED = 1 << 30  # maximum bytes from a pipe: more than 300 megapixels of uncompressed 8-bit RGB
_RECOGNISED_ONLY = {"BUFR", "GRIB", "HDF5", "MPEG"}  # formats that Pillow names but does not decode
_COLLECTIONS = {"TIFF", "HEIF", "MPO"}  # formats whose files hold several pictures that are no animation
_PSD_XMP = 1060  # image resource
_MAX_PNG_TEXT = 64 << 20  # bytes of an unpacked profile or text; by default, Pillow refuses more than one megabyte


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
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


def sha256_if_file(path: str | Path) -> str | None:
    """SHA-256, in hexadecimal, of a regular file's bytes; None where there is none, or it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        if stat.S_ISREG(Path(path).stat().st_mode):
            return sha256_of(path)
    return None


@contextlib.contextmanager
def decoding(path: str | Path) -> Iterator[None]:
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


@functools.cache
def register_formats() -> None:
    """Teach Pillow HEIF, the photos of phones, which it does not read by itself."""
    import pillow_heif

    pillow_heif.register_heif_opener()


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes, in small letters, of the picture formats that are read."""
    register_formats()
    formats = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in formats if name in Image.OPEN and name not in _RECOGNISED_ONLY)


def moves(image: Image.Image) -> bool:
    """Whether an opened ``image`` is an animation."""
    return getattr(image, "is_animated", False) and image.format not in _COLLECTIONS


def is_still(path: Path) -> bool:
    """Whether a file is a picture, not a video or an animation: by its suffix and its header.

    Also where the header is damaged; whoever reads the picture says so.
    """
    suffix = path.suffix.lower()
    if suffix and suffix not in suffixes():
        return False
    try:
        register_formats()
        with decoding(path), Image.open(path) as image:
            return not moves(image)
    except RequestError:
        return bool(suffix)


def open_image(file: BinaryIO, path: str | Path) -> Image.Image:
    """The picture in ``file``, before its pixels are read. To be called within :func:`decoding`, for what it raises."""
    register_formats()
    _silence_libtiff()
    _verify_png(file)
    image = Image.open(file)
    if image.format == "EPS":  # Pillow would run Ghostscript on it
        image.close()
        raise RequestError(f"{shown(path)} is a PostScript drawing, not a photo; export it as PNG.")
    return image


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


def xmp_of(image: Image.Image) -> tuple[bytes | str | None, tuple[str, ...]]:
    """The XMP packet of an opened ``image``, whole if it can be had; and notes. None if it has none."""
    resources = getattr(image, "resources", ()) if image.format == "PSD" else ()
    packet = next((data for number, _, data in resources if number == _PSD_XMP), None) or image.info.get("xmp")
    try:
        segments = [data for name, data in getattr(image, "applist", ()) if name == "APP1"]
        return whole_packet(packet, segments), ()
    except Exception:  # whatever the bytes of a broken packet provoke
        return packet, ("a part of its XMP data is missing or damaged and was left out",)


def bits_of(image: Image.Image) -> int:
    """Bits per channel in the file. Pillow silently opens 16-bit RGB as 8-bit; the decoder's arguments tell."""
    for tile in getattr(image, "tile", ()):  # (codec, box, offset, args): args has the raw mode, PPM's the maximum
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if ";16" in str(args[0]) or (tile[0].startswith("ppm") and args[-1] > 255):
            return 16
    return int(image.info.get("bit_depth", 8)) if image.format == "HEIF" else 8
