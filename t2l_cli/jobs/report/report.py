"""A report: edits, found where the user says, as one page of HTML."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from t2l_cli.errors import RequestError, StoppedError
from t2l_cli.jobs.job import Result, Stepless, absolute, need_output
from t2l_cli.jobs.naming import claimed
from t2l_cli.jobs.report.collect import Edit, collect
from t2l_cli.jobs.report.curves import Chart, chart_of
from t2l_cli.media.atomic import write_atomically
from t2l_cli.media.paths import STDIO, reason, shown
from t2l_cli.media.places import check_place
from t2l_cli.progress import Reporter, counted

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class ReportRequest:
    """A report to be made: plain data."""

    sources: tuple[str, ...]  # run directories, folders of batches, results
    output: str = ""  # "" where the page is only looked at
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.sources:
            raise RequestError("name what the report is to show: t2l report run -o report.html.")


class ReportJob(Stepless):
    """The page about some edits. It has no steps; ``html`` is the page."""

    def __init__(self, request: ReportRequest, reporter: Reporter | None = None) -> None:
        super().__init__(reporter)
        self.request = request

    @cached_property
    def edits(self) -> list[Edit]:
        """What the report shows."""
        return collect(self.request.sources)

    @cached_property
    def page(self) -> bytes:
        """The page, HTML in UTF-8. The same files give the same bytes."""
        edits = self.edits
        if not edits:
            raise RequestError("there is nothing to show: no job of the batch has ended.")

        from t2l_cli.jobs.report.page import Shown, page_of
        from t2l_cli.jobs.report.pictures import Album

        shown_edits = []
        with counted(edits, len(edits), "", self.reporter, "edits") as each:
            for edit in each:
                if self.reporter.should_stop():
                    raise StoppedError
                album, (charts, unread) = Album(edit, len(edits)), _charts(edit)
                notes = (*edit.notes, *album.notes, *unread)
                shown_edits.append(Shown(edit, album, charts, notes))
        return page_of(shown_edits)

    @property
    def html(self) -> str:
        """The page."""
        return self.page.decode()

    @property
    def record(self) -> dict[str, Any]:
        """What the report shows, as plain data."""
        statuses = [edit.status for edit in self.edits]
        return {
            "command": "report",
            "sources": list(self.request.sources),
            "output": absolute(self.request.output or None),
            "edits": len(statuses),
            "failed": statuses.count("failed"),
            "bytes": len(self.page),
        }

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the page; RequestError or OutputError where that is not possible."""
        self._check(path, overwrite)
        write_atomically(path, self.page, overwrite)

    def write(self) -> Result:
        """Make the page and write it to the request's output."""
        request = self.request
        need_output(request.output)
        self._check(request.output, request.overwrite)
        with claimed(Path(request.output)):
            self.save(request.output, request.overwrite)
        return Result("done", (request.output,), self.record)

    def _check(self, path: str | Path, overwrite: bool) -> None:
        if str(path) == STDIO:
            raise RequestError("a report is a file; name one, such as -o report.html.")
        if Path(path).suffix.lower() not in SUFFIXES:
            raise RequestError(f"a report is HTML; give {shown(path)} the suffix .html.")
        check_place(Path(path), overwrite)


def _charts(edit: Edit) -> tuple[dict[str, Chart], list[str]]:
    """The charts of an edit by layer, and notes about losses that cannot be read."""
    charts: dict[str, Chart] = {}
    notes = []
    for layer in edit.layers:
        if layer.losses is None:
            continue
        try:
            chart = chart_of(layer.losses)
        except OSError as error:
            notes.append(f"{layer.losses.name} cannot be read: {reason(error)}.")
        except ValueError:
            notes.append(f"{layer.losses.name} is no table of losses.")
        else:
            charts |= {} if chart is None else {layer.name: chart}
    return charts, notes
