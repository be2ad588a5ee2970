"""Converts every Pillow mode to 8-bit RGB and alpha, using the picture's colour profile where needed."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from t2l_cli.media.compositing import Bytes, strips

_NAMES = {"1": "black and white", "L": "greyscale", "P": "palette", "F": "greyscale", "I": "greyscale"}

Notes = tuple[str, ...]
Flatten = Callable[[Image.Image], Image.Image]  # to RGB


def to_rgb(image: Image.Image, bits: int) -> tuple[Bytes, Bytes | None, bytes | None, Notes]:
    """``image`` as (rgb (H, W, 3), alpha (H, W) or None, RGB profile or None for sRGB, notes).

    ``bits`` is the file's bits per channel, which Pillow's 8-bit modes hide. Profiles of RGB pictures are returned;
    CMYK and greyscale pictures are converted to sRGB through their profiles (perceptual intent). The conversion needs
    memory for only a few rows besides ``image`` and the result.
    """
    profile: bytes | None = image.info.get("icc_profile") or None
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image, profile)
    transparent = image.has_transparency_data
    mode = image.mode if not transparent else "L" if image.mode == "LA" else "RGB"
    flatten, profile, notes = _flattening(mode, profile)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    alpha = np.empty(rgb.shape[:2], np.uint8) if transparent else None
    for rows, strip in _strips(image):
        colour = strip
        if alpha is not None:
            full = strip.convert("RGBA")
            alpha[rows] = np.asarray(full.getchannel("A"))
            colour = strip.convert("L") if mode == "L" else full.convert("RGB")
        rgb[rows] = np.asarray(flatten(colour))
    name = _described(image, bits)
    if name:
        keeping = ", transparency kept" if alpha is not None else ""
        notes = (f"{name} converted to 8-bit RGB{keeping}", *notes)
    return rgb, alpha, profile, notes


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """``image`` in strips from top to bottom: the rows, and the picture that they show."""
    for rows in strips((image.height, image.width)):
        yield rows, image.crop((0, rows.start, image.width, rows.stop))


def _described(image: Image.Image, bits: int) -> str:
    """The kind of picture in the file; "" for 8-bit RGB or RGBA."""
    base = image.mode.removesuffix("A") if image.mode != "RGBA" else "RGB"
    name = _NAMES.get(base, base)
    if bits > 8:
        return f"{bits}-bit {name}"
    return "" if base == "RGB" else name


def _flattening(mode: str, profile: bytes | None) -> tuple[Flatten, bytes | None, Notes]:
    """For a picture of ``mode`` without transparency: a function to RGB, the profile of its result, and notes."""
    space = profile[16:20] if profile is not None and len(profile) > 128 else b""  # data colour space, ICC.1 7.2.6
    if mode in ("RGB", "RGBX", "P", "YCbCr", "HSV"):
        kept = profile if space == b"RGB " else None
        odd = profile is not None and kept is None
        return _plainly, kept, (("its colour profile is not one for RGB and was left out",) if odd else ())
    if mode == "LAB":
        return _through(mode, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), None, ()
    if profile is not None and space == {"CMYK": b"CMYK", "L": b"GRAY", "I;16": b"GRAY"}.get(mode):
        try:
            opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return _through(mode, opened), None, ("colours converted from its own profile to sRGB",)
        except (ImageCms.PyCMSError, OSError, ValueError):
            return _plainly, None, ("its colour profile could not be used and was left out",)
    return _plainly, None, (("its colour profile does not fit and was left out",) if profile else ())


def _plainly(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _through(mode: str, profile: ImageCms.ImageCmsProfile) -> Flatten:
    # For I;16 LittleCMS would put a coarse table in place of the curves: 10 levels are lost in the shadows.
    flags = ImageCms.Flags.NOOPTIMIZE if mode == "I;16" else ImageCms.Flags.NONE
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)

    def flatten(image: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None  # None is for in-place work
        return converted

    return flatten


def _deep_grey(image: Image.Image, profile: bytes | None) -> tuple[Bytes, None, None, Notes]:
    """Modes I;16, I and F: scaled to 8 bits, never clipped; where black and white are known, through the profile."""
    fixed = True  # whether black and white are those of the format, not of this picture
    if image.mode.startswith("I;16"):
        low, high, how = 0.0, 65_535.0, "16-bit greyscale"
    else:
        low, high = _extremes(image)
        if image.mode == "I" and low >= 0 and high <= 65_535:
            low, high, how = 0.0, 65_535.0, "16-bit greyscale"  # a 16-bit PGM, which Pillow opens with 32 bits
        elif image.mode == "F" and low >= 0 and high <= 1:
            low, high, how = 0.0, 1.0, "floating-point greyscale"
        else:
            fixed, how = False, f"greyscale from {low:g} to {high:g}"
    shades, notes = _shades(profile, fixed)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for rows, strip in _strips(image):
        rgb[rows] = shades[_scaled(np.asarray(strip), low, high, len(shades) - 1)]
    return rgb, None, None, (f"{how} converted to 8-bit RGB", *notes)


def _shades(profile: bytes | None, fixed: bool) -> tuple[Bytes, Notes]:
    """The colours of the shades of grey from black to white, (N, 3), and notes.

    256 plain ones, or 65,536 through the ``profile``, if it is one for greyscale that begins and ends at ``fixed``
    values.
    """
    flatten, _, notes = _flattening("I;16" if fixed else "", profile)
    if flatten is _plainly:
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1), notes
    every = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    return np.asarray(flatten(Image.fromarray(every))).reshape(-1, 3), notes


def _extremes(image: Image.Image) -> tuple[float, float]:
    """The minimum and maximum of the finite values; 0 and 1 if there are none."""
    low, high = math.inf, -math.inf
    for _, strip in _strips(image):
        values = np.asarray(strip)
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 1.0)


def _scaled(values: npt.NDArray[np.generic], low: float, high: float, top: int) -> npt.NDArray[np.uint16]:
    """``values`` from ``low`` to ``high`` as whole numbers from 0 to ``top``."""
    span = max(high - low, 1e-12)
    levels = np.nan_to_num((values.astype(np.float32) - low) * (top / span), nan=0.0, posinf=top, neginf=0.0)
    rounded: npt.NDArray[np.float32] = np.rint(np.clip(levels, 0, top))
    return rounded.astype(np.uint16)
