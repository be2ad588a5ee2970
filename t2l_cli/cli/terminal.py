"""What a command says and where: results on stdout, the rest on stderr, a failure in one or two lines."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from t2l_cli.cli.interrupt import Interruption, exit_code
from t2l_cli.cli.pictures import WAYS, Picture
from t2l_cli.errors import OutputError, RequestError, StoppedError, T2LError, code_of
from t2l_cli.media.paths import STDIO, reason, shown
from t2l_cli.progress import Both, Glimpse, Reporter, Show
from t2l_cli.settings import did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from t2l_cli.cli.bars import Bars
    from t2l_cli.events import Events
    from t2l_cli.jobs.job import Result
    from t2l_cli.jobs.preview import Preview
    from t2l_cli.media.compositing import Bytes

LONGEST = 2000  # characters of a line that a person may read


def stderr_console() -> Console:
    """A console on stderr that leaves its text alone (no markup, no colouring of numbers, no wrapping)."""
    from rich.console import Console  # not at the top: --version does without it

    return Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


class Terminal:
    """One command's reporter. As a context manager it turns every exception of the block into words and an exit code,
    and takes signals for a wish to stop.

    quiet: neither progress nor notes; errors and results stay. verbose: tracebacks and the libraries' own warnings too.
    as_json: the results on stdout, or the error, are one JSON object. origin: where the value of an option comes from,
    such as a file; "" where that is the command line.
    """

    def __init__(
        self,
        quiet: bool = False,
        verbose: bool = False,
        as_json: bool = False,
        origin: Callable[[str], str] = lambda option: "",
    ) -> None:
        self.console = stderr_console()
        self.quiet, self.verbose, self.as_json = quiet, verbose, as_json
        self.events: Events | None = None
        self._preview: Preview | None = None
        self._blank: Callable[[], Picture] | None = None  # makes the empty picture that stands below a bar at first
        self._claims = contextlib.ExitStack()  # on the file of --preview, so that no other run takes it
        self._bars: Bars | None = None  # on the screen now
        self._silent_stdout = False  # whether stdout is the events'
        self._origin = origin
        self._filters = warnings.catch_warnings()
        self._unprinted: OSError | None = None  # why stdout took nothing
        self._interruption = Interruption(quiet)

    @property
    def animated(self) -> bool:
        """Whether moving bars can be drawn: a terminal that is neither dumb nor told to be quiet."""
        return self.console.is_terminal and not self.console.is_dumb_terminal and not self.quiet

    @contextlib.contextmanager
    def track(self) -> Iterator[Show]:
        """Show ticks on stderr: bars on a terminal, lines elsewhere, nothing where --quiet asks for it."""
        from t2l_cli.cli.bars import Bars, Lines, Nothing, Track

        bars = Bars(self.console, self._blank() if self._blank else None) if self.animated else None
        display = bars or (Nothing() if self.quiet else Lines(self.note))
        self._bars = bars
        try:
            yield Track(display, self.note)
        finally:
            self._bars = None
            display.close()

    def note(self, text: str) -> None:
        """Say something that may be left unsaid."""
        if not self.quiet:
            self.console.print(printable(text))

    def warn(self, text: str) -> None:
        """Say something that --quiet does not silence."""
        self.console.print(printable(text), style="yellow")

    def write(self, text: str) -> None:
        """Print ``text`` and a line break on stdout; where that fails, it is said at the end of the block."""
        self._print(text.encode("utf-8", "surrogateescape") + b"\n")

    def preview(self, path: Path) -> None:
        """Nothing: it is in the run directory, whose path the user chose."""

    def offer(self, glimpse: Glimpse) -> None:
        """Nothing: the preview of --preview is a reporter of its own, beside this one."""

    def draw(self, picture: Bytes) -> None:
        """Draw ``picture`` (H, W, 3), uint8, below the bar, where there is one."""
        if self._bars is not None:
            self._bars.draw(picture)

    def end_as_told(self) -> None:
        """End a command that goes on until it is told to stop: by Ctrl-C all is well, by another signal not."""
        asked = self._interruption.requested
        if asked is not None and asked.number != signal.SIGINT:
            raise typer.Exit(exit_code(asked))

    def should_stop(self) -> bool:
        """Whether a signal came."""
        return self._interruption.requested is not None

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Within the block the first signal waits until it is asked for."""
        self._interruption.be_patient()
        try:
            yield
        finally:
            self._interruption.be_prompt()

    @property
    def reporter(self) -> Reporter:
        """This terminal, and beside it the events where they are told, and who looks at the work."""
        beside: list[Reporter] = [one for one in (self.events, self._preview) if one is not None]
        return Both(self, *beside) if beside else self

    def check_stdout(self, output: str | None, events: str | None = None) -> None:
        """RequestError where more than one thing would go to stdout: the result, the word about it, the events."""
        wanted = {"-o -": output == STDIO, "--json": self.as_json, "--events": events == STDIO}
        both = [name for name, here in wanted.items() if here]
        if len(both) > 1:
            self.as_json = False  # for the error, too
            raise RequestError(f"{both[0]} and {both[1]} both write to the standard output; choose one.")

    def tell_events(self, place: str, command: str, overwrite: bool) -> None:
        """Tell the events of ``command`` to the file ``place``, or for "-" to stdout, which then takes nothing else."""
        from t2l_cli.events import Events, Log, opened

        self._silent_stdout = place == STDIO
        buffer: Any = sys.stdout.buffer
        file = getattr(buffer, "raw", buffer) if place == STDIO else opened(Path(place), overwrite)
        self.events = Events(Log(file.write, self._without_events), command)

    def show_previews(self, place: str, overwrite: bool, others: tuple[Any, ...]) -> None:
        """Show the work as it goes on: in the file ``place``, which is none of the ``others``, or here.

        place: for here "-", or one of WAYS, which is then the way to draw.
        """
        if place not in (STDIO, *WAYS):
            if not Path(place).suffix and (meant := did_you_mean(place, WAYS)):
                raise RequestError(f"--preview draws by {', '.join(WAYS)}, not {place!r}{meant}")
            from t2l_cli.jobs.naming import claimed
            from t2l_cli.jobs.preview import PreviewFile

            told = (lambda path: None) if self.events is None else self.events.preview
            self._preview = PreviewFile(place, overwrite, others, self.warn, told)
            self._claims.enter_context(claimed(Path(place)))
            return
        from t2l_cli.cli.half_blocks import can_draw

        if not self.animated or not can_draw(self.console):
            self.note("--preview draws on a terminal with colours only; elsewhere, name a file: --preview FILE.png")
            return
        from t2l_cli.cli.drawing import Drawing
        from t2l_cli.cli.graphics import drawn_by

        self._preview, self._blank = Drawing(self), drawn_by("" if place == STDIO else place)

    def _without_events(self, error: OSError) -> None:
        self.warn(f"no more events are told: {reason(error)}.")

    def result(self, result: Result) -> None:
        """Print what ``paths`` prints of a job's result, and end the command as the job ended."""
        failed = {} if result.error is None else {"error": dataclasses.asdict(result.error)}
        self.paths(result.files, failed | result.record)
        self.ended(result)

    def ended(self, result: Result) -> None:
        """End the command as a job ended."""
        if self.events is not None:
            self.events.result(result)
        if result.error is not None:
            raise typer.Exit(report(T2LError(result.error.message), self.verbose))
        if result.status == "interrupted":
            raise typer.Exit(exit_code(self._interruption.requested))

    def paths(self, files: Sequence[str], record: dict[str, Any]) -> None:
        """Print ``files``, one a line, or ``record`` with them as one JSON object, on stdout."""
        if self.as_json:
            self.write(json.dumps({"files": list(files), **record}))
        else:
            # Bytes: a file name need not be valid in the terminal's encoding, and the next program needs it as it is.
            self._print(b"".join(os.fsencode(file) + b"\n" for file in files))

    def _print(self, data: bytes) -> None:
        if self._silent_stdout:
            return
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:
            self._unprinted = error

    def __enter__(self) -> Terminal:
        self._interruption.__enter__()
        self._filters.__enter__()
        if not self.verbose:
            warnings.simplefilter("ignore")
            logging.disable(logging.ERROR)  # what Pillow logs as an error it raises, too
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claims.close()
        self._interruption.__exit__(kind, error, trace)
        self._filters.__exit__(None, None, None)
        logging.disable(logging.NOTSET)
        if isinstance(error, (typer.Exit, SystemExit)):
            return
        if isinstance(error, (StoppedError, KeyboardInterrupt)) and (asked := self._interruption.requested) is not None:
            asked.args = error.args if isinstance(error, KeyboardInterrupt) else asked.args
            error = asked
        if error is not None:
            raise typer.Exit(self._fail(error)) from None
        if self._unprinted is not None:
            raise typer.Exit(unprinted(self._unprinted))

    def _fail(self, error: BaseException) -> int:
        """Say everywhere what went wrong; the exit code."""
        if isinstance(error, RequestError):
            error.args = (self._with_origins(str(error)),)
        text, code = explained(error)
        if self.events is not None:
            self.events.error(code_of(error), text, code)
        if self.as_json:
            self.write(json.dumps({"files": [], "error": {"code": code_of(error), "message": text}}))
        return report(error, self.verbose)

    def _with_origins(self, message: str) -> str:
        """``message``, and where the values of the options that it names come from."""
        options = dict.fromkeys(re.findall(r"--[a-z][a-z0-9-]*", message))
        places = [f"{option} is from {place}" for option in options if (place := self._origin(option))]
        return f"{message} ({'; '.join(places)})" if places else message


def report(error: BaseException, verbose: bool = False) -> int:
    """Say in one or two lines on stderr what went wrong (after the traceback if ``verbose``); return the exit code."""
    console = stderr_console()
    if verbose:
        from rich.traceback import Traceback

        console.print(Traceback.from_exception(type(error), error, error.__traceback__), soft_wrap=False)
    text, code = explained(error)
    console.print("Error: ", style="bold red", end="")
    console.print("\n".join(printable(line) for line in text.split("\n")))
    return code


def abandon_stdout() -> None:
    """Go on without stdout, which takes nothing: what is left for it would fail once more at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def unprinted(error: OSError) -> int:
    """The exit code where a result could not be printed because of ``error``.

    0 where the reader went away, as in `t2l models list | head -1`: nothing is wrong with us.
    """
    if isinstance(error, BrokenPipeError):
        return 0
    return report(OutputError(f"could not print the result on the standard output: {reason(error)}."))


def explained(error: BaseException) -> tuple[str, int]:
    """What went wrong, in one or two lines, and the exit code."""
    if isinstance(error, T2LError):
        return str(error), error.exit_code
    match code_of(error):
        case "stopped":
            return str(error) or "interrupted; nothing was written.", exit_code(error)
        case "memory":
            text = "this machine's memory does not hold the job."
            return f"{text}\nTry a smaller --size, fewer --views or --preset draft.", 1
        case "installation":
            return f"t2l's installation is incomplete ({error}).\nInstall it again.", 1
    if isinstance(error, OSError) and error.errno is not None:
        where = "" if error.filename is None else f"{shown(os.fsdecode(error.filename))}: "
        return f"{where}{reason(error)}.", 1
    summary = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"{summary[:200]}\nThis is a bug in t2l; run with --verbose and report what it shows.", 1


def printable(text: str) -> str:
    """``text`` in one line without control characters, which a file name or a foreign message may hold.

    What is too long to be read is cut in its middle: the ends say what it is and what to do.
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
