"""Losses as lines: thinned, scaled, broken where a value is not finite."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from t2l_cli.jobs.report.curves import BOTTOM, HEIGHT, LEFT, POINTS, RIGHT, TOP, WIDTH, Chart, chart_of


def chart(tmp_path: Path, *rows: str, names: str = "total,screen") -> Chart | None:
    path = tmp_path / "losses.csv"
    path.write_text("\n".join([f"step,stage,lr,{names}", *rows]) + "\n")
    return chart_of(path)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+?) ([\d.]+)", path)]


def test_the_smallest_and_the_largest_value_are_at_the_edges(tmp_path: Path) -> None:
    made = chart(tmp_path, "1,,0.1,4,2", "2,,0.1,3,2", "3,,0.1,2,1")
    assert made is not None
    total, screen = made.lines
    assert (total.name, total.last, screen.name, screen.last) == ("total", "2", "screen", "1")
    assert points(total.path)[0] == (LEFT, TOP)
    assert points(screen.path)[-1] == (WIDTH - RIGHT, HEIGHT - BOTTOM)
    assert (made.first, made.last, made.every, made.log) == (1, 3, 1, False)
    assert [mark.text for mark in made.marks] == ["1", "2", "3", "4"]


def test_small_terms_are_seen_on_a_logarithmic_scale(tmp_path: Path) -> None:
    made = chart(tmp_path, "1,,0.1,1,0.01", "2,,0.1,0.1,0.01")
    assert made is not None
    assert made.log
    assert [mark.text for mark in made.marks] == ["0.01", "0.1", "1"]
    (_, first), (_, last) = points(made.lines[0].path)
    assert last == pytest.approx((first + HEIGHT - BOTTOM) / 2, abs=0.1)
    below = chart(tmp_path, "1,,0.1,1,0.01", "2,,0.1,0.1,-0.01")
    assert below is not None
    assert not below.log


@pytest.mark.parametrize("steps", [1, 2, POINTS, POINTS + 1, 1000])
def test_a_long_training_is_thinned_to_means(tmp_path: Path, steps: int) -> None:
    made = chart(tmp_path, *(f"{step},,0.1,{step},1" for step in range(1, steps + 1)))
    assert made is not None
    assert len(points(made.lines[0].path)) == -(-steps // made.every) <= POINTS
    assert made.every == -(-steps // POINTS)


def test_tries_are_left_out_and_a_line_is_broken_where_it_has_no_value(tmp_path: Path) -> None:
    made = chart(tmp_path, "1,try 1 of 2,0.1,9,9", "2,,0.1,1,1", "3,,0.1,nan,1", "4,,0.1,2,inf", "5,,0.1,3")
    assert made is not None
    assert made.first == 2
    assert made.lines[0].path.count("M") == 2
    assert len(points(made.lines[1].path)) == 2


@pytest.mark.parametrize("rows", [[], ["1,,0.1,nan,inf"], ["1,try 1 of 2,0.1,1,1"]])
def test_there_may_be_nothing_to_draw(tmp_path: Path, rows: list[str]) -> None:
    assert chart(tmp_path, *rows) is None


@pytest.mark.parametrize("row", ["1,,0.1,x,1", "x,,0.1,1,1", "1,,0.1,1,1,1"])
def test_what_is_no_table_is_a_value_error(tmp_path: Path, row: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever it says
        chart(tmp_path, row)


def test_the_same_value_everywhere_is_drawn(tmp_path: Path) -> None:
    made = chart(tmp_path, "1,,0.1,2,2", "2,,0.1,2,2")
    assert made is not None
    assert len(points(made.lines[0].path)) == 2
    assert made.marks
