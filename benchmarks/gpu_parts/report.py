"""What ``benchmarks/gpu.py`` writes: one JSON file and one Markdown file, new after every row."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_parts.run import Outcome, Row, Value

JSON_NAME, MARKDOWN_NAME = "gpu.json", "gpu.md"


@dataclass
class Report:
    """All that is known so far. ``about``: command, commit, sizes; ``machine``: card, driver, versions."""

    folder: Path
    about: dict[str, Any]
    outcomes: list[Outcome]
    machine: dict[str, Value] = field(default_factory=dict)

    def write(self) -> None:
        """Write both files whole: whoever reads one never sees half of it."""
        for name, text in ((JSON_NAME, self.json()), (MARKDOWN_NAME, self.markdown())):
            fresh = self.folder / f".{name}.new"
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self.folder / name)

    def json(self) -> str:
        """The whole as JSON; a figure that is not finite is null."""
        parts = [
            {
                "name": o.part.name,
                "title": o.part.title,
                "status": o.status,
                "error": o.error,
                "seconds": round(o.seconds, 2),
                "asked": o.part.asked,
                "rows": [{"name": r.name, "figures": {k: _finite(v) for k, v in r.figures.items()}} for r in _rows(o)],
            }
            for o in self.outcomes
        ]
        whole = {**self.about, "machine": self.machine, "parts": parts}
        return json.dumps(whole, indent=2, allow_nan=False) + "\n"

    def markdown(self) -> str:
        """A table a part, under the machine that it was measured on."""
        facts = ", ".join(f"{name} {value}" for name, value in self.machine.items()) or "machine unknown"
        lines = [f"{facts}. Commit {self.about['commit']}.", "", f"`{self.about['command']}`", ""]
        for outcome in self.outcomes:
            lines += [f"### {outcome.part.title}", "", *_table(outcome)]
            if outcome.status != "done":
                lines += [f"{outcome.status}{': ' if outcome.error else ''}{cell(outcome.error)}", ""]
        return "\n".join(lines).rstrip() + "\n"


def _rows(outcome: Outcome) -> list[Row]:
    return list(outcome.rows.values())


def _table(outcome: Outcome) -> list[str]:
    """Markdown lines of the part's rows; their titles are those of all rows, in the order of their first use."""
    if not outcome.rows:
        return []
    titles = list(dict.fromkeys(title for row in _rows(outcome) for title in row.figures))
    lines = [f"| | {' | '.join(titles)} |", f"| --- |{' --- |' * len(titles)}"]
    for row in _rows(outcome):
        cells = [cell(row.figures.get(title, "")) for title in titles]
        lines.append(f"| {cell(row.name)} | {' | '.join(cells)} |")
    if asked := outcome.part.asked:
        lines.append(f"| asked | {' | '.join(cell(asked.get(title, '')) for title in titles)} |")
    return [*lines, ""]


def _finite(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell(value: Value) -> str:
    """``value`` as text for a cell: a number with four digits that count, a text without what ends a cell or a line."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "not finite"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return " ".join(str(value).replace("|", "\\|").split())
