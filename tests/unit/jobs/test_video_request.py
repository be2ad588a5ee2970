"""What may be asked of an edit of a video, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from t2l_cli.errors import RequestError
from t2l_cli.jobs.video_request import VideoRequest


def request(settings: dict[str, Any], **more: Any) -> VideoRequest:
    return VideoRequest.of("video.mp4", ("red",), settings, **more)


@pytest.mark.parametrize(
    ("option", "settings", "more"),
    [
        ("--mask", {}, {"mask": "mask.png"}),
        ("--mask-class", {"mask_class": "dog"}, {}),
        ("--flow", {"flow": "raft"}, {}),
        ("--fit-preset", {}, {"fit_preset": "fine"}),
    ],
)
def test_what_helps_to_fit_an_atlas_is_refused_beside_one(
    option: str, settings: dict[str, Any], more: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=f"{option} helps to fit an atlas and does nothing beside --atlas"):
        request(settings, atlas=str(tmp_path), **more)
    (tmp_path / "mask.png").touch()
    assert request(settings, **more | ({"mask": str(tmp_path / "mask.png")} if "mask" in more else {})).atlas is None


def test_a_resolution_needs_an_atlas(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--resolution"):
        request({}, resolution=1000)
    assert request({}, resolution=1000, atlas=str(tmp_path)).resolution == 1000
