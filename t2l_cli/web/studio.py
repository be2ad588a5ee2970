"""The studio: a page over a folder of runs, until somebody ends it."""

from __future__ import annotations

import contextlib
import hmac
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from t2l_cli.config import DEFAULT_PRESET, STUDIO_ADDRESS, STUDIO_FOLDER
from t2l_cli.errors import RequestError
from t2l_cli.jobs.naming import claimed
from t2l_cli.media.paths import reason, shown
from t2l_cli.progress import Reporter, Silent
from t2l_cli.settings import PHOTO
from t2l_cli.web.runs import Runs
from t2l_cli.web.sources import Sources

try:
    from t2l_cli.web.page import Begin, page
    from t2l_cli.web.server import is_local, listening, private_uploads, serving
except ModuleNotFoundError as error:
    if error.name != "gradio":
        raise
    raise RequestError("the studio needs gradio: python -m pip install gradio.") from error

_LOOK = 0.2  # s between two questions whether to end


@dataclass(frozen=True)
class StudioRequest:
    """What the studio is asked to be: plain data."""

    folder: str = STUDIO_FOLDER
    source: str | None = None  # a photo or video that the page shows first
    address: str = STUDIO_ADDRESS
    port: int | None = None  # None: the first free one from 7860 on; 0: any
    password: str | None = None
    preset: str = DEFAULT_PRESET  # that the page has chosen at first; so with clip
    clip: tuple[str, ...] = ()
    offline: bool = False

    def __post_init__(self) -> None:
        _ = self.clips  # RequestError for a preset or a name that is none
        if self.port is not None and not 0 <= self.port <= 65_535:
            raise RequestError(f"--port must be between 0 and 65535, not {self.port}.")
        if self.password == "":
            raise RequestError("the password is empty.")
        if self.password is None and not is_local(self.address):
            raise RequestError(
                f"others can reach {shown(self.address)}: "
                "give a password, in the variable T2L_PASSWORD or by --password."
            )

    @property
    def clips(self) -> tuple[str, ...]:
        """Names of the CLIP models that the page has chosen at first."""
        return PHOTO.configure({"clip": self.clip or None}, self.preset).clips


class Studio:
    """A studio that is open. As a context manager it closes at the end: what is trained then is kept as it is."""

    url: str  # of the page

    def __init__(self, request: StudioRequest, reporter: Reporter | None = None) -> None:
        """Open it. RequestError where that cannot be."""
        self.request, self.reporter = request, reporter or Silent()
        with contextlib.ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()

    def _open(self, stack: contextlib.ExitStack) -> None:
        request, folder = self.request, Path(self.request.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"cannot make the folder {shown(folder)}: {reason(error)}.") from error
        stack.enter_context(claimed(folder / "studio"))
        sources = Sources(folder / "sources")
        first = None if request.source is None else sources.keep(request.source).path
        place = stack.enter_context(listening(request.address, request.port))
        stack.enter_context(private_uploads())
        self.runs = Runs(folder, request.offline)
        stack.callback(self.runs.close)
        blocks = page(self.runs, sources, Begin(first, request.preset, request.clips))
        knows = None if request.password is None else self._knows
        stack.enter_context(serving(blocks, place, folder, knows))
        host, port = place.getsockname()[:2]
        self.url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def _knows(self, name: str, password: str) -> bool:
        """Whether the password is right; the name may be any."""
        return hmac.compare_digest(password.encode(), (self.request.password or "").encode())

    def wait(self) -> None:
        """Until the reporter wants to stop."""
        while not self.reporter.should_stop():
            time.sleep(_LOOK)

    def close(self) -> None:
        """Take the page down, stop what is trained, and keep what there is of it."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
