"""Reads checkpoints of the published Layered Neural Atlases code: a file `checkpoint` beside a `config.json`."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from t2l_cli.engine.atlas.model import VideoIdentity
from t2l_cli.engine.atlas.networks import FOREIGN, NeuralAtlas
from t2l_cli.errors import RequestError
from t2l_cli.media.paths import reason, shown
from t2l_cli.media.records import read_json

CHECKPOINT, CONFIG = "checkpoint", "config.json"
_NUMBERS = ("maximum_number_of_frames", "resx", "resy")


def load_checkpoint(path: str | Path, video: tuple[int, int, int] | None = None) -> tuple[NeuralAtlas, VideoIdentity]:
    """Read a checkpoint (the file, or its folder): the networks, and the video that they were trained on.

    The published code trains on the first ``maximum_number_of_frames`` frames, resized to resx x resy px, or on all if
    there are fewer; the networks' time is relative to the number of frames used. ``video`` = (frames, width, height)
    therefore sets the number of frames if it is shorter than the maximum. Without config.json all of ``video`` is used.
    The file cannot run code, because it is read with weights_only.
    Raises RequestError, in one line, for anything that is not such a checkpoint, if size or number of frames are
    unknown, and if ``video`` does not fit.
    """
    path = Path(path)
    file = path / CHECKPOINT if os.path.isdir(path) else path
    networks = NeuralAtlas.from_state(_state(file))
    numbers = _numbers(file.parent / CONFIG)
    if numbers is None:
        if video is None:
            raise RequestError(f"there is no {CONFIG} beside {shown(file)}: give the video with --video.")
        return networks, VideoIdentity(*video)
    frames, width, height = numbers
    if video is None:
        return networks, VideoIdentity(frames, width, height)
    if video[1:] != (width, height):
        raise RequestError(f"the atlas is of a video of {width} x {height} px, this one is {video[1]} x {video[2]}.")
    if video[0] > frames:
        raise RequestError(f"the atlas has {frames} frames, the video {video[0]}; --frames 0:{frames} picks them.")
    return networks, VideoIdentity(video[0], width, height)


def _state(file: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's warnings about odd files are meant for developers
            state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RequestError(f"there is no checkpoint {shown(file)}.") from error
    except OSError as error:
        raise RequestError(f"cannot read {shown(file)}: {reason(error)}.") from error
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"{shown(file)} is not a checkpoint of plain weights: it is damaged, or holds code, which is never run."
        ) from error
    except Exception as error:  # on damaged bytes, torch.load raises many kinds of errors
        raise RequestError(f"{shown(file)} is damaged or not a checkpoint.") from error
    if not isinstance(state, dict):
        raise RequestError(f"{FOREIGN}: {shown(file)} holds a {type(state).__name__}.")
    return state


def _numbers(config: Path) -> tuple[int, int, int] | None:
    """(frames, width, height) of config.json; None if there is no such file."""
    try:
        settings = read_json(config)
        frames, width, height = (settings[name] for name in _NUMBERS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RequestError(f"cannot read {shown(config)}: {reason(error)}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{shown(config)} does not say {', '.join(_NUMBERS)}.") from error
    if not all(isinstance(n, int) and 0 < n < 100_000 for n in (frames, width, height)):
        raise RequestError(f"{shown(config)} says {frames} frames of {width} x {height} px: that cannot be.")
    return frames, width, height
