"""The process from its first line on: signals while it is still importing."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# In the order in which they are imported; Python says on stderr when each of them is there.
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
MODULES = ["t2l_cli.cli.interrupt", "typer.core", "t2l_cli.cli.app", "torch.torch_version"]


def signalled(module: str, number: signal.Signals, asked: str, *before: str) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr of `t2l models ...` that gets the signal as soon as it has imported ``module``.

    before: a command that runs it.
    """
    line = [*before, sys.executable, "-X", "importtime", "-m", "t2l_cli", "models", asked]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for said in process.stderr:
        if said.split()[-1].decode() == module:
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=300)
    own = [line for line in err.splitlines() if not line.startswith(b"import time:")]
    return process.returncode, out, b"\n".join(own)


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
