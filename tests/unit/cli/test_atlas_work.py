"""What becomes of a fit whose atlas cannot be written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from t2l_cli.atlases.store import load_atlas, save_atlas
from t2l_cli.cli import atlas_work
from t2l_cli.cli.fitting import FitRequest
from t2l_cli.cli.terminal import Terminal
from t2l_cli.engine.atlas.quality import Quality
from t2l_cli.errors import RequestError
from tests.tiny_videos import make_video
from tests.truth import make_truth

QUALITY = Quality(30.0, None, None, None, None, None, 0.0)


def test_a_fit_is_kept_where_its_atlas_was_painted_in_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The paint stays, and so does the work of the fit: --resume writes it."""
    truth = make_truth((40, 24), 3)
    atlas, folder = truth.atlas(), tmp_path / "atlas"
    save_atlas(atlas, folder)
    picture = folder / "foreground.png"

    def fitting(*_: Any) -> Any:
        with Image.open(picture) as image:
            Image.new("RGBA", image.size, (255, 0, 0, 255)).save(picture)
        return SimpleNamespace(
            result=lambda: atlas, quality=lambda: QUALITY, state=lambda: {"step": 7}, found_foreground=True
        )

    monkeypatch.setattr(atlas_work, "fitting", fitting)
    video = make_video(tmp_path / "video.mp4", range(3), size=(40, 24))
    request = FitRequest(video, folder, overwrite=True)
    with pytest.raises(RequestError, match=r"foreground\.png is no longer as it was written"):
        atlas_work.fit(request, Terminal())
    assert f"the fit is kept in {folder}.resume: --resume writes its atlas" in capsys.readouterr().err
    with Image.open(picture) as image:
        assert image.getpixel((0, 0)) == (255, 0, 0, 255)
    state = atlas_work.FitState(
        atlas_work.state_file(folder), request.key(atlas_work.open_clip(video, None, Terminal()))
    )
    assert state.load() == {"step": 7}
    assert load_atlas(folder).video == atlas.video
