from __future__ import annotations

import os
import signal
import time

import pytest

from t2l_cli.cli import interrupt
from t2l_cli.cli.interrupt import Interrupted, Interruption, exit_code

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_the_second_ends(
    number: signal.Signals, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    with Interruption() as interruption:
        interruption.be_patient()
        assert not interruption.requested
        os.kill(os.getpid(), number)
        assert exit_code(interruption.requested) == 128 + number
        clock.now += interrupt.ECHO
        with pytest.raises(Interrupted) as caught:
            os.kill(os.getpid(), number)
    assert exit_code(caught.value) == 128 + number
    assert capfd.readouterr().err.count("Stopping after this step") == 1


def test_one_request_that_comes_twice_is_one(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    """The shell and the system both hang up; `timeout` ends the process, then its group."""
    with Interruption() as interruption:
        interruption.be_patient()
        os.kill(os.getpid(), signal.SIGHUP)
        clock.now += 0.9 * interrupt.ECHO
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert exit_code(interruption.requested) == 129
    assert capfd.readouterr().err.count("Stopping") == 1


def test_what_was_there_before_comes_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption(quiet=True):
        assert all(signal.getsignal(number) not in before for number in SIGNALS)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_before_the_loop_one_signal_ends() -> None:
    with Interruption(quiet=True) as interruption:
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):  # also where somebody swallowed the first
            interruption.be_patient()


def test_after_the_loop_one_signal_ends_again(clock: Clock) -> None:
    with Interruption(quiet=True) as interruption:
        interruption.be_patient()
        interruption.be_prompt()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)


def test_in_the_loop_what_came_is_asked_for_not_raised(clock: Clock) -> None:
    with Interruption(quiet=True) as interruption:
        interruption.be_patient()
        os.kill(os.getpid(), signal.SIGTERM)
        interruption.be_patient()
        interruption.be_prompt()
        assert exit_code(interruption.requested) == 128 + signal.SIGTERM


def test_the_notice_needs_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> int:
        raise BrokenPipeError

    with Interruption() as interruption:
        interruption.be_patient()
        monkeypatch.setattr(os, "write", gone)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested
