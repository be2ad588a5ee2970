"""The atlas of a video that comes without one: fitted, and kept in the cache for the next prompt."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from t2l_cli.cli.fit_state import FitState
from t2l_cli.cli.fitting import FitRequest, fitting, report
from t2l_cli.cli.interrupt import Interruption
from t2l_cli.cli.terminal import Terminal
from t2l_cli.cli.videos import Excerpt
from t2l_cli.errors import RequestError, T2LError
from t2l_cli.media.paths import shown
from t2l_cli.weights.cache import cache_dir

if TYPE_CHECKING:
    from t2l_cli.engine.atlas.model import Atlas

_FOLDER = "atlases"  # in the cache


def fitted_atlas(excerpt: Excerpt, request: FitRequest, terminal: Terminal, interruption: Interruption) -> Atlas:
    """The atlas that ``request`` makes of the video, or made on an earlier run; the bytes are the same.

    A cache that cannot be written costs the next run its time, and this one nothing.
    """
    from t2l_cli.atlases.store import as_stored, save_atlas

    key = request.key(excerpt)
    folder = cache_dir() / _FOLDER / key
    found = _fitted_before(folder, terminal)
    if found is not None:
        return found
    with contextlib.suppress(OSError):  # said where it matters, below
        folder.parent.mkdir(parents=True, exist_ok=True)
    state = FitState(folder.with_suffix(".resume"), key)
    before = state.found()
    terminal.note(f"no --atlas: {'fitting one to the video first' if before is None else 'going on with its fit'}")
    work = fitting(excerpt, request, terminal, interruption, state, before)
    if interruption.requested:  # nothing is painted yet; the next run goes on from here
        raise interruption.requested
    atlas, quality = as_stored(work.result()), work.quality()
    report(quality, terminal)
    origin = atlas.origin | {"quality": dataclasses.asdict(quality)}
    try:
        save_atlas(dataclasses.replace(atlas, origin=origin), folder, overwrite=True)
        state.drop()
    except T2LError as error:
        terminal.warn(f"the next run will have to fit this atlas again: {error}")
    interruption.be_prompt()
    return atlas


def _fitted_before(folder: Path, terminal: Terminal) -> Atlas | None:
    """The atlas that an earlier run left in the cache, where it is whole."""
    from t2l_cli.atlases.store import is_atlas_folder, load_atlas

    if not is_atlas_folder(folder):
        return None
    try:
        atlas = load_atlas(folder)
    except RequestError:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    terminal.note(f"using the atlas that was fitted before: {shown(folder)}")
    return atlas
