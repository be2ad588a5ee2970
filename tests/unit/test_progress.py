"""Words and figures of work that goes on."""

from __future__ import annotations

import pytest

from t2l_cli.progress import Pace, duration


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_pace_leaves_the_first_step_out() -> None:
    times = iter([0.0, 100.0, 102.0, 104.0])
    pace = Pace(clock=lambda: next(times))
    next(times)
    pace.tick(0)
    assert pace.rate is None
    pace.tick(1)
    pace.tick(2)
    assert pace.rate == pytest.approx(0.5)
    assert pace.left(10) == pytest.approx(20)
