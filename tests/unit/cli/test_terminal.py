from __future__ import annotations

import dataclasses
import errno
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

from t2l_cli.cli.interrupt import Interrupted
from t2l_cli.cli.terminal import Terminal, report
from t2l_cli.errors import OutputError, RequestError, StoppedError, T2LError, WeightsError
from t2l_cli.jobs.job import Failure, Result

DONE = Result("done", ("out.png",), {})
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def test_what_is_too_long_to_be_read_is_cut_in_its_middle(capsys: pytest.CaptureFixture[str]) -> None:
    report(RequestError(f"{'x' * 100_000} exists; choose another --output."))
    line = capsys.readouterr().err
    assert len(line) < 2100
    assert line.startswith("Error: xxx")
    assert line.endswith("xxx exists; choose another --output.\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (T2LError("a"), 1),
        (RequestError("a"), 2),
        (WeightsError("a\nb"), 1),
        (OutputError("a"), 1),
        (KeyboardInterrupt(), 130),
        (Interrupted(signal.SIGTERM), 143),
        (Interrupted(signal.SIGHUP), 129),
        (OSError(errno.EIO, os.strerror(errno.EIO)), 1),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a\nname"), 1),
        (OSError("of a library"), 1),
        (MemoryError(), 1),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 1),
        (ImportError("no torch"), 1),
        (ValueError("a\nb\nc\nd"), 1),
        (ValueError(), 1),
    ],
)
def test_every_failure_is_one_or_two_lines_and_a_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, Terminal():
        raise error
    assert caught.value.exit_code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert 1 <= len(err.splitlines()) <= 2
    assert "Traceback" not in err
    assert err.startswith("Error: ")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), OSError(errno.ENOSPC, "No space", "a")])
def test_what_the_system_refuses_is_no_bug(error: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error) == 1
    err = capsys.readouterr().err
    assert error.strerror in err
    assert "bug" not in err


def test_an_unexpected_failure_is_called_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("division by zero")) == 1
    assert "ZeroDivisionError" in (err := capsys.readouterr().err)
    assert "bug in t2l" in err


def test_verbose_shows_where_it_happened_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    failure = T2LError("the words")
    failure.__cause__ = ValueError("the cause")
    with pytest.raises(typer.Exit), Terminal(verbose=True):
        raise failure
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "the cause" in err
    assert err.rstrip().endswith("Error: the words")


def test_names_cannot_break_a_line_or_colour_it(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().note("a\nb\x1b[31mred [bold]x[/bold] :smile:")
    assert capsys.readouterr().err == "a\\nb\\x1b[31mred [bold]x[/bold] :smile:\n"


def test_a_long_line_is_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().note("word " * 100)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_quiet_keeps_results_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(quiet=True)
    terminal.note("a note")
    terminal.warn("a warning")
    terminal.result(DONE)
    assert capsys.readouterr() == ("out.png\n", "a warning\n")


@pytest.mark.parametrize("verbose", [True, False])
def test_what_libraries_log_is_shown_to_the_verbose_alone(verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("PIL.TiffImagePlugin")
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    with Terminal(verbose=verbose):
        for level in (logging.WARNING, logging.ERROR):
            logger.log(level, "more samples than can be decoded")
    logger.removeHandler(handler)
    assert capsys.readouterr().err.count("more samples") == 2 * verbose


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(as_json=True).result(dataclasses.replace(DONE, record={"seed": 3}))
    assert json.loads(capsys.readouterr().out) == {"files": ["out.png"], "seed": 3}


def test_a_name_that_is_no_text_reaches_stdout_as_it_is(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Terminal().result(dataclasses.replace(DONE, files=(os.fsdecode(b"\xff.png"),)))
    assert capfdbinary.readouterr().out == b"\xff.png\n"


class _Stdout(io.RawIOBase):
    """Fails as ``error`` says."""

    def __init__(self, error: OSError) -> None:
        self.error = error

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise self.error


def _ended(error: OSError, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> int:
    """The exit code of a command whose stdout fails with ``error`` and which itself ends with ``code``."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(_Stdout(error))))

    def command() -> None:
        with Terminal() as terminal:
            terminal.result(DONE)
            terminal.warn("what comes after it is done")
            if code:
                raise typer.Exit(code)

    with pytest.raises(typer.Exit) as caught:
        command()
    return caught.value.exit_code


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EBADF, errno.EIO])
def test_a_result_that_cannot_be_printed_is_a_failure_after_all_else(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ended(OSError(number, os.strerror(number)), monkeypatch) == 1
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "what comes after it is done",
        f"Error: could not print the result on the standard output: {os.strerror(number)}.",
    ]


def test_an_interrupted_run_without_a_terminal_is_still_an_interrupted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _ended(OSError(errno.EIO, os.strerror(errno.EIO)), monkeypatch, code=129) == 129


def test_a_reader_that_went_away_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ended(BrokenPipeError(errno.EPIPE, "Broken pipe"), monkeypatch) == 0
    assert "Error" not in capsys.readouterr().err


def ended(command: Callable[[Terminal], None]) -> int:
    """The exit code of a quiet command."""
    with pytest.raises(typer.Exit) as caught, Terminal(quiet=True) as terminal:
        command(terminal)
    return caught.value.exit_code


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_wish_to_stop_and_the_exit_code(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def command(terminal: Terminal) -> None:
        with terminal.patience():
            assert not terminal.should_stop()
            os.kill(os.getpid(), number)
            assert terminal.should_stop()
        terminal.result(dataclasses.replace(DONE, status="interrupted"))

    assert ended(command) == 128 + number
    assert capsys.readouterr() == ("out.png\n", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_work_that_was_stopped_with_nothing_to_keep_ends_as_an_interruption(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(terminal: Terminal) -> None:
        with terminal.patience():
            os.kill(os.getpid(), number)
            raise StoppedError

    assert ended(command) == 128 + number
    assert capsys.readouterr().err == "Error: interrupted; nothing was written.\n"


def test_outside_of_patience_a_signal_ends_the_command() -> None:
    def command(terminal: Terminal) -> None:
        with terminal.patience():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    assert ended(command) == 143


def test_a_job_that_failed_shows_what_it_kept_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure("diverged", "the loss became NaN.")
    assert ended(lambda terminal: terminal.result(dataclasses.replace(DONE, status="failed", error=failure))) == 1
    assert capsys.readouterr() == ("out.png\n", "Error: the loss became NaN.\n")


def test_of_a_failure_json_has_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), Terminal(as_json=True):
        raise RequestError("no such file")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"files": [], "error": {"code": "request", "message": "no such file"}}
    assert err == "Error: no such file\n"
    failed = dataclasses.replace(DONE, status="failed", error=Failure("diverged", "the loss became NaN."))
    with pytest.raises(typer.Exit), Terminal(as_json=True) as terminal:
        terminal.result(failed)
    assert json.loads(capsys.readouterr().out) == {
        "files": ["out.png"],
        "error": {"code": "diverged", "message": "the loss became NaN."},
    }


def test_a_refused_value_says_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    places = {"--mask": "own.toml, line 3"}
    with pytest.raises(typer.Exit), Terminal(origin=lambda option: places.get(option, "")):
        raise RequestError("give --mask or --mask-class, not both.")
    assert capsys.readouterr().err == (
        "Error: give --mask or --mask-class, not both. (--mask is from own.toml, line 3)\n"
    )


def test_a_misspelt_way_to_draw_is_no_file() -> None:
    with pytest.raises(RequestError, match=r"--preview draws by kitty, .*, not 'kity'; did you mean kitty"):
        Terminal().show_previews("kity", False, ())


def test_with_events_stdout_holds_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal:
        terminal.tell_events("-", "edit-image", overwrite=False)
        terminal.reporter.note("a note")
        terminal.note("of the terminal alone")
        terminal.write("a line")
        terminal.result(DONE)
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["start", "note", "result"]
    assert err == "a note\nof the terminal alone\n"


def test_a_failure_is_the_last_event(capsys: pytest.CaptureFixture[str]) -> None:
    def command(terminal: Terminal) -> None:
        terminal.tell_events("-", "edit-image", overwrite=False)
        raise WeightsError("no network")

    assert ended(command) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["code"], last["exit_code"]) == ("error", "weights", 1)


@pytest.mark.parametrize(
    ("output", "as_json", "events"), [("-", True, None), ("-", False, "-"), (None, True, "-"), ("-", True, "-")]
)
def test_stdout_is_for_one_thing(
    output: str | None, as_json: bool, events: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, Terminal(as_json=as_json) as terminal:
        terminal.check_stdout(output, events)
    assert (caught.value.exit_code, capsys.readouterr().out) == (2, "")
    with Terminal() as terminal:
        terminal.check_stdout(output, "events.jsonl")
