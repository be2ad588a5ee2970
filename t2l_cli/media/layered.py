"""Files with layers: the photo, the edit layer and its mask, for image editors. OpenRaster and PSD out, OpenRaster in.

OpenRaster (.ora, of Krita, GIMP and MyPaint) is a zip file of PNGs with a list of them, stack.xml. The layers hold
colours as blended, so that an editor's plain "normal" mode shows the composite; so does the merged picture beside them.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from t2l_cli.errors import OutputError, RequestError, T2LError
from t2l_cli.media.compositing import Bytes, Pixels, Rows, flattened, over, rgba
from t2l_cli.media.images import Picture, picture_in, save_like
from t2l_cli.media.iptc import RESOURCE as IPTC_RESOURCE
from t2l_cli.media.opening import MAX_PIXELS, decoding, opened
from t2l_cli.media.output import check_output, format_of, write_picture
from t2l_cli.media.paths import STDIO, shown
from t2l_cli.media.places import check_place
from t2l_cli.media.tags import Tags, placed
from t2l_cli.media.xmp import Mark, marked

if TYPE_CHECKING:
    from psd_tools import PSDImage

PHOTO, LAYER, MASK = "photo", "edit layer", "mask"
"""The layers' names, from the lowest to the highest."""

_MIME, _VERSION = "image/openraster", "0.0.5"
_STACK, MERGED, _THUMBNAIL = "stack.xml", "mergedimage.png", "Thumbnails/thumbnail.png"
_FILES = {PHOTO: "data/photo.png", LAYER: "data/layer.png", MASK: "data/mask.png"}
_OVER, _ATOP = "svg:src-over", "svg:src-atop"  # atop: the photo's own transparency stays
_THUMBNAIL_SIDE = 256  # px
_MAX_STACK = 1_000_000  # bytes of stack.xml
_MAX_ENTRY = 1 << 30  # bytes of a picture in it
_MAX_PSD_SIDE = 30_000  # px
_XMP, _EXIF, _ICC = 1060, 1058, 1039  # image resources of a PSD


@dataclass(frozen=True)
class Layers:
    """What goes into a file with layers, in 8 bits."""

    photo: Picture
    layer: Pixels  # (H, W, 4), straight alpha
    mask: Bytes | None = None  # (H, W), where the edit may be; None: the layer's opacity is taken

    @property
    def flat(self) -> Pixels:
        """The layer in 8 bits."""
        return flattened(self.layer) if self.layer.dtype == np.uint16 else self.layer

    @property
    def below(self) -> Pixels:
        """The photo, (H, W, 3 or 4)."""
        rgb, alpha = self.photo.rgb, self.photo.alpha
        return rgb if alpha is None else rgba(rgb, alpha)

    @property
    def merged(self) -> Rows:
        """The composite, (H, W, 3 or 4)."""
        return over(self.flat, self.below)

    @property
    def grey(self) -> Pixels:
        """The mask, (H, W, 3)."""
        flat, mask = self.flat, self.mask
        return Rows(
            (*flat.shape[:2], 3), lambda rows: np.dstack([flat[rows][..., 3] if mask is None else mask[rows]] * 3)
        )


def check_photo_output(
    path: str | Path, overwrite: bool, *inputs: str | Path | None, size: tuple[int, int] | None = None
) -> None:
    """As :func:`~t2l_cli.media.output.check_output`, for :func:`save_photo`."""
    if not is_layered(path):
        check_output(path, overwrite, *inputs, size=size, more=tuple(_ENCODERS))
        return
    if _is_psd(path):
        if importlib.util.find_spec("psd_tools") is None:
            raise RequestError(f"{shown(path)} needs a package (python -m pip install psd-tools). A .ora needs none.")
        if size is not None and max(size) > _MAX_PSD_SIDE:
            raise RequestError(f"PSD holds at most {_MAX_PSD_SIDE} pixels a side; use .ora for {shown(path)}.")
    check_place(Path(path), overwrite, *inputs)


def save_photo(
    path: str | Path, layers: Layers, mark: Mark | None, metadata: bool = True, overwrite: bool = False
) -> tuple[str, ...]:
    """Write the composite of ``layers``, or in a file with layers all of them, as ``save_like``; notes for the user."""
    photo = layers.photo
    if not is_layered(path):
        return save_like(path, over(layers.layer, photo.finest), photo, mark, metadata, overwrite)
    psd = _is_psd(path)
    tags = placed(photo.beside if metadata else Tags(photo.icc), iptc=psd, texts=not psd, comment=False)
    if mark and metadata:
        tags = replace(tags, xmp=marked(tags.xmp, mark), record=mark.record)
    try:
        data = _ENCODERS[Path(path).suffix.lower()](layers, tags)
    except (MemoryError, T2LError):
        raise
    except Exception as error:  # such as a library's own
        raise OutputError(f"could not encode {shown(path)}: {shown(str(error))}.") from error
    write_picture(path, data, overwrite)
    return () if photo.deep is None else (f"{shown(path)} has 8 bits per channel, fewer than the photo",)


def is_layered(path: str | Path) -> bool:
    """Whether the suffix of ``path`` is one of a file with layers."""
    return str(path) != STDIO and Path(path).suffix.lower() in _ENCODERS


def _is_psd(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".psd"


def encode_ora(layers: Layers, tags: Tags) -> bytes:
    """``layers`` as an OpenRaster file, with the photo's profile and EXIF; the merged picture has all ``tags``."""
    height, width = layers.flat.shape[:2]
    png = format_of(STDIO).encode
    pictures = {
        _FILES[PHOTO]: png(layers.below, Tags(tags.icc, tags.exif)),
        _FILES[LAYER]: png(layers.flat, Tags(tags.icc, None, tags.xmp)),
        _FILES[MASK]: png(layers.grey, Tags()),
        MERGED: png(layers.merged, tags),
        _THUMBNAIL: png(_small(layers.merged), Tags(tags.icc)),
    }
    root = ElementTree.Element("image", version=_VERSION, w=str(width), h=str(height), xres="72", yres="72")
    stack = ElementTree.SubElement(root, "stack")
    for name in (MASK, LAYER, PHOTO):  # from the top
        ElementTree.SubElement(
            stack,
            "layer",
            {
                "name": name,
                "src": _FILES[name],
                "x": "0",
                "y": "0",
                "opacity": "1.0",
                "visibility": "hidden" if name == MASK else "visible",
                "composite-op": _ATOP if name == LAYER and layers.photo.alpha is not None else _OVER,
            },
        )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed already
        archive.writestr(zipfile.ZipInfo("mimetype"), _MIME)  # first, and as it is: programs look for it there
        archive.writestr(zipfile.ZipInfo(_STACK), ElementTree.tostring(root, "UTF-8", xml_declaration=True))
        for name, data in pictures.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def _small(pixels: Rows) -> Bytes:
    """``pixels`` at the size of a thumbnail."""
    height, width = pixels.shape[:2]
    step = max(1, max(height, width) // (4 * _THUMBNAIL_SIDE))  # first, cheaply, to a few times that size
    rows = np.concatenate([pixels[y : y + 1][:, ::step] for y in range(0, height, step)])
    image = Image.fromarray(rows)
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    return np.asarray(image)


def encode_psd(layers: Layers, tags: Tags) -> bytes:
    """``layers`` as a PSD file with all ``tags``, by psd-tools."""
    from psd_tools import PSDImage
    from psd_tools.psd.image_resources import ImageResource

    class Document(PSDImage):
        """A document whose merged picture is ours, and is not computed again when it is saved."""

        def is_updated(self) -> bool:
            return False

    document: PSDImage = Document.frompil(_image(layers.merged))
    document.create_pixel_layer(_image(layers.below), name=PHOTO)
    document.create_pixel_layer(_image(layers.flat), name=LAYER).clipping = layers.photo.alpha is not None
    document.create_pixel_layer(_image(layers.grey), name=MASK).visible = False
    exif = tags.exif.removeprefix(b"Exif\0\0") if tags.exif else None
    for key, data in ((_ICC, tags.icc), (_EXIF, exif), (_XMP, tags.xmp), (IPTC_RESOURCE, tags.iptc)):
        if data:
            document.image_resources[key] = ImageResource(key=key, data=data)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels.whole() if isinstance(pixels, Rows) else pixels)


_ENCODERS: dict[str, Callable[[Layers, Tags], bytes]] = {".ora": encode_ora, ".psd": encode_psd}


def is_ora(path: str | Path) -> bool:
    """Whether ``path`` is named as an OpenRaster file."""
    return str(path) != STDIO and Path(path).suffix.lower() == ".ora"


def load_ora_layer(path: str | Path) -> Picture:
    """The edit layer of an OpenRaster file: on the whole canvas, with its opacity. An editor may have changed it.

    It is the one that is named so, or the only one above the lowest. RequestError, in one line with the path, for
    anything that is not an OpenRaster file with such a layer.
    """
    with opened(path) as file, decoding(path), _archive(file, path) as archive:
        size, layer = _edit_layer(archive, path)
        picture = _entry(archive, layer.get("src", ""), path)
        merged = _entry(archive, MERGED, path) if MERGED in archive.namelist() else picture
        opacity = min(max(float(layer.get("opacity", "1")), 0.0), 1.0)
        place = round(float(layer.get("x", "0"))), round(float(layer.get("y", "0")))
        canvas = _placed(picture, size, place, opacity)
        notes = picture.notes
        if (mode := layer.get("composite-op", _OVER)) not in (_OVER, _ATOP):
            notes += (f"{shown(path)} blends its layer as {shown(mode)}; it is laid over as it is",)
    trained = picture.trained or merged.trained
    return Picture(canvas[..., :3], canvas[..., 3], picture.icc, notes=notes, trained=trained)


def _archive(file: BinaryIO, path: str | Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
        if archive.read("mimetype").strip() != _MIME.encode():
            raise RequestError(f"{shown(path)} is a zip file, but not of OpenRaster.")
    except (zipfile.BadZipFile, KeyError) as error:
        raise RequestError(f"{shown(path)} is not an OpenRaster file.") from error
    return archive


def merged_in(file: BinaryIO, path: str | Path) -> io.BytesIO:
    """The file of the merged picture in an OpenRaster ``file``."""
    with decoding(path), _archive(file, path) as archive:
        return io.BytesIO(_read(archive, MERGED, _MAX_ENTRY))


def _read(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    if archive.getinfo(name).file_size > most:  # zipfile reads no more than that says
        raise ValueError(f"{name} is too large")
    return archive.read(name)


def _entry(archive: zipfile.ZipFile, name: str, path: str | Path) -> Picture:
    return picture_in(io.BytesIO(_read(archive, name, _MAX_ENTRY)), path)


def _edit_layer(archive: zipfile.ZipFile, path: str | Path) -> tuple[tuple[int, int], ElementTree.Element]:
    """The canvas's (height, width), and the edit layer's entry in the list."""
    data = _read(archive, _STACK, _MAX_STACK)
    if b"<!DOCTYPE" in data or b"\0" in data:  # which it never has, and which can blow a parser up
        raise ValueError("not a list of layers")
    root = ElementTree.fromstring(data)
    width, height = int(root.get("w", "0")), int(root.get("h", "0"))
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise RequestError(f"{shown(path)} claims {width} x {height} pixels.")
    layers = list(root.iter("layer"))
    named = [layer for layer in layers if layer.get("name", "").strip().lower() == LAYER]
    seen = [layer for layer in layers[:-1] if layer.get("visibility", "visible") == "visible"]
    if not named and len(seen) != 1:
        names = ", ".join(shown(layer.get("name", "")) for layer in layers)
        raise RequestError(f'{shown(path)} has no layer named "{LAYER}", but {names or "none at all"}.')
    return (height, width), (named or seen)[0]


def _placed(picture: Picture, size: tuple[int, int], place: tuple[int, int], opacity: float) -> Bytes:
    """``picture`` with its upper left corner at ``place`` (x, y) of an empty canvas (H, W, 4)."""
    (height, width), (x, y) = size, place
    canvas: Any = np.zeros((height, width, 4), np.uint8)
    own_height, own_width = picture.size
    top, left = max(0, y), max(0, x)
    bottom, right = min(height, y + own_height), min(width, x + own_width)
    if top < bottom and left < right:
        inside = slice(top - y, bottom - y), slice(left - x, right - x)
        canvas[top:bottom, left:right, :3] = picture.rgb[inside]
        cover = 255 if picture.alpha is None else picture.alpha[inside]
        canvas[top:bottom, left:right, 3] = np.rint(cover * opacity) if opacity < 1 else cover
    whole: Bytes = canvas
    return whole
