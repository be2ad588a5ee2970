"""Pictures as files: every mode and format that Pillow writes, some that it only reads, whole and damaged."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from t2l_cli.media.compositing import Bytes
from tests.fuzz import damage, metadata
from tests.fuzz.dice import Dice

# Pillow's name of the format -> suffix, modes
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "PNG": (".png", ("1", "L", "LA", "P", "PA", "RGB", "RGB+", "RGBA", "I;16", "I")),
    "JPEG": (".jpg", ("L", "RGB", "RGB", "RGB", "CMYK", "YCbCr")),
    "TIFF": (".tif", ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr", "I;16", "I", "F")),
    "WEBP": (".webp", ("L", "RGB", "RGBA")),
    "GIF": (".gif", ("L", "P", "RGB", "RGBA")),
    "BMP": (".bmp", ("1", "L", "P", "RGB", "RGBA")),
    "AVIF": (".avif", ("RGB", "RGBA")),
    "JPEG2000": (".jp2", ("L", "LA", "RGB", "RGBA", "I;16")),
    "PPM": (".ppm", ("1", "L", "RGB", "I;16", "I", "F")),
    "TGA": (".tga", ("L", "LA", "P", "RGB", "RGBA")),
    "ICO": (".ico", ("RGB", "RGBA")),
    "SGI": (".sgi", ("L", "RGB", "RGBA")),
    "PCX": (".pcx", ("1", "L", "P", "RGB")),
    "DDS": (".dds", ("L", "RGB", "RGBA")),
    "MPO": (".jpg", ("RGB",)),
    "EPS": (".eps", ("RGB",)),
}
_USUAL = ("PNG", "JPEG", "TIFF", "WEBP")
_TAGGED = {
    "PNG": "exif icc xmp",
    "JPEG": "exif icc xmp",
    "TIFF": "exif icc",
    "WEBP": "exif icc xmp",
    "AVIF": "exif icc",
}
_ANIMATED = ("GIF", "PNG", "WEBP", "TIFF", "MPO")


@dataclass(frozen=True)
class Made:
    """A picture file's bytes, and the suffix that belongs to them."""

    data: bytes
    suffix: str


@dataclass(frozen=True)
class Decoded:
    """What Pillow itself makes of a file; ``rgb`` (H, W, 3) is None where colours are a matter of interpretation."""

    size: tuple[int, int]  # upright
    rgb: Bytes | None
    alpha: bool
    drawing: bool
    whole: bool  # nothing in the file is damaged, be it beyond the first picture's pixels


def make(dice: Dice) -> Made:
    """A picture; two of three are whole."""
    made = _written(dice) if dice.maybe(0.9) else _by_hand(dice)
    if dice.maybe(0.67):
        return made
    head = dice.one(None, None, 64, 200)
    return Made(damage.damaged(dice, made.data, head), made.suffix)


def plain(size: tuple[int, int] = (32, 24), form: str = "PNG", mode: str = "RGB") -> bytes:
    """A smooth small picture without surprises."""
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert(mode).save(out, form)
    return out.getvalue()


def layer(dice: Dice, size: tuple[int, int], clear: bool) -> bytes:
    """An RGBA layer; ``clear``: transparent everywhere."""
    pixels = dice.arrays().integers(0, 256, (size[1], size[0], 4), np.uint8)
    if clear:
        pixels[..., 3] = 0
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def decoded(data: bytes) -> Decoded | None:
    """What Pillow makes of ``data`` as a photo; None where it cannot read all of its pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _decoded(data)


def _decoded(data: bytes) -> Decoded | None:
    try:
        image: Any = Image.open(io.BytesIO(data))
        image.load()  # the pixels first: reading EXIF first would hide their damage
    except Exception:
        return None
    form, plain_mode = image.format, image.mode in ("RGB", "RGBA") and not image.info.get("transparency")
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # its EXIF is damaged: nobody knows which way is up
        upright, plain_mode = image, False
    rgb = np.array(upright.convert("RGB")) if plain_mode else None
    return Decoded(upright.size, rgb, image.has_transparency_data, form in ("EPS", "WMF"), _whole(data))


def _whole(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            getattr(image, "n_frames", 1)
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
    except Exception:
        return False
    return True


def _size(dice: Dice) -> tuple[int, int]:
    if dice.maybe(0.85):
        return dice.randint(16, 48), dice.randint(16, 48)
    return dice.one((1, 1), (15, 40), (40, 15), (16, 16), (17, 16), (16, 600), (600, 17), (130, 130), (3, 200))


def _content(dice: Dice, size: tuple[int, int]) -> Image.Image:
    """(size) RGBA: noise, shades, or one colour."""
    width, height = size
    pixels = dice.arrays().integers(0, 256, (height, width, 4), np.uint8)
    match dice.randrange(6):
        case 0:
            pixels[..., :3] = dice.one(0, 255, 128)
        case 1:
            pixels[:] = dice.choice([(0, 0, 0, 0), (255, 255, 255, 255), (0, 0, 0, 255)])
        case 2:
            pixels[..., :3] = (np.arange(width)[None, :, None] * 255 // width).astype(np.uint8)
        case 3:
            pixels[..., 3] = 255
    return Image.fromarray(pixels)


def _in_mode(dice: Dice, image: Image.Image, mode: str) -> Image.Image:
    """``image`` (RGBA) in ``mode``; "RGB+" is RGB with one colour transparent."""
    if mode == "RGBA":
        return image
    rgb = image.convert("RGB")
    if mode == "P":
        return rgb.quantize(dice.one(2, 16, 255))
    if mode == "PA":
        return rgb.quantize(16).convert("PA")
    if mode == "LA":
        return image.convert("LA")
    if mode == "F":
        return Image.fromarray(_floats(dice, np.asarray(rgb.convert("L"))))
    if mode in ("I;16", "I"):
        deep = np.asarray(rgb.convert("L")).astype(np.int32) * dice.one(1, 257, 257)
        return Image.fromarray(deep.astype(np.uint16) if mode == "I;16" else deep)
    if mode == "LAB":
        return Image.merge("LAB", rgb.split())
    return rgb.convert(mode.removesuffix("+"))


def _floats(dice: Dice, grey: Bytes) -> Any:
    values = grey.astype(np.float32) * dice.one(1.0, 1 / 255, -1.0, 1e30)
    if dice.maybe(0.3):
        values.flat[dice.randrange(values.size)] = dice.one(np.nan, np.inf, -np.inf)
    if dice.maybe(0.1):
        values[:] = np.nan
    return values


def _written(dice: Dice) -> Made:
    """A file that Pillow writes, with what its format carries."""
    form = dice.choice(_USUAL) if dice.maybe(0.7) else dice.choice(list(FORMATS))
    suffix, modes = FORMATS[form]
    mode = dice.choice(modes)
    image = _in_mode(dice, _content(dice, _size(dice)), mode)
    options = _options(dice, form, mode)
    if form in _ANIMATED and dice.maybe(0.15 if form != "MPO" else 1):
        others = [_in_mode(dice, _content(dice, image.size), mode) for _ in range(dice.randint(1, 3))]
        options |= {"save_all": True, "append_images": others}
    tags = {}
    if dice.maybe(0.6):
        for tag in _TAGGED.get(form, "").split():
            if dice.maybe(0.6):
                tags["icc_profile" if tag == "icc" else tag] = _TAGS[tag](dice)
    for chosen in (options | tags, options, {}):  # Pillow refuses some: with less then
        out = io.BytesIO()
        try:
            image.save(out, form, **chosen)
        except Exception:
            continue
        return Made(out.getvalue(), suffix)
    return Made(plain(), ".png")


_TAGS: dict[str, Callable[[Dice], bytes]] = {"exif": metadata.exif, "icc": metadata.profile, "xmp": metadata.xmp}


def _options(dice: Dice, form: str, mode: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if mode in ("P", "RGB+") and dice.maybe(0.6 if mode == "P" else 1):
        options["transparency"] = 1 if mode == "P" else (0, 0, 0)
        if mode == "P" and form == "PNG" and dice.maybe():
            options["transparency"] = dice.randbytes(dice.randint(1, 16))
    if form in ("JPEG", "TIFF", "PNG") and dice.maybe(0.2):
        options["dpi"] = dice.one((72, 72), (0, 0), (1, 300))
    if form == "JPEG":
        options |= {"progressive": dice.maybe(0.2), "quality": dice.one(1, 50, 95)}
        if dice.maybe(0.1):
            options["comment"] = dice.randbytes(20)
        if dice.maybe(0.2):
            options["extra"] = metadata.iptc_segment(dice)
    if form == "PNG" and dice.maybe(0.2):
        options["pnginfo"] = metadata.texts(dice)
    if form == "TIFF":
        # Pillow 12.3 damages its memory where libtiff refuses a compression for the mode.
        special = "group4" if mode == "1" else "jpeg" if mode in ("L", "RGB", "CMYK", "YCbCr") else "tiff_lzw"
        options["compression"] = dice.one(None, "tiff_lzw", "tiff_adobe_deflate", "packbits", special, special)
    if form == "WEBP":
        options["lossless"] = dice.maybe()
    if form == "AVIF":
        options["speed"] = 10
    return options


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _by_hand(dice: Dice) -> Made:
    """What Pillow does not write: deep colour, bombs, text, nothing."""
    kind = dice.randrange(7)
    if kind < 3:  # 16 bits a channel, in colour
        width, height = _size(dice)
        channels, colour = dice.choice([(3, 2), (4, 6), (2, 4)])
        rows = dice.arrays().integers(0, 256, (height, 1 + 2 * channels * width), np.uint8)
        rows[:, 0] = 0  # no filter
        data = zlib.compress(rows.tobytes())
        return Made(_png((width, height), 16, colour, data), ".png")
    if kind == 3:  # a few bytes that claim to be very much
        size = dice.choice([(40_000, 40_000), (17_000, 17_000), (2**31 - 1, 1), (0, 0), (20, 0)])
        return Made(_png(size, 8, 2, zlib.compress(bytes(1000))), ".png")
    if kind == 4:
        return Made(b"Dear diary, this is no picture.\n" * dice.randrange(40), dice.one(".jpg", ".png", ".txt", ""))
    if kind == 5:
        return Made(b"<svg xmlns='http://www.w3.org/2000/svg' width='40' height='40'></svg>", ".svg")
    return Made(dice.randbytes(dice.one(0, 1, 2, 3, 100, 3000)), dice.one(".jpg", ".png", ".tif", ".webp", ".gif"))


def _png(size: tuple[int, int], bits: int, colour: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
