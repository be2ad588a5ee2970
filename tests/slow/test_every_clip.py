"""Every architecture that open_clip lists is usable, or refused with its reason, as docs/clip.md says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "clip.md"
ROWS = {
    cells[1].strip(): line
    for line in PAGE.read_text(encoding="utf-8").partition("| architecture |")[2].splitlines()
    if len(cells := line.split("|")) > 3 and re.match(r"\| \w", line)
}


def test_the_table_has_every_architecture() -> None:
    import open_clip

    assert list(ROWS) == open_clip.list_models()


@pytest.mark.parametrize("name", ROWS)
def test_it_is_as_the_table_says(name: str) -> None:
    """The attempt itself fails where a tower that is not refused does not do what it must."""
    from docs import make_clips

    found = make_clips.tried(name)
    assert make_clips.row(found) == ROWS[name]
    facts = json.loads(make_clips.FACTS.read_text(encoding="utf-8"))
    assert (name in facts) == (not found.problem)
    if not found.problem:
        assert facts[name] == found.facts
