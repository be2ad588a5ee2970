"""What the terminal is asked: the answers, silence, slowness, and that nobody else's keys are taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

from tests.unit.cli.screens import ITERM2, KITTY, PLAIN, SIXEL, Pretended, modes, run

ASK = """
import os, select, termios, time, tty
from t2l_cli.cli.asking import ask, cell_size
began = time.monotonic()
answer = ask()
took = time.monotonic() - began
left = b""
if os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp():
    before = termios.tcgetattr(0)
    tty.setcbreak(0, termios.TCSANOW)
    while select.select([0], [], [], 0.3)[0]:
        left += os.read(0, 100)
    termios.tcsetattr(0, termios.TCSANOW, before)
print(repr((answer.kitty, answer.name, answer.sixel, answer.cell, took, left, cell_size())), flush=True)
"""


def asked(folder: Path, answers: bytes | None, **more: Any) -> tuple[Pretended, Any]:
    done = run([sys.executable, "-c", ASK], folder, answers, **more)
    assert done.code == 0, done.written
    assert done.modes[:2] == done.modes[2:] == [True, True], "the terminal is as it was"
    return done, eval(done.stdout) if done.stdout else None


@pytest.mark.parametrize(
    ("answers", "understood"),
    [
        (KITTY, (True, "kitty(0.40)", False, (20, 10))),
        (ITERM2, (True, "iTerm2 3.5.0", True, (20, 10))),
        (SIXEL, (False, "XTerm(379)", True, (20, 10))),
        (PLAIN, (False, "", False, None)),
        (b"\x1b_Gi=1;ENOTSUPPORTED:no\x1b\\\x1b[?1;2c", (False, "", False, None)),
        (b"\x1b[6;0;0t\x1b[?4c", (False, "", True, None)),
        (b"\x1bP>|\xff\x1b\\\x1b[?64;14;44c", (False, "\ufffd", False, None)),
    ],
)
def test_answers_are_understood_and_leave_nothing_behind(
    answers: bytes, understood: tuple[Any, ...], tmp_path: Path
) -> None:
    done, said = asked(tmp_path, answers)
    assert said[:4] == understood
    assert said[5] == b""
    assert said[6] == (20, 10)
    assert b"OK" not in done.written, "the answer is not shown"


def test_silence_is_taken_for_no_after_a_moment(tmp_path: Path) -> None:
    _, said = asked(tmp_path, None)
    assert said[:4] == (False, "", False, None)
    assert 0.4 < said[4] < 3.0  # on a busy machine


def test_what_is_asked_ends_by_erasing_its_own_line(tmp_path: Path) -> None:
    """As a terminal prints it that does not know the questions."""
    done, _ = asked(tmp_path, PLAIN)
    assert done.written.endswith(b"\x1b[c\r\x1b[K")


def test_a_far_terminal_is_waited_for(tmp_path: Path) -> None:
    _, said = asked(tmp_path, KITTY, delay=0.9, SSH_CONNECTION="10.0.0.1 5 10.0.0.2 22")
    assert said[0]
    assert said[5] == b""


def test_what_is_typed_before_is_kept_and_nothing_is_asked(tmp_path: Path) -> None:
    done, said = asked(tmp_path, KITTY, typed=b"ls -l")
    assert b"\x1b[c" not in done.written
    assert said[5] == b"ls -l"
    assert said[:4] == (False, "", False, None)


def test_what_is_typed_after_the_answer_is_kept(tmp_path: Path) -> None:
    _, said = asked(tmp_path, KITTY + b"\x1b[Aq\xc3\xbc")
    assert said[0]
    assert said[5] == b"\x1b[Aq\xc3\xbc"


def test_what_is_typed_between_is_put_back_where_the_system_allows_it(tmp_path: Path) -> None:
    allowed = "import fcntl, termios\ntry:\n  fcntl.ioctl(0, termios.TIOCSTI, b'x')\nexcept OSError:\n  print('no')"
    able = run([sys.executable, "-c", allowed], tmp_path, None).stdout == ""
    _, said = asked(tmp_path, b"\xc3\xbc\x1b[A" + KITTY)
    assert said[0]
    assert said[5] == (b"\xc3\xbc\x1b[A" if able else b"")


@pytest.mark.parametrize(
    "streams",
    [
        {"stdin": subprocess.PIPE},
        {"stdin": subprocess.DEVNULL},
        {"stdout": subprocess.PIPE},
        {"stderr": subprocess.PIPE},
        {"stderr": subprocess.DEVNULL},
    ],
)
def test_beside_other_programs_nothing_is_asked(streams: dict[str, Any], tmp_path: Path) -> None:
    done, said = asked(tmp_path, KITTY, streams=streams)
    assert done.written == b""
    assert said is None or (said[:4] == (False, "", False, None) and said[4] < 0.4)


def test_in_the_background_nothing_is_asked(tmp_path: Path) -> None:
    def aside() -> None:
        """Another process has the terminal, as the shell has it."""
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        other = os.fork()
        if other == 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpgrp())
            os.read(0, 1)
            os._exit(0)
        while os.tcgetpgrp(0) != other:
            pass
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)

    done, said = asked(tmp_path, None, before=aside)
    assert done.written == b""
    assert said[:4] == (False, "", False, None)


def test_an_interrupted_question_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    def interrupt(process: subprocess.Popen[bytes], written: bytes, terminal: int) -> None:
        assert modes(terminal) == [False, False]
        process.send_signal(signal.SIGINT)

    code = "from t2l_cli.cli.asking import ask\ntry:\n  ask()\nexcept KeyboardInterrupt:\n  print('ended')"
    done = run([sys.executable, "-c", code], tmp_path, None, look=interrupt)
    assert done.stdout == "ended\n"
    assert done.modes == [True, True, True, True]
