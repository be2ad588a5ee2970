"""One case: a folder with files, a command line, and what is known of its outcome before it is run."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from t2l_cli.cli.command import with_values
from t2l_cli.media.compositing import Bytes

Stream = Literal["pipe", "full", "closed"]

SHORT = ("--clip", "mini", "--steps", "1", "--views", "1", "--size", "129")
"""Options for an edit that is quick even where nothing stands in for CLIP and the generator."""


@dataclass
class Case:
    """What is run, where, and what must come of it. ``folder`` is its working directory, with all its files."""

    folder: Path
    argv: list[str] = field(default_factory=list)
    stdin: bytes = b""
    env: dict[str, str] = field(default_factory=dict)
    input: Stream = "pipe"  # "full": without end
    stdout: Stream = "pipe"
    stderr: Stream = "pipe"
    room: int | None = None  # bytes that a file may have, as if the disk were full then
    real: bool = False  # nothing stands in for the training
    code: int | None = None  # the exit code that is due, where it is known
    why: str = ""  # why that one
    own: set[str] = field(default_factory=set)  # files that no run may touch, wherever they lie
    results: set[str] = field(default_factory=set)  # files of an earlier run, which --overwrite may replace
    output: str | None = None  # where the result is told to go, if it is known
    size: tuple[int, int] | None = None  # (width, height) of the result, if it is known
    frames: int | None = None  # of the result, if it is a video and their number is known
    pixels: Bytes | None = None  # (H, W, 3) of the result, if they are known

    def put(self, name: str, data: bytes) -> str:
        """Write a file of the case; returns ``name``, a path below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name

    def due(self, code: int, why: str) -> None:
        """Say which exit code is due, and why."""
        self.code, self.why = code, why

    def says(self, flag: str) -> bool:
        """Whether the command line or the environment gives ``flag``."""
        variable = "T2L_" + flag.lstrip("-").replace("-", "_").upper()
        return flag in self.argv or self.env.get(variable, "").lower() in ("1", "true", "t", "yes", "y", "on")

    def verbose(self) -> bool:
        """Whether tracebacks are asked for."""
        return self.says("--verbose") or any(re.fullmatch("-[jqv]*v[jqv]*", word) for word in self.argv)

    def value(self, *names: str) -> str | None:
        """What the command line or the environment gives for an option; its last value, as the program takes it."""
        found = None
        for place, word in enumerate(self.argv):
            for option in names:
                if word == option and place + 1 < len(self.argv):
                    found = self.argv[place + 1]
                elif option.startswith("--") and word.startswith(option + "="):
                    found = word.partition("=")[2]
        variable = "T2L_" + names[0].lstrip("-").replace("-", "_").upper()
        return found if found is not None else self.env.get(variable)

    def events(self) -> str | None:
        """Where events go: a file, "-" for stdout, or None."""
        words = with_values(self.argv)
        return dataclasses.replace(self, argv=words).value("--events")

    def line(self) -> str:
        """The command line as a person would type it."""
        words = [f"{name}={_quoted(value)}" for name, value in self.env.items()]
        redirections = {
            "pipe": (),
            "full": ("< /dev/zero", "> /dev/full", "2> /dev/full"),
            "closed": ("<&-", ">&-", "2>&-"),
        }
        streams = [
            redirections[kind][k] for k, kind in enumerate((self.input, self.stdout, self.stderr)) if kind != "pipe"
        ]
        limit = [] if self.room is None else [f"# with files of at most {self.room} bytes"]
        return " ".join([*words, "t2l", *map(_quoted, self.argv), *streams, *limit])


def _quoted(word: str) -> str:
    short = word if len(word) <= 300 else f"{word[:100]}...({len(word)} characters)"
    return shlex.quote(short) if short.isprintable() else "$" + ascii(short)


def copied(source: Path, target: Path) -> None:
    """Copy the files of a folder."""
    for place, _, names in os.walk(source):
        for name in names:
            path = Path(place) / name
            to = target / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())


def words(*parts: str | Sequence[str]) -> list[str]:
    """A command line from words and lists of words."""
    return [word for part in parts for word in ([part] if isinstance(part, str) else part)]
