"""Writes TIFF: deflate strips and a directory by Pillow, which cannot write the sub-IFDs of EXIF through libtiff."""

from __future__ import annotations

import io
import zlib
from itertools import accumulate

import numpy as np
from PIL import TiffImagePlugin as Tiff
from PIL import TiffTags

from t2l_cli.media.compositing import Pixels
from t2l_cli.media.exif import tags_of
from t2l_cli.media.tags import Tags

_STRIP_BYTES = 1 << 18  # of pixels; large enough to compress well
_DEFLATE, _GREY, _RGB, _STRAIGHT_ALPHA, _INTERLEAVED = 8, 1, 2, 2, 1  # TIFF 6.0 and its Technical Note 2


def encode_tiff(pixels: Pixels, beside: Tags) -> bytes:
    """Encode ``pixels`` as a TIFF file with profile, EXIF, XMP and IPTC-IIM.

    pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB with straight alpha, uint8 or uint16.
    """
    height, width, channels = (*pixels.shape, 1)[:3]
    kind = np.dtype(pixels.dtype).newbyteorder("<")  # as Pillow writes the directory
    rows = max(1, _STRIP_BYTES // (width * channels * kind.itemsize))
    strips = [zlib.compress(pixels[top : top + rows].astype(kind).tobytes()) for top in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    tags = tags_of(beside.exif) if beside.exif else {}
    if beside.icc:
        tags[Tiff.ICCPROFILE] = beside.icc
    if beside.xmp:
        tags[Tiff.XMP] = beside.xmp
    if beside.iptc:
        # As numbers of four bytes, as Photoshop does: libtiff makes something else of bytes. Pillow expects one value.
        padded = beside.iptc + b"\0" * (-len(beside.iptc) % 4)
        tags[Tiff.IPTC_NAA_CHUNK] = (tuple(np.frombuffer(padded, "<u4").tolist()),)
    if channels == 4:
        tags[Tiff.EXTRASAMPLES] = _STRAIGHT_ALPHA
    tags |= {
        Tiff.IMAGEWIDTH: width,
        Tiff.IMAGELENGTH: height,
        Tiff.BITSPERSAMPLE: (8 * kind.itemsize,) * channels,
        Tiff.COMPRESSION: _DEFLATE,
        Tiff.PHOTOMETRIC_INTERPRETATION: _GREY if channels == 1 else _RGB,
        Tiff.STRIPOFFSETS: (0, *accumulate(sizes[:-1])),  # Pillow adds the offset of the first strip
        Tiff.SAMPLESPERPIXEL: channels,
        Tiff.ROWSPERSTRIP: rows,
        Tiff.STRIPBYTECOUNTS: tuple(sizes),
        Tiff.PLANAR_CONFIGURATION: _INTERLEAVED,
    }
    directory = Tiff.ImageFileDirectory_v2()
    directory.tagtype[Tiff.IPTC_NAA_CHUNK] = TiffTags.LONG
    for tag, value in tags.items():
        directory[tag] = value
    file = io.BytesIO()
    directory.save(file)
    file.writelines(strips)
    return file.getvalue()
