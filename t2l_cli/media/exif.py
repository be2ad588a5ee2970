"""EXIF that may travel to another file: the photo's story without the old file's structure."""

from __future__ import annotations

from PIL import ExifTags, Image

# Tags of IFD 0 that describe how the old file stores its pixels (TIFF keeps them in the same place as the EXIF), or
# that a new file holds elsewhere: orientation, profile, XMP, IPTC, and the offsets of the two sub-folders.
_PIXELS = (*range(254, 264), 266, 273, 274, *range(277, 282), 284, 317, *range(320, 326), 338, 339, 340, 341, 347)
_ELSEWHERE = (330, 513, 514, *range(529, 533), 700, 33723, 34377, 34675, 34665, 34853)
_STRUCTURE = frozenset((*_PIXELS, *_ELSEWHERE))
_MAKER_NOTE = 0x927C
_PIXEL_SIZE = (0xA002, 0xA003)  # PixelXDimension, PixelYDimension: wrong after a rotation
_LIMIT = 65_000  # bytes; one JPEG segment


def portable_exif(image: Image.Image) -> tuple[bytes | None, tuple[str, ...]]:
    """The EXIF of an opened ``image`` for another file, and notes: without orientation, thumbnail and structure tags.

    None where there is nothing to carry. EXIF that cannot be read is left out with a note, and so is a maker's note
    (or, in the end, all of it) that would not fit into a JPEG's 64 kB.
    """
    try:
        old = image.getexif()
        if not old:
            return None, ()
        return _portable(old)
    except Exception:  # broken EXIF raises whatever its bytes provoke (struct.error, KeyError, SyntaxError, ...)
        return None, ("its EXIF data is damaged and was left out",)


def _portable(old: Image.Exif) -> tuple[bytes | None, tuple[str, ...]]:
    new = Image.Exif()
    for tag, value in old.items():
        if tag not in _STRUCTURE:
            new[tag] = value
    shot = {tag: value for tag, value in old.get_ifd(ExifTags.IFD.Exif).items() if tag not in _PIXEL_SIZE}
    place = dict(old.get_ifd(ExifTags.IFD.GPSInfo))
    if shot:
        new[ExifTags.IFD.Exif] = shot
    if place:
        new[ExifTags.IFD.GPSInfo] = place
    if not len(new):
        return None, ()
    data = new.tobytes()
    if len(data) <= _LIMIT:
        return data, ()
    if shot.pop(_MAKER_NOTE, None) is not None:
        data = new.tobytes()
        if len(data) <= _LIMIT:
            return data, ("the camera maker's note in its EXIF is too long and was left out",)
    return None, ("its EXIF data is too long and was left out",)
