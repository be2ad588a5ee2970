"""The one option that may come without its value."""

from __future__ import annotations

import pytest

from t2l_cli.cli.command import with_values


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], []),
        (["a", "--events"], ["a", "--events=-"]),
        (["--events", "-q", "a"], ["--events=-", "-q", "a"]),
        (["--events", "file", "a"], ["--events", "file", "a"]),
        (["--events", "-", "a"], ["--events", "-", "a"]),
        (["--events=file"], ["--events=file"]),
        (["--events", "--", "-a"], ["--events=-", "--", "-a"]),
        (["--", "--events"], ["--", "--events"]),
        (["--", "a", "--events", "-b"], ["--", "a", "--events", "-b"]),
    ],
)
def test_what_the_word_behind_it_means(given: list[str], told: list[str]) -> None:
    assert with_values(given) == told
