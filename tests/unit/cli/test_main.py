"""The process from its first line on: signals while it is still importing."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
MODULES = ["t2l_cli.cli.interrupt", "typer.core", "t2l_cli.cli.app", "torch.torch_version"]  # as they are imported

# `python -m t2l_cli` that sends itself a signal where the import of a module begins: another process that watches for
# that moment can be late on a busy machine, when the program has ended.
PROGRAM = """
import os, runpy, sys
module, number, *arguments = sys.argv[1:]
def hit(event, details):
    if event == "import" and details[0] == module:
        os.kill(os.getpid(), int(number))
sys.addaudithook(hit)
sys.argv[1:] = arguments
runpy.run_module("t2l_cli", run_name="__main__", alter_sys=True)
"""


def signalled(module: str, number: signal.Signals, asked: str, *before: str) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr of `t2l models ...` that gets the signal as the import of ``module`` begins.

    before: a command that runs it.
    """
    line = [*before, sys.executable, "-c", PROGRAM, module, str(int(number)), "models", asked]
    done = subprocess.run(line, capture_output=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_program_starts_is_no_traceback(module: str, number: signal.Signals) -> None:
    code, out, err = signalled(module, number, "list")
    # Before its handler is there, the system itself ends the process.
    assert code == 128 + number or (code == -number and module == MODULES[0])
    assert out == b""
    assert b"Traceback" not in err
    assert b"KeyboardInterrupt" not in err


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_from_the_start_stays_ignored(number: signal.Signals) -> None:
    """As nohup does, and a shell for a job in the background of a script."""
    ignoring = ("bash", "-c", f'trap "" {number.name}; exec "$@"', "bash")
    code, out, _ = signalled("typer.core", number, "path", *ignoring)
    assert code == 0
    assert out
