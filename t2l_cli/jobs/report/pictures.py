"""The pictures of an edit as they stand in a page: small, as WebP or MP4, together within so many bytes."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from t2l_cli.errors import T2LError
from t2l_cli.jobs.report.collect import Edit, Layer
from t2l_cli.media.images import Picture, load_picture, picture_in
from t2l_cli.media.layered import is_ora, load_ora_layer, merged_in
from t2l_cli.media.opening import opened
from t2l_cli.media.paths import shown
from t2l_cli.media.small import reduced, small_frame, small_video, thumbnail, webp
from t2l_cli.media.videos import Frame, VideoInfo, probe, read_frames

MOST = 13_500_000  # bytes of all pictures together; base64 makes a third more of them, and the texts are 2 MB at most
_FEW = 10  # edits: fewer do not get more
LARGEST, SMALLEST = 1280, 160  # px of a picture's longer side
_NEXT = 0.75  # from one size to try to the next
_QUALITY = 80  # of WebP
_SHEET, _COLUMNS = 8, 4  # frames of a contact sheet, and in one of its rows
_VIDEO_SIDE, _VIDEO_FRAMES, _VIDEO_BYTES = 400, 240, 300_000  # px, number and bytes at most


class Embedded(NamedTuple):
    """A picture or a video in a page."""

    uri: str
    width: int
    height: int


class _Large(NamedTuple):
    """A picture before it is made small."""

    image: Image.Image
    part: float  # of the longer side that the most important pictures have


class Album:
    """The pictures of one edit, by what they are and by layer: before, after, layer, alpha, snapshots, sheet, video."""

    def __init__(self, edit: Edit, edits: int) -> None:
        """edits: how many there are in the page. What cannot be read is left out, with a note."""
        self.notes: list[str] = []
        self.pictures: dict[tuple[str, str], Embedded] = {}
        self._large: dict[tuple[str, str], _Large] = {}
        self._share = MOST // max(edits, _FEW)
        if edit.video:
            self._add_video(edit)
        else:
            self._add_photo("before", edit.before)
            self._add_photo("after", edit.result)
        for layer in edit.layers:
            self._add_layer(layer)
        self._embed()

    def get(self, what: str, layer: str = "") -> Embedded | None:
        """A picture, if there is one."""
        return self.pictures.get((what, layer))

    @contextlib.contextmanager
    def _trying(self, path: Path) -> Iterator[None]:
        try:
            yield
        except T2LError as error:
            self.notes.append(f"{shown(path.name)} cannot be shown: {error}")

    def _add_photo(self, what: str, path: Path | None) -> None:
        if path is not None:
            with self._trying(path):
                self._large[what, ""] = _Large(thumbnail(_photo(path), LARGEST), 1)

    def _add_layer(self, layer: Layer) -> None:
        if layer.picture is not None:
            with self._trying(layer.picture):
                path = layer.picture
                image = thumbnail(load_ora_layer(path) if is_ora(path) else load_picture(path), LARGEST)
                self._large["layer", layer.name] = _Large(image, 0.6)
                self._large["alpha", layer.name] = _Large(image.convert("RGBA").getchannel("A"), 0.6)
        if layer.snapshots:
            with self._trying(layer.snapshots[0].parent):
                cells = [thumbnail(load_picture(path), LARGEST // _COLUMNS) for path in layer.snapshots]
                self._large["snapshots", layer.name] = _Large(_sheet(cells), 0.75)

    def _add_video(self, edit: Edit) -> None:
        middle = 0
        if edit.result is not None:
            with self._trying(edit.result):
                info = probe(edit.result)
                middle = info.frames // 2
                self._add_frames(info, middle)
        if edit.before is not None:
            with self._trying(edit.before):
                source = probe(edit.before)
                at = min(edit.first + middle, source.frames - 1)
                self._large["before", ""] = _Large(small_frame(source, at, LARGEST), 1)

    def _add_frames(self, info: VideoInfo, middle: int) -> None:
        """The middle frame of a result, its contact sheet, and itself as a small video."""
        cells = {round(i * (info.frames - 1) / (_SHEET - 1)) for i in range(_SHEET)}
        every = -(-info.frames // _VIDEO_FRAMES)
        sheet: list[Image.Image] = []
        frames: list[Frame] = []
        for number, frame in enumerate(read_frames(info)):
            image = Image.fromarray(frame.rgb)
            if number == middle:
                self._large["after", ""] = _Large(reduced(image, LARGEST), 1)
            if number in cells:
                sheet.append(reduced(image, LARGEST // _COLUMNS))
            if number % every == 0:
                small = np.asarray(reduced(image, _VIDEO_SIDE))
                frames.append(replace(frame, rgb=small, duration=frame.duration * every))
        self._large["sheet", ""] = _Large(_sheet(sheet), 1)
        data = small_video(frames, info, min(_VIDEO_BYTES, self._share // 2))
        self._share -= len(data)
        height, width = frames[0].rgb.shape[:2]
        self.pictures["video", ""] = Embedded(_uri("video/mp4", data), width, height)

    def _embed(self) -> None:
        """Encode the pictures, as large as their share of the page's bytes lets them be."""
        large, self._large = self._large, {}
        side: float = LARGEST
        while True:
            small = {key: reduced(one.image, round(side * one.part)) for key, one in large.items()}
            files = {key: webp(image, _QUALITY) for key, image in small.items()}
            if side <= SMALLEST or sum(map(len, files.values())) <= self._share:
                break
            side = max(SMALLEST, side * _NEXT)
        for key, data in files.items():
            self.pictures[key] = Embedded(_uri("image/webp", data), *small[key].size)


def _photo(path: Path) -> Picture:
    """A photo, or the merged picture of an OpenRaster file."""
    if not is_ora(path):
        return load_picture(path)
    with opened(path) as file:
        return picture_in(merged_in(file, path), path)


def _sheet(cells: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size in rows, in their order."""
    width, height = cells[0].size
    columns = min(_COLUMNS, len(cells))
    size = columns * width, -(-len(cells) // columns) * height
    sheet = Image.new(cells[0].mode, size)
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * width, number // columns * height))
    return sheet


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
