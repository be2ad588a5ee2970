"""The Python of README and docs/python.md runs as it stands there, only with fewer steps; so does the notebook."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

import t2l_cli as t2l
from t2l_cli.media.encode import VideoWriter
from t2l_cli.media.videos import probe, read_frames
from tests.e2e.program import draw_scene
from tests.truth import make_truth

ROOT = Path(__file__).parents[2]
QUICK = {"steps": 2, "views": 1, "size": 129}
QUICK_FIT = {"visits": 3, "size": 64}


def blocks(page: str) -> list[str]:
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages speak of, and quick functions."""
    monkeypatch.chdir(tmp_path)
    scene = Image.open(draw_scene("mug", tmp_path, (160, 120)).path).convert("RGB")
    for name in ("photo.jpg", "other.jpg"):
        scene.save(name)
    for i, rgb in enumerate(make_truth((96, 64), 6).frames):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(rgb).save(tmp_path / "frames" / f"{i}.png")
    info = probe(tmp_path / "frames")
    with VideoWriter("video.mp4", info, "lossless") as writer:
        for frame in read_frames(info):
            writer.write(frame, frame.rgb)
    for name, quick in (("edit_image", QUICK), ("edit_video", QUICK), ("fit_atlas", QUICK_FIT), ("batch", QUICK)):
        monkeypatch.setattr(t2l, name, functools.partial(getattr(t2l, name), **quick))
    return tmp_path


@pytest.mark.slow
def test_the_readmes_snippet(place: Path) -> None:
    (snippet,) = blocks("README.md")
    exec(snippet, {})
    assert Image.open("out.png").size == (160, 120)


@pytest.mark.slow
def test_the_page_for_python_users(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in blocks("docs/python.md"):
        exec(block, names)
    written = {path.name for path in place.iterdir()}
    assert written >= {"out.png", "layer.png", "red-photo.jpg", "red-other.jpg", "middle-frame.png", "painted.png"}
    assert written >= {"out.mp4", "to-paint-on.png", "atlas", "painted.mp4", "stopped.png"}
    assert "done ['stopped.png'] 2" in capsys.readouterr().out.replace("(", "[").replace(",)", "]")


@pytest.mark.slow
def test_the_notebook(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "examples" / "edit.ipynb", as_version=4)
    settings = next(cell for cell in notebook.cells if "settings =" in cell.source)
    settings.source += f"\nsettings |= {QUICK}"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "examples")}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("image/png" in output["data"] for output in shown) >= 2


def test_the_page_for_many_photos(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "photos").mkdir()
    (place / "photo.jpg").rename(place / "photos/photo.jpg")
    (snippet,) = blocks("docs/batch.md")
    exec(snippet, {})
    assert capsys.readouterr().out.startswith("done photo-red-cup.png ")
    assert (place / "out/photo-red-cup.png").is_file()
