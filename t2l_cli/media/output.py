"""Pictures out: suffix to format, the checks before any work, and the writing itself."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media.atomic import write_atomically
from t2l_cli.media.compositing import Bytes, Pixels, Rows, composite, rgba, strips
from t2l_cli.media.paths import STDIO, reason, shown


@dataclass(frozen=True)
class Format:
    """What Pillow needs to write a suffix, and what the format can hold."""

    name: str  # Pillow's name
    options: dict[str, Any]
    alpha: bool = True
    tags: bool = True  # carries an ICC profile and EXIF
    max_side: int = 2**31 - 1  # px


_JPEG = Format("JPEG", {"quality": 95, "subsampling": 0}, alpha=False, max_side=65_500)
_TIFF = Format("TIFF", {"compression": "tiff_adobe_deflate"})
_PNG = Format("PNG", {"compress_level": 4})  # level 6 takes up to twice the time for some 3 %

FORMATS: dict[str, Format] = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format("WEBP", {"quality": 95, "method": 4}, max_side=16_383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".avif": Format("AVIF", {"quality": 90}, max_side=65_535),
    ".bmp": Format("BMP", {}, alpha=False, tags=False),
}
"""Picture formats that can be written, by suffix."""


def check_output(
    path: str | Path, overwrite: bool, source: str | Path | None = None, size: tuple[int, int] | None = None
) -> None:
    """Raise RequestError, before any work, where :func:`save_picture` could not or should not write ``path``.

    Unknown suffix, missing or unwritable folder, an existing file without ``overwrite``, the ``source`` itself
    (another name for the same file included), a ``size`` (width, height) that the format cannot hold, and picture
    bytes into a terminal.
    """
    if str(path) == STDIO:
        if sys.stdout.isatty():
            raise RequestError("-o - writes a PNG to the standard output, which is a terminal here: add > picture.png.")
        return
    path = Path(path)
    form = format_of(path)
    if size is not None and max(size) > form.max_side:
        raise RequestError(f"{form.name} holds at most {form.max_side} pixels a side; use .png for {shown(path)}.")
    check_place(path, overwrite, source)


def check_place(path: Path, overwrite: bool, source: str | Path | None, folder: bool = False) -> None:
    """RequestError where ``path``, a file or a ``folder``, cannot or should not be written.

    A missing or unwritable parent, something of the other kind in its place, an existing one without ``overwrite``, the
    ``source`` itself.
    """
    try:
        _check_place(path, overwrite, source, folder)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = reason(error) if isinstance(error, OSError) else "the name holds a zero byte"
        raise RequestError(f"cannot write {shown(path)}: {why}.") from error


def _check_place(path: Path, overwrite: bool, source: str | Path | None, folder: bool = False) -> None:
    parent = path.parent
    if not parent.is_dir():
        raise RequestError(f"the folder {shown(parent)} for {shown(path)} does not exist.")
    if path.is_dir() and not folder:
        raise RequestError(f"{shown(path)} is a folder; name a file in it.")
    if path.exists() and folder and not path.is_dir():
        raise RequestError(f"{shown(path)} is a file; name a folder.")
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    else:
        if source is not None and str(source) != STDIO and _same_file(path, Path(source)):
            raise RequestError(f"the output {shown(path)} is the input itself; choose another --output.")
        if not overwrite:
            raise RequestError(f"{shown(path)} exists; choose another --output or add --overwrite.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RequestError(f"the folder {shown(parent)} is not writable.")


def _same_file(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def format_of(path: str | Path) -> Format:
    """The format that the suffix of ``path`` asks for ('-' is PNG); RequestError for an unknown one."""
    if str(path) == STDIO:
        return _PNG
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        known = " ".join(FORMATS)
        what = f"the suffix {suffix} of {shown(path)} is not one" if suffix else f"{shown(path)} has no suffix"
        raise RequestError(f"{what} that t2l can write a picture for; use one of {known}.")
    return FORMATS[suffix]


def save_picture(
    path: str | Path,
    rgb: Pixels,
    alpha: Bytes | None = None,
    icc: bytes | None = None,
    exif: bytes | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write ``rgb`` (H, W, 3), or grey (H, W), and ``alpha`` (H, W), uint8, in the suffix's format; '-': PNG to stdout.

    Returns notes for the user: what the format could not hold. JPEG is written at quality 95, 4:4:4.
    Raises RequestError for an unknown suffix and OutputError where nothing could be written.
    """
    form = format_of(path)
    notes: list[str] = []
    if alpha is not None and not form.alpha:
        if alpha.min() < 255:
            rgb = _over_white(rgb, alpha)
            notes.append(f"{form.name} holds no transparency: {shown(path)} was flattened onto white")
        alpha = None
    if not form.tags and (icc or exif):
        notes.append(f"{form.name} holds no colour profile and no EXIF: {shown(path)} is without them")
        icc = exif = None
    pixels = rgb if alpha is None else rgba(rgb, alpha)
    _write(path, _encode(path, pixels, form, icc, exif), overwrite)
    return tuple(notes)


def save_layer(path: str | Path, layer: Pixels, overwrite: bool = False) -> None:
    """Write the edit ``layer``, (H, W, 4) uint8 with straight alpha (see ``compositing.rgba``), as a PNG."""
    if format_of(path) is not _PNG:
        raise RequestError(f"an edit layer is written as PNG; {shown(path)} has another suffix.")
    _write(path, _encode(path, layer, _PNG, None, None), overwrite)


def _encode(path: str | Path, pixels: Pixels, form: Format, icc: bytes | None, exif: bytes | None) -> bytes:
    # Encoded in memory: Pillow hides the cause (full disk) when its encoders write to a file themselves.
    buffer = io.BytesIO()
    options = dict(form.options)
    if form.tags and icc:
        options["icc_profile"] = icc
    if form.tags and exif:
        options["exif"] = exif
    try:
        _image(pixels).save(buffer, form.name, **options)
    except (OSError, ValueError) as error:
        raise OutputError(f"could not encode {shown(path)} as {form.name}: {error}.") from error
    return buffer.getvalue()


def _image(pixels: Pixels) -> Image.Image:
    """``pixels`` as Pillow takes them; those made by the row never lie in an array besides."""
    if not isinstance(pixels, Rows):
        return Image.fromarray(pixels)
    height, width, channels = pixels.shape
    image = Image.new("RGBA" if channels == 4 else "RGB", (width, height))
    for rows in strips(pixels.shape):
        image.paste(Image.fromarray(pixels[rows]), (0, rows.start))
    return image


def _write(path: str | Path, data: bytes, overwrite: bool) -> None:
    if str(path) != STDIO:
        write_atomically(path, data, overwrite)
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"could not write the picture to the standard output: {reason(error)}.") from error


def _over_white(rgb: Pixels, alpha: Bytes) -> Rows:
    def make(rows: slice) -> Bytes:
        strip = rgb[rows]
        return composite(np.full_like(strip, 255), strip, alpha[rows])

    return Rows(rgb.shape, make)
