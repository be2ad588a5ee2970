from __future__ import annotations

import os
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from t2l_cli.cli import video_editing
from t2l_cli.cli.terminal import Terminal
from t2l_cli.cli.videos import Excerpt
from t2l_cli.engine.layers import EditLayer
from t2l_cli.errors import OutputError
from t2l_cli.media.videos import probe
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

    class Watched(video_editing.VideoWriter):
        def write(self, frame: Any, rgb: Any, alpha: Any = None) -> None:
            made.extend(weakref.ref(array) for array in (frame.rgb, rgb))
            super().write(frame, rgb, alpha)
            alive.append(sum(ref() is not None for ref in made))

    monkeypatch.setattr(video_editing, "VideoWriter", Watched)
    output = tmp_path / ("out.mov" if codec == "prores" else "out.mp4")
    with Terminal(quiet=True, verbose=False, as_json=False) as terminal:
        video_editing.map_back(excerpt, atlas, layers, output, codec, False, terminal)
    assert len(alive) == FRAMES
    assert max(alive) <= 4
    assert probe(output).frames == FRAMES


@pytest.mark.parametrize(
    ("failure", "kept"), [(OutputError("the disk is full."), ["out-foreground.png"]), (KeyboardInterrupt(), [])]
)
def test_what_was_painted_outlives_a_video_that_cannot_be_written(
    failure: BaseException,
    kept: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(video_editing, "map_back", fail)
    request: Any = SimpleNamespace(
        output=tmp_path / "out.mp4",
        layer_file=lambda name: tmp_path / f"out-{name}.png",
        codec="h264",
        overwrite=False,
    )
    layers = {"foreground": EditLayer(torch.ones(1, 3, 20, 20), torch.ones(1, 1, 20, 20))}
    excerpt: Any = None
    with pytest.raises(type(failure)):
        video_editing._write(request, excerpt, excerpt, layers, Terminal(quiet=True))
    assert os.listdir(tmp_path) == kept
    assert ("what was painted is kept: " in capsys.readouterr().err) == bool(kept)
