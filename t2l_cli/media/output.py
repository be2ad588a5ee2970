"""Writes pictures: the format of a suffix, the checks before any work, and the writing itself."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from t2l_cli.errors import OutputError, RequestError, T2LError
from t2l_cli.media.atomic import write_atomically
from t2l_cli.media.compositing import Levels, Pixels, Rows, composite, rgba, strips
from t2l_cli.media.deep import encode_png
from t2l_cli.media.exif import lighter
from t2l_cli.media.iptc import photoshop_block
from t2l_cli.media.long_xmp import in_segments
from t2l_cli.media.paths import STDIO, reason, shown
from t2l_cli.media.places import check_place
from t2l_cli.media.tags import NOTHING, Tags, placed
from t2l_cli.media.texts import COMMENT, RECORD
from t2l_cli.media.tiff import encode_tiff
from t2l_cli.media.xmp import Mark, marked

_LONG_TEXT = 1000  # characters; a PNG's longer texts are compressed
_APP1, _APP13 = 0xE1, 0xED  # segments of a JPEG

Encoder = Callable[[Pixels, Tags], bytes]  # pixels (H, W, C), the rest -> the file


@dataclass(frozen=True)
class Format:
    """A format of pictures: how it is encoded, and what it can hold."""

    name: str  # Pillow's name
    encode: Encoder
    alpha: bool = True
    tags: bool = True  # carries an ICC profile, EXIF and XMP
    iptc: bool = False  # carries IPTC-IIM
    texts: bool = False  # carries any texts by keyword
    comment: bool = False  # carries one of them, the comment
    deep: bool = False  # holds 16 bits per channel
    max_side: int = 2**31 - 1  # px


def _by_pillow(name: str, **options: Any) -> Encoder:
    return partial(_encode_by_pillow, name, options)


def _encode_by_pillow(name: str, options: dict[str, Any], pixels: Pixels, tags: Tags) -> bytes:
    # Into memory: when Pillow's encoders write to a file themselves, they hide the cause of errors (a full disk).
    buffer = io.BytesIO()
    given: dict[str, Any] = {"icc_profile": tags.icc, "exif": tags.exif, "xmp": tags.xmp}
    _image(pixels).save(buffer, name, **options, **{key: value for key, value in given.items() if value})
    return buffer.getvalue()


def _encode_png(pixels: Pixels, tags: Tags) -> bytes:
    texts = _png_texts(tags)
    if pixels.dtype == np.uint16:
        return encode_png(pixels, tags.icc, tags.exif, texts)
    # Level 6 saves about 3 % and takes up to twice the time.
    return _encode_by_pillow("PNG", {"compress_level": 4, "pnginfo": texts}, pixels, replace(tags, xmp=None))


def _png_texts(tags: Tags) -> PngInfo:
    """The texts of a PNG; its XMP packet is one of them."""
    texts = PngInfo()
    if tags.xmp:
        texts.add_itxt("XML:com.adobe.xmp", tags.xmp.decode())
    if tags.record:
        texts.add_itxt(RECORD, tags.record)
    for name, text in tags.texts.items():
        texts.add_text(name, text, zip=len(text) > _LONG_TEXT)
    return texts


def _encode_jpeg(pixels: Pixels, tags: Tags) -> bytes:
    segments = [_segment(_APP1, part) for part in (in_segments(tags.xmp) if tags.xmp else ())]
    if tags.iptc:
        segments.append(_segment(_APP13, photoshop_block(tags.iptc)))
    options: dict[str, Any] = {"quality": 95, "subsampling": 0, "extra": b"".join(segments)}
    if COMMENT in tags.texts:
        options["comment"] = tags.texts[COMMENT].encode()
    return _encode_by_pillow("JPEG", options, pixels, replace(tags, xmp=None))


def _segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG; struct.error where ``data`` is too long for one."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


_JPEG = Format("JPEG", _encode_jpeg, alpha=False, iptc=True, comment=True, max_side=65_500)
_TIFF = Format("TIFF", encode_tiff, iptc=True, deep=True)
_PNG = Format("PNG", _encode_png, texts=True, deep=True)

FORMATS: dict[str, Format] = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format("WEBP", _by_pillow("WEBP", quality=95, method=4), max_side=16_383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".avif": Format("AVIF", _by_pillow("AVIF", quality=90), max_side=65_535),
    ".bmp": Format("BMP", _by_pillow("BMP"), alpha=False, tags=False),
}
"""Picture formats that can be written, by suffix."""


def check_output(
    path: str | Path,
    overwrite: bool,
    *inputs: str | Path | None,
    size: tuple[int, int] | None = None,
    more: tuple[str, ...] = (),
) -> None:
    """Raise RequestError, before any work, if :func:`save_picture` could not or should not write ``path``.

    Refused are an unknown suffix, what :func:`~t2l_cli.media.places.check_place` refuses, a ``size`` (H, W) that the
    format cannot hold, and writing a picture to a terminal. ``more``: suffixes to name that somebody else writes.
    """
    if str(path) == STDIO:
        if sys.stdout.isatty():
            raise RequestError("-o - writes a PNG to the standard output, which is a terminal here: add > picture.png.")
        return
    path = Path(path)
    form = format_of(path, more)
    if size is not None and max(size) > form.max_side:
        raise RequestError(f"{form.name} holds at most {form.max_side} pixels a side; use .png for {shown(path)}.")
    check_place(path, overwrite, *inputs)


def format_of(path: str | Path, more: tuple[str, ...] = ()) -> Format:
    """The format of the suffix of ``path`` (PNG for '-'); RequestError for an unknown suffix, which names ``more``."""
    if str(path) == STDIO:
        return _PNG
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        known = " ".join((*FORMATS, *more))
        what = f"the suffix {shown(suffix)} of {shown(path)} is not one" if suffix else f"{shown(path)} has no suffix"
        raise RequestError(f"{what} that t2l can write a picture for; use one of {known}.")
    return FORMATS[suffix]


def save_picture(
    path: str | Path,
    rgb: Pixels,
    alpha: Levels | None = None,
    beside: Tags = NOTHING,
    overwrite: bool = False,
    mark: Mark | None = None,
) -> tuple[str, ...]:
    """Write ``rgb`` (H, W, 3), or grey (H, W), and ``alpha`` (H, W), uint8, in the suffix's format; '-': PNG to stdout.

    For a PNG and a TIFF both may be uint16. ``beside``: what the source's file holds beside its pixels. The ``mark``,
    what the file says of its making, goes into its XMP packet. Returns notes for the user about what the format could
    not hold. JPEG is written at quality 95, 4:4:4.
    Raises RequestError for an unknown suffix and OutputError if writing fails.
    """
    form = format_of(path)
    notes: list[str] = []
    if alpha is not None and not form.alpha:
        if alpha.min() < 255:
            rgb = _over_white(rgb, alpha)
            notes.append(f"{form.name} holds no transparency: {shown(path)} was flattened onto white")
        alpha = None
    pixels = rgb if alpha is None else rgba(rgb, alpha)
    data, left_out = _encode(path, pixels, form, beside, mark)
    write_picture(path, data, overwrite)
    return (*notes, *left_out)


def save_layer(path: str | Path, layer: Pixels, overwrite: bool = False, mark: Mark | None = None) -> None:
    """Write the edit ``layer``, (H, W, 4) uint8 or uint16 with straight alpha (see ``compositing.rgba``), as a PNG."""
    if format_of(path) is not _PNG:
        raise RequestError(f"an edit layer is written as PNG; {shown(path)} has another suffix.")
    write_picture(path, _encode(path, layer, _PNG, Tags(), mark)[0], overwrite)


def _encode(
    path: str | Path, pixels: Pixels, form: Format, source: Tags, mark: Mark | None
) -> tuple[bytes, tuple[str, ...]]:
    """The file's bytes, with the ``source``'s metadata and the ``mark`` as far as the format can hold them, and notes.

    If the encoder fails with them, it is tried again with less. OutputError if it fails even without any.
    """
    failure: Exception | None = None
    if form.tags:
        source = placed(source, iptc=form.iptc, texts=form.texts, comment=form.comment)
    for tags, lost in _less_and_less(form, pixels, source, mark):
        try:
            data = form.encode(pixels, tags)
        except (MemoryError, T2LError):  # from computing the pixels, which may happen only now
            raise
        except Exception as error:  # Pillow raises almost anything: ValueError, OSError, RuntimeError, struct.error
            failure = error
            continue
        what = " and ".join(lost)
        return data, ((f"{form.name} cannot hold {what}: {shown(path)} is without it",) if lost else ())
    raise OutputError(f"could not encode {shown(path)} as {form.name}: {shown(str(failure))}.") from failure


def _less_and_less(form: Format, pixels: Pixels, source: Tags, mark: Mark | None) -> Iterator[tuple[Tags, list[str]]]:
    """What to write beside the pixels: all; what the format takes of it; nothing. Each with what is lost, in words."""
    parts = list(_parts(source, mark))
    if form.tags:
        tags = Tags()
        for ways in parts:
            tags = ways[0].add(tags)
        yield tags, []
        if parts:
            yield _fitting(form, np.zeros((16, 16, *pixels.shape[2:]), pixels.dtype), parts)
    if parts or not form.tags:
        yield Tags(), [ways[-1].lost for ways in parts]


def _fitting(form: Format, pixels: Pixels, parts: list[list[_Way]]) -> tuple[Tags, list[str]]:
    """As many of the ``parts`` as the format takes, and what is lost, in words. They are tried on a few ``pixels``."""
    tags, lost = Tags(), []
    for ways in parts:
        for way in ways:
            try:
                more = way.add(tags)
                form.encode(pixels, more)
            except Exception:  # as in _encode
                continue
            tags = more
            lost += [way.lost] if way.lost else []
            break
    return tags, lost


class _Way(NamedTuple):
    """A way to write a part of the metadata."""

    add: Callable[[Tags], Tags]  # to what is written already
    lost: str = ""  # in words


def _way(lost: str = "", **values: Any) -> _Way:
    return _Way(lambda tags: replace(tags, **values), lost)


def _parts(source: Tags, mark: Mark | None) -> Iterator[list[_Way]]:
    """The parts of the metadata, the most important first; for each the ways to write it, the best first.

    The profile is the first, because colours depend on it, and the record the last: what the photo says counts more.
    """
    if source.icc:
        yield [_way(icc=source.icc), _way("the colour profile")]
    if source.exif:
        yield [
            _way(exif=source.exif),
            *(_way("the camera maker's note in the EXIF data", exif=exif) for exif in [lighter(source.exif)] if exif),
            _way("the EXIF data"),
        ]
    if source.xmp:
        yield [_way(xmp=source.xmp), _way("the XMP data")]
    if source.iptc:
        yield [_way(iptc=source.iptc), _way("the IPTC data")]
    if source.texts:
        yield [_way(texts=source.texts), _way("the comment" if set(source.texts) == {COMMENT} else "the texts")]
    if mark:
        record = _Way(lambda tags: replace(tags, xmp=marked(tags.xmp, mark), record=mark.record))
        yield [record, _way("the record of the edit")]


def _image(pixels: Pixels) -> Image.Image:
    """``pixels`` as a Pillow image. :class:`Rows` are pasted strip by strip, without an array of the whole picture."""
    if not isinstance(pixels, Rows):
        return Image.fromarray(pixels)
    height, width, channels = pixels.shape
    image = Image.new("RGBA" if channels == 4 else "RGB", (width, height))
    for rows in strips(pixels.shape):
        image.paste(Image.fromarray(pixels[rows]), (0, rows.start))
    return image


def write_picture(path: str | Path, data: bytes, overwrite: bool) -> None:
    """Write a picture's file, ``data``, to ``path``, or to the standard output for '-'; OutputError if that fails."""
    if str(path) != STDIO:
        write_atomically(path, data, overwrite)
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"could not write the picture to the standard output: {reason(error)}.") from error


def _over_white(rgb: Pixels, alpha: Levels) -> Rows:
    def make(rows: slice) -> Any:
        strip = rgb[rows]
        return composite(np.full_like(strip, 255), strip, alpha[rows])

    return Rows(rgb.shape, make)
