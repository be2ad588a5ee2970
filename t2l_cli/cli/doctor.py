"""`t2l doctor`: what this machine has for t2l, whether it works, in a block of text for a bug report."""

from __future__ import annotations

import dataclasses
import json
import locale
import os
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import t2l_cli
from t2l_cli.cli import options as o
from t2l_cli.cli.command import Command, Defaults, commands, with_values
from t2l_cli.cli.terminal import printable, report, stderr_console
from t2l_cli.errors import RequestError, T2LError
from t2l_cli.jobs.doctor import Check, Finding, worst
from t2l_cli.media.paths import shown

WIDTH = 100  # characters per line: more than bug trackers show without scrolling is folded
_NAME = 10  # characters for the names of findings

Json = Annotated[bool, o.option("--json", help="Print one JSON object.")]
Offline = Annotated[bool, o.option("--offline", help="Do not try to reach the model hub.")]
Verbose = Annotated[bool, o.option("--verbose", "-v", help="Show the tracebacks of what fails, too.")]


class Robust(Command):
    """A command that does without the user's file where that is wrong."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line."""
        try:
            return super().parse_args(ctx, list(args))
        except RequestError:
            ctx.default_map = None
            return TyperCommand.parse_args(self, ctx, with_values(args))


def doctor(ctx: typer.Context, offline: Offline = False, as_json: Json = False, verbose: Verbose = False) -> None:
    """Check this machine and this installation of t2l, and try a short edit.

    Paste what it prints into a bug report: it names neither you nor your home folder. The exit code is 1 where
    something is a problem.
    """
    with o.terminal(ctx) as terminal:
        own: list[tuple[str, Check]] = [("settings", partial(_settings, ctx)), ("terminal", _terminal)]
        found = []
        for finding in t2l_cli.doctor(offline=offline, more=own):
            found.append(finding)
            if not as_json:  # line by line: who dies at a check can be seen by the last line
                terminal.write(_lines(finding, verbose))
        if as_json:
            findings = [dataclasses.asdict(finding) for finding in found]
            terminal.write(json.dumps({"state": worst(found), "findings": findings}))
        else:
            terminal.write(_sum(found))
    bad = list(dict.fromkeys(finding.name for finding in found if finding.state == "problem"))
    if bad:
        raise typer.Exit(report(T2LError(f"something is wrong with: {', '.join(bad)}.")))


def _lines(finding: Finding, verbose: bool) -> str:
    head = f"{finding.state:<8}{finding.name:<{_NAME}}  "
    text = textwrap.fill(
        printable(finding.text),
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    trace = finding.trace.rstrip().split("\n") if verbose and finding.trace else []
    return "\n".join([text, *("    " + printable(line) for line in trace)])


def _sum(found: list[Finding]) -> str:
    """The last line."""
    problems, notes = (sum(finding.state == state for finding in found) for state in ("problem", "note"))
    words = [
        "no problems" if not problems else "1 problem" if problems == 1 else f"{problems} problems",
        "no notes" if not notes else "1 note" if notes == 1 else f"{notes} notes",
    ]
    return ", ".join(words)


def _settings(ctx: typer.Context) -> Iterator[Finding]:
    """The user's file; what is wrong with it is raised."""
    file = Defaults("", commands(ctx)).file
    if not file.text:
        yield Finding("settings", "ok", "no file of your own defaults, or an empty one", {"file": None})
        return
    sections = [name for name, entries in file.defaults.items() if entries]
    text = f"{shown(file.path)} is right; {len(file.presets)} presets, defaults for {len(sections)} commands"
    yield Finding("settings", "ok", text, {"file": str(file.path), "presets": list(file.presets), "commands": sections})


def _terminal() -> Iterator[Finding]:
    console = stderr_console()
    named = zip(("stdin", "stdout", "stderr"), (sys.stdin, sys.stdout, sys.stderr), strict=True)
    screens = [name for name, stream in named if stream.isatty()]
    term, encoding, colours = os.environ.get("TERM", ""), sys.stderr.encoding, console.color_system
    locales = ".".join(part for part in locale.getlocale() if part) or "C"
    facts = {"screens": screens, "term": term, "encoding": encoding, "locale": locales, "colours": colours}
    place = f"{' and '.join(screens)} on a terminal" if screens else "no stream on a terminal"
    text = f"{place}, TERM={term or '-'}, {encoding}, locale {locales}, colours: {colours or 'none'}"
    plain = encoding.lower().replace("-", "") != "utf8"
    yield Finding("terminal", "note" if plain else "ok", text + (": not UTF-8" if plain else ""), facts)
