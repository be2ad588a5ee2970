from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from t2l_cli.engine.layers import EditLayer
from t2l_cli.jobs import map_back
from t2l_cli.jobs.excerpt import Excerpt
from t2l_cli.media.videos import probe
from t2l_cli.progress import Silent
from tests.tiny_videos import make_video
from tests.truth import make_truth

SIZE, FRAMES = (160, 96), 24


@pytest.mark.parametrize("codec", ["h264", "prores"])
def test_mapping_back_holds_a_frame_or_two_whatever_the_videos_length(
    codec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all frames that were read and made, no more than two of each are alive when the next is written."""
    atlas = make_truth(SIZE, FRAMES).atlas()
    excerpt = Excerpt(probe(make_video(tmp_path / "video.mp4", range(FRAMES), size=SIZE)), (0, FRAMES))
    height, width = atlas.foreground.size
    layers = {"foreground": EditLayer(torch.ones(1, 3, height, width), torch.ones(1, 1, height, width))}
    made: list[weakref.ref[Any]] = []
    alive: list[int] = []

    class Watched(map_back.VideoWriter):
        def write(self, frame: Any, rgb: Any, alpha: Any = None) -> None:
            made.extend(weakref.ref(array) for array in (frame.rgb, rgb))
            super().write(frame, rgb, alpha)
            alive.append(sum(ref() is not None for ref in made))

    monkeypatch.setattr(map_back, "VideoWriter", Watched)
    output = tmp_path / ("out.mov" if codec == "prores" else "out.mp4")
    map_back.map_back(excerpt, atlas, layers, output, codec, False, Silent())
    assert len(alive) == FRAMES
    assert max(alive) <= 4
    assert probe(output).frames == FRAMES
