"""The atlas of a video that comes without one: fitted, and kept in the cache for the next prompt."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from t2l_cli.errors import DivergedError, RequestError, StoppedError, T2LError
from t2l_cli.jobs.excerpt import Excerpt
from t2l_cli.jobs.fit import FitJob, FitRequest, say_quality
from t2l_cli.jobs.fit_state import FitState
from t2l_cli.media.paths import shown
from t2l_cli.progress import Reporter
from t2l_cli.weights.cache import cache_dir

if TYPE_CHECKING:
    from t2l_cli.engine.atlas.model import Atlas

_FOLDER = "atlases"  # in the cache


class CachedFit(FitJob):
    """A fit that is kept in the cache, and that a later run goes on with by itself."""

    advice = "Fit the atlas by t2l fit-atlas with another --seed, and give it by --atlas."

    def __init__(self, request: FitRequest, reporter: Reporter, excerpt: Excerpt, key: str) -> None:
        self.folder = cache_dir() / _FOLDER / key
        super().__init__(request, reporter, excerpt, FitState(self.folder.with_suffix(".resume"), key))
        self.before = self.state.found()

    def keep(self) -> Atlas:
        """The fitted atlas, now also in the cache. A cache that cannot be written costs only the next run its time."""
        from t2l_cli.atlases.store import save_atlas

        atlas, quality = self.atlas, self.quality
        say_quality(quality, self.reporter)
        origin = atlas.origin | {"quality": dataclasses.asdict(quality)}
        try:
            save_atlas(dataclasses.replace(atlas, origin=origin), self.folder, overwrite=True)
            self.state.drop()
        except T2LError as error:
            self.reporter.warn(f"the next run will have to fit this atlas again: {error}")
        return atlas


def fitted_atlas(excerpt: Excerpt, request: FitRequest, reporter: Reporter) -> Atlas:
    """The atlas that ``request`` makes of the video, or made on an earlier run; the bytes are the same.

    StoppedError where the reporter wants to stop: nothing is painted yet, and the next run goes on from there.
    """
    key = request.key(excerpt)
    found = _fitted_before(cache_dir() / _FOLDER / key, reporter)
    if found is not None:
        return found
    job = CachedFit(request, reporter, excerpt, key)
    with contextlib.suppress(OSError):  # said where it matters, when the atlas is kept
        job.folder.parent.mkdir(parents=True, exist_ok=True)
    reporter.note(f"no --atlas: {'fitting one to the video first' if job.before is None else 'going on with its fit'}")
    job.prepare()
    with reporter.patience():
        job.train()
        if job.failure is not None:
            raise DivergedError(f"{job.failure} The atlas is not kept. {job.advice}") from job.failure
        atlas = job.keep() if job.finished else None
        if atlas is None or reporter.should_stop():
            raise StoppedError
    return atlas


def _fitted_before(folder: Path, reporter: Reporter) -> Atlas | None:
    """The atlas that an earlier run left in the cache, where it is whole."""
    from t2l_cli.atlases.store import is_atlas_folder, load_atlas

    if not is_atlas_folder(folder):
        return None
    try:
        atlas = load_atlas(folder)
    except RequestError:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    reporter.note(f"using the atlas that was fitted before: {shown(folder)}")
    return atlas
