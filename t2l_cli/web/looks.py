"""What is to be seen of sources and runs: small pictures, and words as HTML. Nothing here knows gradio's parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from t2l_cli.jobs.report.collect import Edit
from t2l_cli.media.images import load_picture
from t2l_cli.media.small import small_frame, thumbnail
from t2l_cli.media.videos import probe

if TYPE_CHECKING:
    from t2l_cli.web.runs import Run

SIDE = 1280  # px of the longer side of what the page shows


def canvas(picture: Image.Image) -> Any:
    """The value of the brush's editor: ``picture``, with nothing painted on it."""
    return {"background": np.asarray(picture.convert("RGBA")), "layers": [], "composite": None}


def painted(value: Any) -> Any:
    """Where something was painted, (H, W) uint8, white; None where nothing was."""
    layers = [] if value is None else [layer for layer in value["layers"] if layer is not None]
    covers = [layer[..., 3] for layer in layers if layer.ndim == 3 and layer[..., 3].any()]
    return None if not covers else np.where(np.maximum.reduce(covers) > 127, np.uint8(255), np.uint8(0))


def state(run: Run | None) -> str:
    """How a run is; those that an earlier session made have ended."""
    return "earlier" if run is None else run.state


def status(name: str, run: Run | None, queue: Sequence[Run]) -> str:
    """What to say of a run, and of those that wait."""
    if run is None:
        return Markup("<p><b>{}</b></p>").format(name)
    place = next((i for i, one in enumerate(queue) if one is run), None)
    waits = f", {place} before it" if run.state == "waiting" and place else ""
    text = Markup("<p><b>{}</b>, seed {}: {}{}{}</p>").format(
        run.name, run.seed, run.state, waits, f": {run.about}" if run.about else ""
    )
    others = [one.name for one in queue if one is not run]
    if others:
        text += Markup("<p>In the queue: {}</p>").format(", ".join(others))
    if run.notes:
        notes = Markup("").join(Markup("<li>{}</li>").format(note) for note in run.notes)
        text += Markup("<details><summary>{} notes</summary><ul>{}</ul></details>").format(len(run.notes), notes)
    return text


def facts(edit: Edit) -> str:
    """How a run was made, as a table."""
    rows = [*edit.facts, *edit.settings, *edit.times, ("repeat it", edit.repeat), *(("note", n) for n in edit.notes)]
    body = Markup("").join(Markup("<tr><th>{}</th><td>{}</td></tr>").format(name, value) for name, value in rows)
    return Markup('<table class="facts">{}</table>').format(body)


def pair(before: Path | None, after: Path) -> tuple[Image.Image, Image.Image]:
    """Photos before and after, small enough for the page; one that is no longer there is left out."""
    shown = small(after, False)
    return (shown if before is None else small(before, False)), shown


def small(path: Path, video: bool, side: int = SIDE) -> Image.Image:
    """A picture, or the middle frame of a video, as it was last written, RGB."""
    return _read(path, path.stat().st_mtime_ns, video, side)


@lru_cache(maxsize=64)
def _read(path: Path, written: int, video: bool, side: int) -> Image.Image:
    if not video:
        return thumbnail(load_picture(path), side).convert("RGB")
    info = probe(path)
    return small_frame(info, info.frames // 2, side)
