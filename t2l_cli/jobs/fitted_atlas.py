"""The atlas of a video that comes without one: fitted, and kept in the cache for the next prompt."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from t2l_cli.errors import DivergedError, RequestError, StoppedError, T2LError
from t2l_cli.jobs.excerpt import Excerpt
from t2l_cli.jobs.fit import FitJob, FitRequest, say_quality
from t2l_cli.jobs.fit_state import FitState
from t2l_cli.media.paths import shown
from t2l_cli.progress import Reporter, Tick
from t2l_cli.weights.cache import cache_dir

if TYPE_CHECKING:
    from t2l_cli.engine.atlas.model import Atlas

_FOLDER = "atlases"  # in the cache
_ASKED_EVERY = 0.5  # s; how often a run that waits for another is asked whether to stop


class CachedFit(FitJob):
    """A fit that is kept in the cache, and that a later run goes on with by itself."""

    advice = "Fit the atlas by t2l fit-atlas with another --seed, and give it by --atlas."

    def __init__(self, request: FitRequest, reporter: Reporter, excerpt: Excerpt, key: str) -> None:
        self.folder = cache_dir() / _FOLDER / key
        super().__init__(request, reporter, excerpt, FitState(self.folder.with_suffix(".resume"), key))
        self.before = self.state.found()

    def steps(self) -> Iterator[Tick]:
        """The fit; from its beginning where the state that was kept is one of another version's model."""
        try:
            yield from super().steps()
            return
        except RequestError:
            if self.before is None or self.has_result:
                raise
        self.reporter.warn("the fit that was interrupted before is of no use to this version: fitting anew")
        self.state.drop()
        self.before = None
        del self.work
        yield from super().steps()

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
    with _locked(key, reporter):
        return _fitted_before(cache_dir() / _FOLDER / key, reporter) or _fitted_now(excerpt, request, reporter, key)


@contextlib.contextmanager
def _locked(key: str, reporter: Reporter) -> Iterator[None]:
    """Hold the lock of the atlas ``key``, shared by all processes; StoppedError where the wait for it is to end.

    A cache that takes no lock takes no atlas either, so that the runs cannot meet there.
    """
    folder = cache_dir() / "locks"
    lock = FileLock(folder / f"atlas-{key}.lock")
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(lock, reporter)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, reporter: Reporter) -> None:
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)
        return
    reporter.note("another run of t2l is at work on this video's atlas: waiting for it")
    while True:
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=_ASKED_EVERY)
            return
        if reporter.should_stop():
            raise StoppedError


def _fitted_now(excerpt: Excerpt, request: FitRequest, reporter: Reporter, key: str) -> Atlas:
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
    """The atlas that an earlier run left in the cache, where it is whole. What is broken is removed."""
    from t2l_cli.atlases.store import UnreadableAtlasError, load_atlas

    if not os.path.isdir(folder):
        return None
    try:
        atlas = load_atlas(folder)
    except UnreadableAtlasError as error:
        reporter.warn(f"{error} The atlas is fitted anew.")
        return None
    except RequestError:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    reporter.note(f"using the atlas that was fitted before: {shown(folder)}")
    return atlas
