"""Texts of a picture's file: those of a PNG, each under a keyword, and the comment of a JPEG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from PIL import Image

from t2l_cli.media.rdf import DC, Property

COMMENT = "Comment"  # PNG's keyword for what a JPEG has as its comment
RECORD = "t2l"  # the keyword of this program's record

# Keywords under which a program keeps what it knows of the old file: whole profiles and the properties that
# ImageMagick read (of EXIF, of TIFF; its dates; its checksum of the pixels), and what a thumbnail was made from. XMP
# and the program's own record have places of their own.
_OF_THE_FILE = re.compile(
    r"(raw profile type |thumb::|date:|exif:|tiff:|png:|jpeg:|icc:|8bim:|xmp:).*|signature|exif|xml:com\.adobe\.xmp|"
    + RECORD,
    re.IGNORECASE | re.DOTALL,
)
_MAX_KEYWORD = 79  # bytes (PNG specification, 11.3.3.2)
_PROPERTIES = {  # keyword in lower case -> XMP's property for the same
    "title": ("title", "Alt"),
    "author": ("creator", "Seq"),
    "description": ("description", "Alt"),
    "copyright": ("rights", "Alt"),
}


def texts_of(image: Image.Image) -> tuple[dict[str, str], tuple[str, ...]]:
    """The texts of a loaded ``image`` for another file, by keyword; and notes.

    Values of a PNG keep their language (Pillow's iTXt). What describes the old file is left out.
    """
    if image.format != "PNG":
        comment = _comment(image.info.get("comment"))
        return ({COMMENT: comment}, ()) if comment else ({}, _NO_TEXT if comment is None else ())
    texts: Mapping[str, str] = getattr(image, "text", {})
    kept = {name: text for name, text in texts.items() if text and not _OF_THE_FILE.fullmatch(name)}
    return {name: text for name, text in kept.items() if len(name.encode("latin-1", "replace")) <= _MAX_KEYWORD}, ()


_NO_TEXT = ("its comment is no text and was left out",)


def comment_in(image: Image.Image) -> str | None:
    """The comment of an ``image`` whose pixels need not be read; None if it has none."""
    value = image.info.get(COMMENT) if image.format == "PNG" else image.info.get("comment")
    return _comment(value) or None


def _comment(value: Any) -> str | None:
    """A comment, which is bytes in no encoding that a JPEG would name; "" if there is none, None if it is no text."""
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    text = value.rstrip("\0") if isinstance(value, str) else ""
    return None if "\0" in text else text


def text_properties(texts: Mapping[str, str]) -> list[Property]:
    """What of ``texts`` XMP has a property for."""
    return [
        Property(DC, *_PROPERTIES[name.lower()], (str(text),))
        for name, text in texts.items()
        if name.lower() in _PROPERTIES
    ]
