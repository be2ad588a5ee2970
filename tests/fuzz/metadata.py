"""EXIF, colour profiles and XMP, as cameras and editors write them, and as they should not be."""

from __future__ import annotations

import functools
import struct
from typing import Any

from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from tests.fuzz import damage
from tests.fuzz.dice import Dice

_ORIENTATION = 274


@functools.cache
def _profile(space: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # type: ignore[arg-type]  # sRGB or LAB


def profile(dice: Dice) -> bytes:
    """An ICC profile: sRGB's, one of another colour space, or a damaged one."""
    data = _profile(dice.one("sRGB", "sRGB", "LAB"))
    match dice.randrange(6):
        case 0:
            return damage.damaged(dice, data)
        case 1:  # a profile that says it is of another space than it is
            return data[:16] + dice.one(b"GRAY", b"CMYK", b"RGB ", b"XYZ ", b"\0\0\0\0") + data[20:]
        case 2:
            return dice.randbytes(dice.one(1, 20, 127, 128, 129, 4000))
        case _:
            return data


def exif(dice: Dice) -> bytes:
    """EXIF as of a camera, with some tags odd; now and then damaged as bytes."""
    made = Image.Exif()
    made[ExifTags.Base.Make], made[ExifTags.Base.Model] = "Maker", dice.one("Model 1", "Mödel", "x" * 3000)
    if dice.maybe(0.7):
        made[_ORIENTATION] = dice.one(1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535)
    if dice.maybe(0.5):
        made[ExifTags.Base.XResolution] = made[ExifTags.Base.YResolution] = dice.choice(_RATIONALS)
        made[ExifTags.Base.ResolutionUnit] = dice.one(0, 1, 2, 3, 9)
    for tag in dice.some(list(_SHOT), 4):
        made.get_ifd(ExifTags.IFD.Exif)[tag] = _SHOT[tag](dice)
    for tag in dice.some(list(_PLACE), 4):
        made.get_ifd(ExifTags.IFD.GPSInfo)[tag] = _PLACE[tag](dice)
    for tag in dice.some(list(_ODD), 2):
        made[tag] = _ODD[tag]
    try:
        data = made.tobytes()
    except Exception:  # Pillow cannot write every oddity itself
        data = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
    return data if dice.maybe(0.8) else damage.damaged(dice, data)


_RATIONALS = (IFDRational(72, 1), IFDRational(0, 0), IFDRational(0, 1), IFDRational(300, 0), 2.5, 72)
_SHOT: dict[int, Any] = {
    ExifTags.Base.ExposureTime: lambda dice: dice.choice(_RATIONALS),
    ExifTags.Base.ISOSpeedRatings: lambda dice: dice.one(100, (100, 200), 70_000),
    ExifTags.Base.DateTimeOriginal: lambda dice: dice.one("2024:02:30 25:61:61", "", "2024:01:01 00:00:00"),
    ExifTags.Base.UserComment: lambda dice: b"ASCII\0\0\0" + dice.randbytes(dice.one(0, 40)),
    ExifTags.Base.MakerNote: lambda dice: dice.randbytes(dice.one(0, 10, 5000, 70_000)),
    ExifTags.Base.ExifVersion: lambda dice: dice.one(b"0232", b"", b"02"),
    ExifTags.Base.ExifImageWidth: lambda dice: dice.one(1, 10**6),
    ExifTags.Base.ColorSpace: lambda dice: dice.one(1, 65535),
    ExifTags.Base.LensSpecification: lambda dice: tuple(dice.choice(_RATIONALS) for _ in range(4)),
}
_PLACE: dict[int, Any] = {
    ExifTags.GPS.GPSLatitudeRef: lambda dice: dice.one("N", "S", "", "x" * 50),
    ExifTags.GPS.GPSLatitude: lambda dice: tuple(dice.choice(_RATIONALS) for _ in range(dice.one(3, 1, 4))),
    ExifTags.GPS.GPSVersionID: lambda dice: b"\2\3\0\0",
    ExifTags.GPS.GPSTimeStamp: lambda dice: (12, 30, 61),
    ExifTags.GPS.GPSDateStamp: lambda dice: "2024:13:01",
}
_ODD: dict[int, Any] = {  # tags that say how pixels are stored, where a photo's own are none of the new file's
    254: 1,
    256: 99_999,
    258: (8, 8, 8),
    259: 7,
    262: 6,
    273: (8, 16),
    279: (10**9,),
    305: "\x1b[31msoftware",
    306: "not a date",
    330: 8,
    338: 2,
    513: 10**6,
    514: 10**6,
    700: b"<x:xmpmeta/>",
    33432: "©",
    34675: b"profile",
    37510: b"",
    40965: 8,
    50000: (1, 2, 3),
}


def xmp(dice: Dice) -> bytes:
    """XMP with an orientation of its own; now and then damaged."""
    turn = dice.one("1", "6", "9", "x")
    data = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{turn}"/></rdf:RDF></x:xmpmeta>'
    ).encode()
    return data if dice.maybe(0.8) else damage.damaged(dice, data)


def iptc_segment(dice: Dice) -> bytes:
    """Photoshop's segment of a JPEG with IPTC-IIM; now and then with wrong lengths, or cut."""
    data = b"".join(
        struct.pack(
            ">BBBH", 0x1C, dice.one(1, 2, 2, 3, 99), dice.one(5, 25, 80, 90, 120, 202), dice.one(3, 3, 3, 32_000)
        )
        + dice.one(b"abc", "ü!".encode(), b"\xff\0\x1c")
        for _ in range(dice.randint(0, 4))
    )
    block = (
        b"Photoshop 3.0\0" + struct.pack(">4sHxxL", b"8BIM", dice.one(0x404, 0x425), dice.one(len(data), 10**6)) + data
    )
    block = block if dice.maybe(0.7) else block[: dice.randint(13, len(block))]
    return b"\xff\xed" + struct.pack(">H", len(block) + 2) + block


def texts(dice: Dice) -> PngInfo:
    """Texts of a PNG, some with names and values that no program should write."""
    info = PngInfo()
    for _ in range(dice.randint(1, 4)):
        name = dice.one(
            "Title", "Comment", "t2l", "transparency", "icc_profile", "dpi", "exif", "x" * 90, "Raw profile type xmp"
        )
        match dice.randrange(4):
            case 0:
                info.add_itxt(name, dice.one("a", "漢\x01", ""), dice.one("de", ""), "")
            case 1:
                info.add(b"zTXt", name.encode() + dice.one(b"\0\0", b"\0\7", b"") + dice.randbytes(9))
            case 2:
                info.add_text(name, "y" * dice.one(1, 5000), zip=True)
            case _:
                info.add(b"tEXt", name.encode() + dice.one(b"\0", b"") + dice.randbytes(dice.one(0, 30)))
    return info
