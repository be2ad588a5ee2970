"""Write docs/reference/*.md: what the installed program prints for --help, verbatim, and the codes of errors.

Usage: python docs/make_reference.py [--check]. With --check nothing is written; exit 1 where a page says something else
than the program. How the words are laid out does not count there: it differs between versions of typer and rich.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from t2l_cli.errors import CODES

REFERENCE = Path(__file__).parent / "reference"
COMMANDS = {
    "edit-image": (),
    "edit-video": (),
    "batch": (),
    "fit-atlas": (),
    "render-atlas": (),
    "composite": (),
    "report": (),
    "studio": (),
    "info": (),
    "doctor": (),
    "models": ("list", "pull", "path", "remove"),
    "config": ("show", "path"),
    "schema": (),
}
ERRORS = "error-codes"
WRITTEN = "<!-- Written by docs/make_reference.py from {}; do not edit. -->"
WIDTH = 110  # characters per line
FRAME = re.compile(r"[─-╿]|<[^<>\s]*>")  # lines of boxes, and types, which are typer's own words
PLAIN = {"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def page(command: str, subcommands: tuple[str, ...]) -> str:
    """The page of a command and its subcommands."""
    parts = [WRITTEN.format("the program's own --help")]
    for words in ((command,), *((command, sub) for sub in subcommands)):
        parts += [f"{'#' * len(words)} t2l {' '.join(words)}", f"```text\n{help_of(*words)}\n```"]
    return "\n\n".join(parts) + "\n"


def help_of(*words: str) -> str:
    """What the installed program prints for --help, without spaces at the ends of lines."""
    program = shutil.which("t2l", path=str(Path(sys.executable).parent))
    start = [program] if program else [sys.executable, "-m", "t2l_cli"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("T2L_")}
    done = subprocess.run([*start, *words, "--help"], env=own | PLAIN, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n")


def page_of_errors() -> str:
    """The page of the codes of errors."""
    rows = [f"| `{code}` | {meaning} |" for code, meaning in CODES.items()]
    intro = (
        "Each failure has a code, which never changes: in the object that `--json` prints, in results and in "
        "[events](../events.md), and as `code` of Python's `T2LError`."
    )
    table = "\n".join(["| code | what it means |", "| --- | --- |", *rows])
    return "\n\n".join([WRITTEN.format("t2l_cli/errors.py"), "# Codes of errors", intro, table]) + "\n"


def says(text: str) -> Counter[str]:
    """The words of a page, however they are laid out."""
    return Counter(FRAME.sub(" ", text).split())


def main() -> None:
    """Write the pages, or with --check compare them."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pages = dict(zip(COMMANDS, pool.map(page, COMMANDS, COMMANDS.values()), strict=True))
    pages[ERRORS] = page_of_errors()
    if "--check" in sys.argv[1:]:
        stale = [name for name, text in pages.items() if not _same(REFERENCE / f"{name}.md", text)]
        if stale:
            sys.exit(f"not current: {', '.join(stale)}; run python docs/make_reference.py")
        return
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages.items():
        (REFERENCE / f"{name}.md").write_text(text, encoding="utf-8")


def _same(path: Path, text: str) -> bool:
    return path.is_file() and says(path.read_text(encoding="utf-8")) == says(text)


if __name__ == "__main__":
    main()
