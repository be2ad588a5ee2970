"""Facts about a picture or a video, read from its header, and what it says of its own making."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from PIL import ExifTags, ImageCms

from t2l_cli.errors import RequestError
from t2l_cli.media.broken import without_broken
from t2l_cli.media.decoding import opened as opened_video
from t2l_cli.media.iptc import iptc_of
from t2l_cli.media.layered import is_ora, merged_in
from t2l_cli.media.opening import bits_of, decoding, open_image, opened, xmp_of
from t2l_cli.media.texts import RECORD as TEXT
from t2l_cli.media.texts import comment_in
from t2l_cli.media.video_tags import RECORD, SOURCE_TYPE, packet_in
from t2l_cli.media.xmp import record_in, source_type_in

_TURNED = (5, 6, 7, 8)  # values of EXIF's orientation that exchange width and height
_MAX_COMMENT = 200  # characters of a comment; some hold whole documents
_NAMES = {"matroska,webm": "Matroska", "mov,mp4,m4a,3gp,3g2,mj2": "MP4 or MOV"}  # FFmpeg's -> people's


@dataclass(frozen=True)
class Facts:
    """What a file's header says."""

    kind: Literal["picture", "video"]
    values: dict[str, Any]  # by name, for a person to read: numbers, text and yes or no
    record: str | None  # what it says of its own making
    source_type: str | None  # IPTC's word for that


def look_at(path: str | Path) -> Facts:
    """The facts about a picture or a video. RequestError, in one line with the path, for anything else."""
    try:
        return _picture(path)
    except RequestError as error:
        try:
            return _video(Path(path))
        except RequestError:
            raise error from None


def _picture(path: str | Path) -> Facts:
    with (
        opened(path) as file,
        decoding(path),
        open_image(without_broken(_shown(file, path))[0], path) as image,
    ):
        info, exif, (packet, _) = image.info, image.getexif(), xmp_of(image)
        texts = (record_in(packet), info.get(TEXT))
        width, height = image.size
        if exif.get(ExifTags.Base.Orientation) in _TURNED:
            width, height = height, width
        values = {
            "format": "OpenRaster" if is_ora(path) else image.format,
            "width": width,
            "height": height,
            "bits": bits_of(image),
            "colours": image.mode,
            "profile": _profile_name(info.get("icc_profile")),
            "transparency": image.has_transparency_data,
            "pictures": getattr(image, "n_frames", 1),
            "exif": bool(len(exif)),
            "xmp": bool(packet),
            "iptc": iptc_of(image) is not None,
            "comment": (comment_in(image) or "")[:_MAX_COMMENT] or None,
        }
        record = next((str(text) for text in texts if text), None)
        return Facts("picture", values, record, source_type_in(packet))


def _shown(file: BinaryIO, path: str | Path) -> BinaryIO:
    """The ``file``, or the merged picture in it where it is an OpenRaster file."""
    return merged_in(file, path) if is_ora(path) else file


def _profile_name(profile: bytes | None) -> str | None:
    """What a colour profile calls itself; None if there is none."""
    if not profile:
        return None
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    return "unreadable"


def _video(path: Path) -> Facts:
    with opened_video(path) as (container, stream):
        packet = packet_in(path)
        tags = {name.upper(): text for name, text in container.metadata.items()}
        seconds = None if container.duration is None else round(container.duration / 1_000_000, 3)
        values = {
            "format": _NAMES.get(container.format.name, container.format.name),
            "width": stream.width,
            "height": stream.height,
            "frames": stream.frames or None,
            "rate": None if stream.average_rate is None else round(float(stream.average_rate), 3),
            "seconds": seconds,
            "codec": stream.codec_context.name,
            "pixels": stream.codec_context.pix_fmt,
            "sound": bool(container.streams.audio),
        }
        record = record_in(packet) or tags.get(RECORD)
        return Facts("video", values, record, source_type_in(packet) or _short(tags.get(SOURCE_TYPE)))


def _short(address: str | None) -> str | None:
    return None if address is None else address.rpartition("/")[2]
