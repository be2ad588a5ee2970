"""Pictures of the work while it goes on, so seldom that they cost next to nothing."""

from __future__ import annotations

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from t2l_cli.errors import RequestError
from t2l_cli.media.compositing import Bytes
from t2l_cli.media.output import save_picture
from t2l_cli.media.paths import shown
from t2l_cli.media.places import check_place
from t2l_cli.progress import Glimpse, Silent

EVERY = 0.5  # s between two pictures, at least
SHARE = 0.02  # of the time since the first step, for all pictures together, at most
GUESS = 0.25  # of a step's time: what the first picture is taken to cost. It paints without CLIP and without gradient.


class Preview(Silent, ABC):
    """A reporter that shows what a job offers, where there is time for it.

    The costs of a picture are measured. The next one waits until all of them, with it, stay below SHARE of the time;
    the first one therefore comes after some dozen steps. Where one fails, that is said and there are no more.
    """

    def __init__(self, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """warn: told why there are no more pictures."""
        self._warn, self._clock = warn, clock
        self._began: float | None = None  # when the first was offered
        self._offered = -math.inf  # when the last one was
        self._shown = -math.inf  # when the last was shown
        self._cost: float | None = None  # s, of the last that was shown
        self._spent = 0.0  # s, for all
        self._failed = False

    @abstractmethod
    def show(self, picture: Bytes) -> None:
        """Show ``picture`` (H, W, 3), uint8."""

    def offer(self, glimpse: Glimpse) -> None:
        """Show the picture that ``glimpse`` makes, if there is time for it."""
        now = self._clock()
        if self._began is None:
            self._began = self._offered = now
            return
        step, self._offered = now - self._offered, now
        cost = GUESS * step if self._cost is None else self._cost
        if self._failed or now - self._shown < EVERY or self._spent + cost > SHARE * (now - self._began):
            return
        try:
            self.show(glimpse())
        except Exception as error:  # the edit goes on, whatever a look at it does
            self._failed = True
            self._warn(f"no more previews: {error or type(error).__name__}")
        self._shown = self._offered = self._clock()
        self._cost = self._shown - now
        self._spent += self._cost


class PreviewFile(Preview):
    """Rewrites a PNG, each time as a whole."""

    def __init__(
        self,
        path: str | Path,
        overwrite: bool,
        others: tuple[str | Path | None, ...],
        warn: Callable[[str], None],
        told: Callable[[Path], None] = lambda path: None,
    ) -> None:
        """told: called with the path after each picture.

        RequestError where ``path`` has another suffix, exists without ``overwrite``, or is one of the ``others`` or
        lies in one: of the work's inputs and outputs, which need not exist yet.
        """
        super().__init__(warn)
        self._path, self._told = Path(path), told
        if self._path.suffix.lower() != ".png":
            raise RequestError(f"--preview writes a PNG: {shown(path)} does not end in .png.")
        try:
            check_place(self._path, overwrite, *others)
            place = Path(os.path.realpath(path))
            if not {place, *place.parents}.isdisjoint(Path(os.path.realpath(one)) for one in others if one):
                raise RequestError(f"{shown(path)} is, or lies in, an input or output here; choose another --output.")
        except RequestError as error:
            raise RequestError(str(error).replace("another --output", "another file for --preview")) from error

    def show(self, picture: Bytes) -> None:
        """Write ``picture`` into the file."""
        save_picture(self._path, picture, overwrite=True)
        self._told(self._path)
