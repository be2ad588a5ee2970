"""An Atlas as a folder (video method, section 1).

foreground.png, background.png   the textures to open and paint over: RGBA, unused texels transparent
atlas.safetensors                coordinates and opacity (float32); textures (16 bits, because 8 would lose accuracy)
atlas.json                       format, version, the video's identity, the convention of the coordinates, the origin
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2l_cli.config import LAYERS, LayerName
from t2l_cli.engine.atlas.model import Atlas, AtlasLayer, VideoIdentity
from t2l_cli.errors import OutputError, RequestError
from t2l_cli.media.atomic import atomic_folder, default_mode
from t2l_cli.media.compositing import Bytes, rgba
from t2l_cli.media.output import save_layer
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.places import check_place, foreign_in
from t2l_cli.media.records import built, plain, read_json

FORMAT, VERSION = "t2l-atlas", 2  # 1, of t2l 0.1, has "clip" where 2 has "video"
TENSORS, RECORD = "atlas.safetensors", "atlas.json"
CONVENTION = "uv: texels (x, y) of the layer's texture; the first texel's centre is (0, 0); y points down"


class UnreadableAtlasError(RequestError):
    """The atlas may be whole, but was not read: the system refused it this time, or a newer version made it."""


@dataclass(frozen=True)
class AtlasRecord:
    """The contents of atlas.json."""

    format: str
    version: int
    video: VideoIdentity
    coordinates: str = CONVENTION
    sizes: dict[LayerName, dict[str, int]] = field(default_factory=dict)  # of the textures, texels
    pictures: dict[str, str] = field(default_factory=dict)  # file name -> SHA-256 of the pictures as written
    origin: dict[str, Any] = field(default_factory=dict)  # how the atlas was made, with figures


_OWN = {TENSORS, RECORD, "foreground.png", "background.png", "alpha.png", "checkerboard.mp4", "run.json"}
_LEVELS = 65_535  # levels of a stored texture: steps of 1.5e-5 over [0, 1]


def is_atlas_folder(path: str | Path) -> bool:
    """Whether ``path`` is a folder with an atlas.json."""
    return os.path.isfile(Path(path) / RECORD)


def check_atlas_output(path: str | Path, overwrite: bool, *inputs: str | Path | None) -> None:
    """Raise RequestError, before any work, if :func:`save_atlas` could not or should not write ``path``.

    Refused are what :func:`~t2l_cli.media.places.check_place` refuses, a folder that is not an atlas or holds other
    files, and an atlas whose pictures were changed since: somebody may have painted over them.
    """
    path = Path(path)
    check_place(path, overwrite, *inputs, folder=True)
    if not path.is_dir() or foreign_in(path, lambda name: False) is None:
        return
    try:
        record = read_record(path)
    except UnreadableAtlasError:
        raise
    except RequestError as error:
        raise RequestError(
            f"the folder {shown(path)} holds something else than an atlas and is left as it is."
        ) from error
    if beside := foreign_in(path, _OWN.__contains__):
        raise RequestError(
            f"the folder {shown(path)} holds {shown(beside)} beside the atlas, which would be deleted; "
            "move it away or choose another --output."
        )
    if painted := _painted(path, record.pictures):
        raise RequestError(
            f"{shown(path / painted)} is no longer as it was written: somebody may have painted over it; "
            "move it away or choose another --output."
        )


def _painted(folder: Path, written: dict[str, str]) -> str | None:
    """The first picture in ``folder`` whose SHA-256 differs from ``written`` (name -> SHA-256); None if none."""
    try:
        return next((name for name, digest in _digests(folder).items() if digest != written.get(name)), None)
    except OSError as error:
        raise RequestError(f"cannot read the atlas {shown(folder)}: {reason(error)}.") from error


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256, in hexadecimal, of those of the layers' PNG files that exist: name -> digest."""
    files = [file for name in LAYERS if (file := folder / f"{name}.png").exists()]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def save_atlas(
    atlas: Atlas, folder: str | Path, overwrite: bool = False, beside: Callable[[Path], None] | None = None
) -> None:
    """Write ``atlas`` to ``folder``, completely or not at all.

    ``beside(work)``: writes additional files into ``work``, a temporary folder that becomes ``folder`` at the end.
    Raises OutputError if writing fails, and RequestError as ``check_atlas_output``.
    """
    check_atlas_output(folder, overwrite)
    try:
        with atomic_folder(Path(folder), overwrite) as work:
            _fill(atlas, work)
            if beside:
                beside(work)
    except SafetensorError as error:
        raise OutputError(f"could not write {shown(folder)}: {shown(str(error))}.") from error


def as_stored(atlas: Atlas) -> Atlas:
    """``atlas`` as :func:`load_atlas` would return it, so that a fitted atlas and a loaded one give identical edits."""
    foreground, background = (
        AtlasLayer(_texture(_levels(layer.texture)), layer.uv.contiguous(), layer.used.contiguous())
        for layer in (atlas.foreground, atlas.background)
    )
    return dataclasses.replace(atlas, foreground=foreground, background=background, alpha=atlas.alpha.contiguous())


def _levels(texture: Tensor) -> Tensor:
    """A texture in [0, 1] as stored: uint16 of the same shape."""
    return (texture.clamp(0, 1) * _LEVELS).round().to(torch.uint16).contiguous()


def _texture(levels: Tensor) -> Tensor:
    return levels.float() / _LEVELS


def _fill(atlas: Atlas, folder: Path) -> None:
    tensors = {"alpha": atlas.alpha.contiguous()}
    for name in LAYERS:
        layer = atlas.layer(name)
        tensors[f"{name}.uv"] = layer.uv.contiguous()
        tensors[f"{name}.texture"] = _levels(layer.texture)
        tensors[f"{name}.used"] = layer.used.contiguous()
        save_layer(folder / f"{name}.png", rgba(*texture_bytes(layer)))
    save_file(tensors, folder / TENSORS)
    (folder / TENSORS).chmod(default_mode())  # safetensors lets only the owner read it
    sizes = {name: {"width": atlas.layer(name).size[1], "height": atlas.layer(name).size[0]} for name in LAYERS}
    record = AtlasRecord(FORMAT, VERSION, atlas.video, CONVENTION, sizes, _digests(folder), atlas.origin)
    (folder / RECORD).write_text(json.dumps(plain(record), indent=2) + "\n", encoding="utf-8")


def texture_bytes(layer: AtlasLayer) -> tuple[Bytes, Bytes]:
    """The texture in 8 bits, (H_a, W_a, 3), and its opacity (H_a, W_a): 255 for texels in use, otherwise 0; uint8."""
    rgb = (layer.texture.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return rgb, (layer.used.to(torch.uint8) * 255).cpu().numpy()


def load_atlas(folder: str | Path) -> Atlas:
    """Read an atlas folder; RequestError, in one line, if anything is missing, broken or inconsistent.

    UnreadableAtlasError if it may yet be whole.
    """
    folder = Path(folder)
    record = read_record(folder)
    try:
        tensors = load_file(folder / TENSORS)
    except FileNotFoundError as error:
        raise RequestError(f"the atlas {shown(folder)} has no {TENSORS}.") from error
    except OSError as error:
        raise UnreadableAtlasError(f"cannot read {shown(folder / TENSORS)}: {reason(error)}.") from error
    except (SafetensorError, ValueError) as error:
        raise RequestError(f"the atlas {shown(folder)} is broken: {TENSORS} cannot be read.") from error
    try:
        foreground, background = (_layer(tensors, name) for name in LAYERS)
        alpha = tensors["alpha"].float()
    except KeyError as error:
        raise RequestError(f"the atlas {shown(folder)} is broken: {error} is missing.") from error
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: numbers that torch cannot convert
        raise RequestError(f"the atlas {shown(folder)} is broken: a part of it is of a wrong type.") from error
    low, high = _extremes(alpha)
    if not (low >= 0 and high <= 1):
        raise RequestError(f"the atlas {shown(folder)} is broken: its opacity is not all between 0 and 1.")
    return Atlas(foreground, background, alpha, record.video, record.origin)


def _layer(tensors: dict[str, Tensor], name: str) -> AtlasLayer:
    uv, texture = tensors[f"{name}.uv"].float(), tensors[f"{name}.texture"]
    if not all(math.isfinite(extreme) for extreme in _extremes(uv)):
        raise RequestError(f"the atlas is broken: the {name}'s coordinates hold NaN or infinity.")
    if texture.dtype != torch.uint16:
        raise RequestError(f"the atlas is broken: the {name}'s texture is not of 16 bits.")
    return AtlasLayer(_texture(texture), uv, tensors[f"{name}.used"].bool())


def _extremes(values: Tensor) -> tuple[float, float]:
    """The minimum and maximum, computed without a copy; NaN if there are no values or one is NaN."""
    if not values.numel():
        return math.nan, math.nan
    low, high = values.aminmax()
    return low.item(), high.item()


def read_record(folder: Path) -> AtlasRecord:
    """The folder's atlas.json; RequestError if it is none, UnreadableAtlasError if it may yet be one."""
    try:
        data = read_json(folder / RECORD)
    except FileNotFoundError as error:
        raise RequestError(f"{shown(folder)} is not an atlas: it has no {RECORD}.") from error
    except OSError as error:
        raise UnreadableAtlasError(f"cannot read {shown(folder / RECORD)}: {reason(error)}.") from error
    except ValueError as error:
        raise RequestError(f"the atlas {shown(folder)} is broken: {RECORD} cannot be read.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("version"), int):
        raise RequestError(f"{shown(folder / RECORD)} is not the record of an atlas.")
    if data["version"] > VERSION:
        raise UnreadableAtlasError(
            f"the atlas {shown(folder)} was made by a newer t2l (format {data['version']}); update."
        )
    if "clip" in data:  # version 1
        data["video"] = data.pop("clip")
    return built(AtlasRecord, data, f"the atlas {shown(folder)} is broken: {RECORD}", extra=True)
