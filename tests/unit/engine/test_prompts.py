"""Templates and the parts of a prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2l_cli.engine.prompts import SCREEN_TEMPLATES, TEMPLATES, fill, word_runs


def test_the_supplements_fourteen_templates() -> None:
    assert len(set(TEMPLATES)) == 14
    assert all(template.count("{}") == 1 for template in (*TEMPLATES, *SCREEN_TEMPLATES))
    assert fill("photo of {}.", "a {0} swan") == "photo of a {0} swan."


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("crochet swan", ["crochet", "swan"]),
        ("swan", []),
        ("a swan", []),
        ("a swan made of ice", ["swan", "ice"]),
        ("red brick house!", ["red brick", "brick house", "red", "brick", "house"]),
        ("big big dog", ["big big", "big dog", "big", "dog"]),
    ],
)
def test_word_runs(text: str, runs: list[str]) -> None:
    assert sorted(word_runs(text)) == sorted(runs)


@given(st.text(max_size=1000))
def test_any_text_gives_few_distinct_runs_that_are_not_the_whole(text: str) -> None:
    runs = word_runs(text)
    assert len(runs) == len({run.lower() for run in runs})
    assert len(runs) <= 4 * len(text.split())
    assert all(run and run != text for run in runs)
