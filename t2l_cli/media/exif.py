"""EXIF for another file: what it says about the photo, without what describes the old file's structure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

# Tags of IFD 0 that describe how the old file stores its pixels (TIFF keeps them in the same place as EXIF), or that a
# new file stores elsewhere: orientation, profile, XMP, IPTC, and the offsets of the two sub-IFDs.
_PIXELS = (*range(254, 264), 266, 273, 274, *range(277, 282), 284, 317, *range(320, 326), 338, 339, 340, 341, 347)
_ELSEWHERE = (330, 513, 514, *range(529, 533), 700, 33723, 34377, 34675, 34665, 34853)
_STRUCTURE = frozenset((*_PIXELS, *_ELSEWHERE))
_SUB_FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_MAKER_NOTE = 0x927C
_RESOLUTION = (282, 283, 296)  # XResolution, YResolution, ResolutionUnit: 0 has no meaning, and TIFF forbids it
_NOT_CARRIED = (0xA002, 0xA003, 0xA005)  # width and height, which a rotation exchanges, and the offset of a sub-IFD

Tags = dict[int, Any]  # tag -> value as Pillow gives it; a dict for a sub-IFD


def portable_exif(image: Image.Image) -> tuple[bytes | None, tuple[str, ...]]:
    """The EXIF of an opened ``image`` for another file, without orientation, thumbnail and structure; and notes.

    None if there is nothing to keep. A tag that cannot be read, or cannot be written again, is left out with a note.
    """
    new = Image.Exif()
    try:
        old = image.getexif()
        kept, whole = _usable(old, None, _STRUCTURE)
        new.update(kept)
        for folder in _SUB_FOLDERS:
            kept, all_of_it = _usable(old.get_ifd(folder), folder, _NOT_CARRIED)
            whole = whole and all_of_it
            if kept:
                new[folder] = kept
    except Exception:  # broken EXIF raises whatever its bytes provoke (struct.error, KeyError, SyntaxError, ...)
        whole = False
    if not len(new):
        return None, () if whole else ("its EXIF data is damaged and was left out",)
    return new.tobytes(), () if whole else ("a part of its EXIF data is damaged and was left out",)


def tags_of(exif: bytes) -> Tags:
    """The tags of EXIF from :func:`portable_exif`, for a Pillow TIFF directory."""
    data = Image.Exif()
    data.load(exif)
    tags = {tag: _exact(data[tag]) for tag in data if tag not in _SUB_FOLDERS}
    for folder in _SUB_FOLDERS:
        if folder in data:
            tags[folder] = {tag: _exact(value) for tag, value in data.get_ifd(folder).items()}
    return tags


def lighter(exif: bytes) -> bytes | None:
    """``exif`` without the camera maker's note, by far its longest part; None if it has none, or nothing else."""
    try:
        tags = tags_of(exif)
        if tags.get(ExifTags.IFD.Exif, {}).pop(_MAKER_NOTE, None) is None:
            return None
        data = Image.Exif()
        data.update({tag: value for tag, value in tags.items() if value != {}})
        return data.tobytes() if len(data) else None
    except Exception:  # as above
        return None


def _usable(tags: Mapping[int, Any], folder: int | None, unwanted: Container[int]) -> tuple[Tags, bool]:
    """The ``tags`` of the IFD ``folder`` that can be written again, except ``unwanted``; and whether that was all."""
    usable: Tags = {}
    whole = True
    for tag in tags:
        if tag in unwanted:
            continue
        try:
            value = _exact(tags[tag])
            trial = ImageFileDirectory_v2(group=folder)
            trial[tag] = value
            trial.tobytes()
            if tag not in _RESOLUTION or value > 0:
                usable[tag] = value
        except Exception:  # as above
            whole = False
    return usable, whole


class _Text(str):
    """Text that is written with the same bytes as it was read. Of a plain str, Pillow writes only ASCII characters."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return super().encode("latin-1")  # as Pillow reads it


def _exact(value: Any) -> Any:
    return _Text(value) if isinstance(value, str) else value
