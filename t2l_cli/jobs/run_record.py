"""What a run.json holds, as types; for type checks and `t2l schema`, no job imports this when it works."""

from __future__ import annotations

from typing import TypedDict

from t2l_cli.config import EditConfig, FitConfig
from t2l_cli.engine.atlas.quality import Quality
from t2l_cli.jobs.job import Ended

Size = tuple[int, int]
"""(height, width), px."""


class Texts(TypedDict):
    """The texts in use, also those that were chosen for the user."""

    prompts: list[str]
    roi: str | None
    roi_chosen_by_clip: bool
    layer: list[str]


class Try(TypedDict):
    """A short start: its seed, and CLIP's score from -1 to 1; null: it diverged."""

    seed: int
    score: float | None


class EditRecord(TypedDict):
    """An edit of a photo, or of one layer of a video."""

    command: str
    seed: int
    config: EditConfig
    texts: Texts
    tries: list[Try]
    training_size: Size
    device: str
    precision: str
    weights_sha256: str | list[str]  # of each CLIP
    versions: dict[str, str]
    steps_done: int
    losses: dict[str, float | None]  # of the last step, weighted; "total" is their sum


class PhotoRecord(EditRecord):
    """run.json of t2l edit-image."""

    ended: Ended
    source: str | None
    source_sha256: str | None
    output: str | None
    mask: str | None
    mask_sha256: str | None
    clip_weights: str | None
    picture_size: Size
    seconds: dict[str, float]


class VideoRecord(EditRecord):
    """run.json of t2l edit-video. layers: the prompts of each; details: the record of each, the first also above."""

    ended: Ended
    source: str | None
    source_sha256: str | None
    output: str | None
    excerpt: str | None  # "a:b", the frames as they were asked for
    frames: tuple[int, int]  # from, and to but without
    atlas: str | None
    fit: FitConfig | None  # of the atlas, where none was given
    mask: str | None  # of the fit
    mask_sha256: str | None
    clip_weights: str | None
    layers: dict[str, list[str]]
    details: dict[str, EditRecord]
    seconds: dict[str, float]


class FitRecord(TypedDict):
    """run.json of t2l fit-atlas."""

    command: str
    source: str | None
    output: str | None
    frames: tuple[int, int]  # from, and to but without
    mask: str | None
    config: FitConfig
    found_foreground: bool
    quality: Quality
    ended: Ended
