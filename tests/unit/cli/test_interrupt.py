from __future__ import annotations

import os
import signal

import pytest

from t2l_cli.cli.interrupt import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    with Interruption() as interruption:
        interruption.be_patient()
        assert not interruption.requested
        os.kill(os.getpid(), number)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert "Stopping after this step" in capfd.readouterr().err


def test_what_was_there_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption(quiet=True):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_before_the_loop_one_signal_ends() -> None:
    with Interruption(quiet=True) as interruption:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):  # also where somebody swallowed the first
            interruption.be_patient()
