"""CLIP, ready to judge: found or downloaded, and brought to the device that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from t2l_cli.config import EditConfig
from t2l_cli.errors import RequestError, StoppedError, T2LError
from t2l_cli.jobs.machine import memory_limit
from t2l_cli.media.paths import shown
from t2l_cli.progress import Reporter, downloading

if TYPE_CHECKING:
    from t2l_cli.engine.clip import Clip
    from t2l_cli.engine.runtime import Runtime

MOST_KEPT = 2  # judges: a list of jobs seldom needs more, and memory ends


@dataclass(frozen=True)
class Judge:
    """One CLIP or several on their device, how to compute there, and what they were loaded for."""

    clips: tuple[Clip, ...]
    runtime: Runtime
    weights_sha256: tuple[str, ...]  # of each
    names: tuple[str, ...]  # of each, as in the configuration
    weights: Path | None = None  # the user's file with the first one's weights, absolute; None: the published ones

    def check(self, config: EditConfig, weights: str | None) -> None:
        """RequestError unless this is the judge that ``config`` and the file ``weights`` ask for."""
        from t2l_cli.engine.runtime import resolve

        runtime = resolve(config.device, config.precision)
        for what, own, asked in (
            ("is", " and ".join(self.names), " and ".join(config.clips)),
            ("has", _words(self.weights), _words(_absolute(weights))),
            ("computes on", str(self.runtime.device), str(runtime.device)),
            ("computes in", str(self.runtime.dtype), str(runtime.dtype)),
        ):
            if own != asked:
                raise RequestError(
                    f"the given judge {what} {own}, the edit asks for {asked}: ask for the same, or leave judge out."
                )


Loader = Callable[[EditConfig, "str | None", bool, Reporter], Judge]
"""Where a job has its judge from: :func:`load_judge`, or another function that takes and gives the same."""


def load_judge(config: EditConfig, weights: str | None, offline: bool, reporter: Reporter) -> Judge:
    """The CLIPs that ``config`` names, from the cache or the network; a download is reported.

    The first has its weights from the file ``weights``, if there is one. A CLIP named twice is loaded once.
    """
    from t2l_cli.engine.clip import Clip
    from t2l_cli.engine.runtime import resolve
    from t2l_cli.weights.loading import load_clip
    from t2l_cli.weights.names import MINI
    from t2l_cli.weights.registry import MINI_ABOUT

    if MINI in config.clips:
        reporter.note(MINI_ABOUT)
    runtime = replace(resolve(config.device, config.precision), limit=memory_limit())
    loaded: dict[tuple[str, Path | None], tuple[Clip, str]] = {}
    asked = _asked(config, weights)
    for name, file in asked:
        if (name, file) in loaded:
            continue
        with downloading(name, reporter) as tell:
            one = load_clip(name, file, offline, tell)
        loaded[name, file] = Clip(one.model, one.tokenizer, runtime.device, runtime.dtype), one.sha256
    clips, sums = zip(*(loaded[each] for each in asked), strict=True)
    return Judge(clips, runtime, sums, config.clips, _absolute(weights))


def loader_of(given: Judge | Judges | None, config: EditConfig, weights: str | None) -> Loader:
    """The loader for a job with ``config`` and ``weights`` that was ``given`` a judge, or judges that jobs share.

    RequestError where the given judge is not the one that they ask for.
    """
    if isinstance(given, Judge):
        judge = given
        judge.check(config, weights)
        return lambda *_: judge
    return load_judge if given is None else given.of


def _absolute(weights: str | None) -> Path | None:
    return None if weights is None else Path(weights).absolute()


def _words(weights: Path | None) -> str:
    return "published weights" if weights is None else f"the weights {shown(weights)}"


def check_judge(config: EditConfig, weights: str | None, offline: bool, reporter: Reporter) -> None:
    """Find device and precision, and download what is missing, for a :func:`load_judge` later; nothing is loaded.

    Raises what ``load_judge`` raises, except for weights that do not fit their model.
    """
    from t2l_cli.engine.runtime import resolve
    from t2l_cli.weights.loading import fetch_clip

    resolve(config.device, config.precision)
    for name, file in dict.fromkeys(_asked(config, weights)):
        with downloading(name, reporter) as tell:
            fetch_clip(name, file, offline, tell)


def _asked(config: EditConfig, weights: str | None) -> list[tuple[str, Path | None]]:
    """The CLIPs by name, each with the user's own file for its weights, if it has one."""
    return [(name, None if i or weights is None else Path(weights)) for i, name in enumerate(config.clips)]


class Judges:
    """Judges for one job after the other; those of the last few are kept, by CLIP, weights, device and precision."""

    def __init__(self, failures: bool = True) -> None:
        """failures: whether they are kept, too; else the next job tries anew, since a download may succeed then."""
        self._failures = failures
        self._kept: dict[tuple[object, ...], Judge | T2LError] = {}  # or why there is none

    def of(self, config: EditConfig, weights: str | None, offline: bool, reporter: Reporter) -> Judge:
        """As :func:`load_judge`. T2LError where there is none."""
        key = (config.clip, weights, config.device, config.precision)
        judge = self._kept.pop(key, None)
        if judge is None:
            try:
                judge = load_judge(config, weights, offline, reporter)
            except StoppedError:
                raise
            except T2LError as error:
                if not self._failures:
                    raise
                judge = error
        self._kept[key] = judge
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        if isinstance(judge, T2LError):
            raise judge.with_traceback(None)  # else each raise makes it longer
        return judge
