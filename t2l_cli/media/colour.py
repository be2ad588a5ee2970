"""Every Pillow mode to 8-bit RGB and an alpha channel, through the picture's colour profile where that matters."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from t2l_cli.media.compositing import Bytes

_NAMES = {"1": "black and white", "L": "greyscale", "P": "palette", "F": "greyscale", "I": "greyscale"}

Notes = tuple[str, ...]


def to_rgb(image: Image.Image, bits: int) -> tuple[Bytes, Bytes | None, bytes | None, Notes]:
    """``image`` as (rgb (H, W, 3), alpha (H, W) or None, RGB profile or None for sRGB, notes).

    ``bits`` is the file's depth, which Pillow's 8-bit modes hide. Profiles of RGB pictures are handed on; through
    those of CMYK and greyscale pictures the pixels are converted to sRGB (perceptual intent).
    """
    profile: bytes | None = image.info.get("icc_profile") or None
    alpha: Bytes | None = None
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert(image.mode.upper())
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image)
    if image.has_transparency_data:
        full = image.convert("RGBA")
        alpha = np.array(full.getchannel("A"))
        colour = image.convert("L") if image.mode == "LA" else full.convert("RGB")
    else:
        colour = image
    name = _described(image, bits)
    converted, profile, notes = _flat(colour, profile)
    if name:
        keeping = ", transparency kept" if alpha is not None else ""
        notes = (f"{name} converted to 8-bit RGB{keeping}", *notes)
    return np.array(converted), alpha, profile, notes


def _described(image: Image.Image, bits: int) -> str:
    """What the file holds, where it is not 8-bit RGB or RGBA."""
    base = image.mode.removesuffix("A") if image.mode != "RGBA" else "RGB"
    name = _NAMES.get(base, base)
    if bits == 16:
        return f"16-bit {name}"
    return "" if base == "RGB" else name


def _flat(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None, Notes]:
    """An ``image`` without transparency in RGB, and the profile that fits it afterwards."""
    space = profile[16:20] if profile is not None and len(profile) > 128 else b""  # data colour space, ICC.1 7.2.6
    if image.mode in ("RGB", "RGBX", "P", "YCbCr", "HSV"):
        kept = profile if space == b"RGB " else None
        odd = profile is not None and kept is None
        return image.convert("RGB"), kept, (("its colour profile is not one for RGB and was left out",) if odd else ())
    if image.mode == "LAB":
        return _through(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), None, ()
    if profile is not None and space == {"CMYK": b"CMYK", "L": b"GRAY"}.get(image.mode):
        try:
            opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return _through(image, opened), None, ("colours converted from its own profile to sRGB",)
        except (ImageCms.PyCMSError, OSError, ValueError):
            return image.convert("RGB"), None, ("its colour profile could not be used and was left out",)
    return image.convert("RGB"), None, (("its colour profile does not fit and was left out",) if profile else ())


def _through(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    target = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(profile, target, image.mode, "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None is for in-place work
    return converted


def _deep_grey(image: Image.Image) -> tuple[Bytes, None, None, Notes]:
    """Modes I;16, I and F: scaled to 8 bits, never clipped."""
    values = np.array(image)
    if image.mode.startswith("I;16"):
        grey, how = _scaled(values, 0, 65_535), "16-bit greyscale"
    elif image.mode == "I" and values.min() >= 0 and values.max() <= 65_535:
        grey, how = _scaled(values, 0, 65_535), "16-bit greyscale"  # a deep PGM, which Pillow widens
    elif image.mode == "F" and np.nanmin(values) >= 0 and np.nanmax(values) <= 1:
        grey, how = _scaled(values, 0, 1), "floating-point greyscale"
    else:
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        grey, how = _scaled(values, low, high), f"greyscale from {low:g} to {high:g}"
    note = f"{how} converted to 8-bit RGB"
    return np.repeat(grey[..., None], 3, axis=2), None, None, (note,)


def _scaled(values: npt.NDArray[np.generic], low: float, high: float) -> Bytes:
    span = max(high - low, 1e-12)
    levels = np.nan_to_num((values.astype(np.float32) - low) * (255 / span), nan=0.0, posinf=255.0, neginf=0.0)
    rounded: npt.NDArray[np.float32] = np.rint(np.clip(levels, 0, 255))
    return rounded.astype(np.uint8)
