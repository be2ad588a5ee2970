"""Reads pictures: any still picture that Pillow opens becomes 8-bit RGB, with a note about every conversion.

:mod:`t2l_cli.media.output` writes pictures; its functions can be imported from here, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from t2l_cli.errors import RequestError
from t2l_cli.media.broken import without_broken
from t2l_cli.media.colour import to_rgb
from t2l_cli.media.compositing import Bytes, Deep, Levels, Pixels, flattened, strips
from t2l_cli.media.deep import FORMATS as DEEP_FORMATS
from t2l_cli.media.deep import high_bytes, orientation_of, read_deep
from t2l_cli.media.exif import portable_exif
from t2l_cli.media.iptc import iptc_of, portable_iptc
from t2l_cli.media.opening import bits_of, decoding, moves, open_image, opened, xmp_of
from t2l_cli.media.output import check_output, format_of, save_layer, save_picture
from t2l_cli.media.paths import shown
from t2l_cli.media.tags import Tags
from t2l_cli.media.texts import texts_of
from t2l_cli.media.xmp import Mark, is_trained, portable_xmp

__all__ = [
    "Picture",
    "check_output",
    "load_layer",
    "load_mask",
    "load_picture",
    "mask_of",
    "picture_of",
    "save_layer",
    "save_like",
    "save_picture",
]

MIN_PICTURE_SIDE = 16  # px; smaller pictures hold nothing to edit


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright, in 8 bits."""

    rgb: Bytes  # (H, W, 3)
    alpha: Bytes | None = None  # (H, W), straight; None: the file had no transparency
    icc: bytes | None = None  # RGB profile of the pixels; None: sRGB
    exif: bytes | None = None  # without orientation, thumbnail and the file's own structure
    notes: tuple[str, ...] = ()  # what was converted or left out, one phrase each
    xmp: bytes | None = None  # packet, without the old file's structure
    sha256: str | None = None  # of the file's bytes, in hexadecimal; None: it came from memory
    trained: bool = False  # whether it says that a trained model made a part of it
    iptc: bytes | None = None  # IPTC-IIM, without the old file's structure
    texts: Mapping[str, str] = field(default_factory=dict)  # by keyword, as in a PNG; a JPEG's comment is "Comment"
    deep: Deep | None = None  # (H, W, 3), or (H, W, 4) with straight alpha: the same in 16 bits, where it was asked for

    @property
    def finest(self) -> Levels:
        """The colours (H, W, 3) with as many bits as there are."""
        return self.rgb if self.deep is None else self.deep[..., :3]

    @property
    def beside(self) -> Tags:
        """What its file holds beside the pixels."""
        return Tags(self.icc, self.exif, self.xmp, None, self.iptc, self.texts)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in px."""
        return self.rgb.shape[0], self.rgb.shape[1]


def load_picture(path: str | Path, deep: bool = False) -> Picture:
    """Read a picture from a file, or from stdin for '-'; with ``deep``, in 16 bits too, if it is a PNG or TIFF of 16.

    EXIF orientation is applied. Every mode becomes 8-bit RGB; an alpha channel is kept separately. Of an animation the
    first frame is read. RGB profiles are kept, pictures with other profiles are converted to sRGB. Raises RequestError,
    in one line with the path, for anything that is not a readable picture of at least 16 x 16 px and at most 300
    megapixels.
    """
    with opened(path) as file, decoding(path):
        picture = _decode(file, path, deep)
    return _large_enough(picture, shown(path))


def picture_in(file: BinaryIO, name: str | Path) -> Picture:
    """The picture in a ``file`` that is open, of any size; ``name`` is what errors call it."""
    with decoding(name):
        return _decode(file, name, deep=False)


def picture_of(image: Image.Image) -> Picture:
    """A Pillow ``image`` as :func:`load_picture` would read it from a file."""
    with decoding("the picture"):
        picture, _ = _upright(image.copy(), bits_of(image))
    return _large_enough(picture, "the picture")


def _large_enough(picture: Picture, name: str) -> Picture:
    height, width = picture.size
    if min(width, height) < MIN_PICTURE_SIDE:
        least = f"{MIN_PICTURE_SIDE} x {MIN_PICTURE_SIDE}"
        raise RequestError(f"{name} is {width} x {height} pixels, which is too small to edit: {least} at least.")
    return picture


def save_like(
    path: str | Path, rgb: Pixels, picture: Picture, mark: Mark | None, metadata: bool = True, overwrite: bool = False
) -> tuple[str, ...]:
    """Write ``rgb`` (H, W, 3) with what the file of ``picture`` holds beside its colours, as ``save_picture``.

    ``rgb`` has as many bits as ``picture.finest``; a format that holds fewer gets fewer, with a note. ``mark``: what
    the file says of its making. Without ``metadata`` there is nothing but the profile.
    """
    alpha: Levels | None = picture.alpha
    notes: tuple[str, ...] = ()
    if rgb.dtype == np.uint16:
        if format_of(path).deep:
            alpha = None if picture.deep is None or alpha is None else picture.deep[..., 3]
        else:
            rgb = flattened(rgb)
            notes = (f"{format_of(path).name} holds 8 bits per channel: {shown(path)} is without the finer ones",)
    if metadata:
        return (*notes, *save_picture(path, rgb, alpha, picture.beside, overwrite, mark))
    return (*notes, *save_picture(path, rgb, alpha, Tags(picture.icc), overwrite))


def load_layer(path: str | Path, deep: bool = False) -> Picture:
    """Read an edit layer, as :func:`load_picture`. RequestError if it has no alpha."""
    picture = load_picture(path, deep)
    if picture.alpha is None:
        raise RequestError(f"{shown(path)} has no alpha channel and would hide the whole picture; give an RGBA PNG.")
    return picture


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


def _decode(file: BinaryIO, path: str | Path, deep: bool) -> Picture:
    notes: list[str] = []
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a BinaryIO is what it takes
    file.seek(0)
    file, unread = without_broken(file)
    notes += unread
    with open_image(file, path) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # MPO: a phone's JPEG followed by its previews
            which = "main" if image.format == "HEIF" else "first"
            notes.append(
                f"{'an animation' if moves(image) else 'a file'} of {frames} pictures: the {which} one is used"
            )
        bits = bits_of(image)
        deep = deep and bits == 16 and image.format in DEEP_FORMATS
        picture, orientation = _upright(image, bits)
    if deep:
        file.seek(0)
        picture = _deepened(picture, read_deep(file, orientation, picture.rgb, picture.alpha))
    return dataclasses.replace(picture, sha256=digest, notes=(*notes, *picture.notes))


def _deepened(picture: Picture, deep: Deep | None) -> Picture:
    """``picture`` with its ``deep`` pixels, if they could be had; nothing was converted then."""
    if deep is None:
        return picture
    notes = tuple(note for note in picture.notes if not note.startswith("16-bit"))
    return dataclasses.replace(picture, rgb=high_bytes(deep)[..., :3], deep=deep, notes=notes)


def _upright(image: Image.Image, bits: int) -> tuple[Picture, int]:
    """``image``, which has ``bits`` per channel in its file, upright and in 8 bits; and the orientation that it had.

    ``image`` itself may be changed.
    """
    image.load()  # before what follows, which also loads a PNG: damaged pixels must not be reported as damaged EXIF
    exif, exif_note = portable_exif(image)
    orientation = orientation_of(image)
    packet, rest_note = xmp_of(image)
    xmp, xmp_note = portable_xmp(packet)
    iptc, iptc_note = portable_iptc(iptc_of(image))
    texts, text_note = texts_of(image)
    with contextlib.suppress(Exception):  # an orientation that cannot be read is none
        ImageOps.exif_transpose(image, in_place=True)
    rgb, alpha, icc, colour_notes = to_rgb(image, bits)
    notes = (*colour_notes, *exif_note, *rest_note, *xmp_note, *iptc_note, *text_note)
    picture = Picture(rgb, alpha, icc, exif, notes, xmp, trained=is_trained(packet), iptc=iptc, texts=texts)
    return picture, orientation
