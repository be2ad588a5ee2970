"""A fit kept in a file now and then and when it is interrupted, so that `--resume` goes on with it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2l_cli.errors import RequestError
from t2l_cli.media.atomic import atomic_path
from t2l_cli.media.paths import shown
from t2l_cli.media.places import check_place

if TYPE_CHECKING:
    from t2l_cli.engine.fit.fit import AtlasFit

FORMAT, VERSION = "t2l-fit", 1
EVERY = 120.0  # s between two writings, at least
SHARE = 0.02  # of the time that writing may take


def check_kept(path: Path) -> None:
    """RequestError where there is no file of an interrupted fit, ``path``."""
    if not os.path.exists(path):
        raise RequestError(f"there is no interrupted fit {shown(path)}: leave --resume out.")


class FitState:
    """The file ``path`` with the state of the fit whose video, mask and settings are ``key``."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._key = path, key
        self._next = time.monotonic() + EVERY

    def load(self) -> dict[str, Any]:
        """What ``AtlasFit.resume`` takes; RequestError where there is none, it is damaged or of another fit.

        The file is read as data: it can run no code.
        """
        check_kept(self.path)
        kept = self._read()
        if kept is None or not self._is_own(kept):
            raise RequestError(
                f"{shown(self.path)} was begun with another video, mask or setting, or by another version: "
                "repeat its command, or choose another --output."
            )
        state: dict[str, Any] = kept["state"]
        return state

    def check(self, overwrite: bool, *inputs: str | None) -> None:
        """RequestError where the file should not be replaced, as ``keep`` does, nor deleted, as ``drop`` does.

        That is, where it is one of the ``inputs`` or no interrupted fit, or without ``overwrite`` that of another
        video, mask or setting.
        """
        check_place(self.path, True, *inputs)
        kept = self._read()
        if kept is not None and not overwrite and not self._is_own(kept):
            raise RequestError(
                f"{shown(self.path)} is the interrupted fit of another video, mask or setting, or of another version: "
                "choose another --output or add --overwrite."
            )

    def _read(self) -> dict[str, Any] | None:
        """What is in the file, of whichever fit; None without a file. RequestError where it is not of a fit."""
        import torch

        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
            if kept["format"] != FORMAT:
                raise ValueError
        except FileNotFoundError:
            return None
        except Exception as error:  # torch.load has many ways to fail on bytes that are not its own
            raise RequestError(
                f"{shown(self.path)} is not an interrupted fit, or damaged: move it away or choose another --output."
            ) from error
        return dict(kept)

    def _is_own(self, kept: dict[str, Any]) -> bool:
        return "state" in kept and (kept.get("version"), kept.get("key")) == (VERSION, self._key)

    def found(self) -> dict[str, Any] | None:
        """What ``load`` gives, or None where it gives nothing."""
        try:
            return self.load()
        except RequestError:
            return None

    def keep(self, fit: AtlasFit) -> None:
        """Write the file, whole or not at all; OutputError where that fails."""
        import torch

        start = time.monotonic()
        kept = {"format": FORMAT, "version": VERSION, "key": self._key, "state": fit.state()}
        with atomic_path(self.path, overwrite=True) as temporary, temporary.open("wb") as file:
            try:
                torch.save(kept, file)
            except RuntimeError as error:
                if isinstance(full := error.__context__, OSError):
                    raise full from error  # torch closes its archive after it, whose complaint would hide the cause
                raise
        now = time.monotonic()
        self._next = now + max(EVERY, (now - start) / SHARE)

    def keep_now_and_then(self, fit: AtlasFit) -> None:
        """``keep`` where it is time to."""
        if time.monotonic() >= self._next:
            self.keep(fit)

    def drop(self) -> None:
        """Delete the file, if it is there: the fit is done."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
