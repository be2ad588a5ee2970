"""The losses of a training as lines to draw: read from losses.csv, thinned, and scaled to a drawing."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

POINTS = 150  # of a line at most; each is the mean of the steps that it stands for
WIDTH, HEIGHT = 640, 240  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 10, 22  # its margins
_LOG_FROM = 20  # largest over smallest value: from here on the scale is logarithmic, or the small terms are one line
_NOT_TERMS = ("step", "stage", "lr")


@dataclass(frozen=True)
class Line:
    """One term of the loss."""

    name: str
    path: str  # of SVG
    last: str  # value, for a person


@dataclass(frozen=True)
class Mark:
    """A value on the vertical axis."""

    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """The lines of a training and their axes."""

    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    first: int  # step
    last: int  # step
    log: bool
    every: int  # steps in a point


def chart_of(path: Path) -> Chart | None:
    """The chart of a losses.csv, of the training without the tries before it; None where it holds no values.

    OSError and ValueError where it cannot be read.
    """
    steps, columns = _read(path)
    every = max(1, -(-len(steps) // POINTS))
    steps = _means(steps, every)
    columns = {name: _means(values, every) for name, values in columns.items()}
    finite = [value for values in columns.values() for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    log = low > 0 and high / low >= _LOG_FROM
    scale = _Scale(low, high, log)
    span = max(steps[-1] - steps[0], 1)
    xs = [LEFT + (step - steps[0]) / span * (WIDTH - LEFT - RIGHT) for step in steps]
    lines = tuple(
        Line(name, _path(xs, [scale.y(value) for value in values]), _number(values[-1]))
        for name, values in columns.items()
    )
    marks = tuple(Mark(round(scale.y(value), 1), _number(value)) for value in scale.marks())
    return Chart(lines, marks, round(steps[0]), round(steps[-1]), log, every)


def _read(path: Path) -> tuple[list[float], dict[str, list[float]]]:
    """The steps, and the values of each term at them; a last line that was cut is left out."""
    steps: list[float] = []
    columns: dict[str, list[float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("stage") or None in row.values():
                    continue
                values = {name: float(value) for name, value in row.items() if name not in _NOT_TERMS}
                steps.append(float(row["step"]))
                for name, value in values.items():
                    columns.setdefault(name, []).append(value)
    except (csv.Error, KeyError, TypeError) as error:
        raise ValueError("it is no table of losses") from error
    return steps, columns


def _means(values: Sequence[float], every: int) -> list[float]:
    parts = (values[start : start + every] for start in range(0, len(values), every))
    return [sum(part) / len(part) for part in parts]


class _Scale:
    """From values to heights in the drawing."""

    def __init__(self, low: float, high: float, log: bool) -> None:
        self._log = log
        self._low, self._high = (math.log10(low), math.log10(high)) if log else (low, high)
        if self._high - self._low < 1e-12:
            self._low, self._high = self._low - 0.5, self._high + 0.5

    def y(self, value: float) -> float:
        """The height of ``value``, from above; NaN for what is not finite."""
        if not math.isfinite(value):
            return math.nan
        part = ((math.log10(value) if self._log else value) - self._low) / (self._high - self._low)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    def marks(self) -> Iterable[float]:
        """Round values within the scale: powers of ten, or steps of 1, 2 or 5 times one."""
        if self._log:
            powers = range(math.ceil(self._low), math.floor(self._high) + 1)
            return [10.0**power for power in powers]
        step = 10.0 ** math.floor(math.log10((self._high - self._low) / 2))
        step *= next(factor for factor in (5, 2, 1) if step * factor * 2 <= self._high - self._low)
        first = math.ceil(self._low / step)
        return [place * step for place in range(first, math.floor(self._high / step) + 1)]


def _path(xs: Sequence[float], ys: Sequence[float]) -> str:
    """A path through the points; it is broken where there is none."""
    words: list[str] = []
    pen = "M"
    for x, y in zip(xs, ys, strict=True):
        if math.isnan(y):
            pen = "M"
            continue
        words.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return "".join(words)


def _number(value: float) -> str:
    return f"{value:.3g}"
