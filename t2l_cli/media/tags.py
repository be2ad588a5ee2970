"""What a picture's file holds beside its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from t2l_cli.media.iptc import iptc_properties
from t2l_cli.media.texts import COMMENT, text_properties
from t2l_cli.media.xmp import with_properties


@dataclass(frozen=True)
class Tags:
    """What a file holds beside its pixels."""

    icc: bytes | None = None  # colour profile
    exif: bytes | None = None
    xmp: bytes | None = None  # packet
    record: str | None = None  # of the program, as a text of its own, for formats that have texts
    iptc: bytes | None = None  # IPTC-IIM, the datasets one after the other
    texts: Mapping[str, str] = field(default_factory=dict)  # keyword -> text, as in a PNG; a JPEG has one, "Comment"


NOTHING = Tags()


def placed(source: Tags, *, iptc: bool, texts: bool, comment: bool) -> Tags:
    """``source`` for a format that holds IPTC-IIM, texts, or of the texts a comment alone, or not.

    What it does not hold goes into the XMP packet where XMP has a property for it, and is dropped otherwise.
    """
    kept = {name: text for name, text in source.texts.items() if texts or (comment and name == COMMENT)}
    properties = [] if iptc or not source.iptc else iptc_properties(source.iptc)
    if not texts:
        properties += text_properties(source.texts)
    return replace(source, xmp=with_properties(source.xmp, properties), iptc=source.iptc if iptc else None, texts=kept)
