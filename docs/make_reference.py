"""Write docs/reference/*.md from the program's own definitions, the ones that --help prints.

Usage: python docs/make_reference.py [--check]. With --check nothing is written; exit 1 where a page is not current.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import typer

from t2l_cli.cli.app import app

REFERENCE = Path(__file__).parent / "reference"


def pages() -> dict[str, str]:
    """File name -> text, one page a command."""
    root: Any = typer.main.get_command(app)
    return {f"{name}.md": _page(f"t2l {name}", command) for name, command in root.commands.items()}


def _page(name: str, command: Any) -> str:
    parts = [f"# {name}", _about(command)]
    subcommands = getattr(command, "commands", {})
    if not subcommands:
        parts += _parameters(name, command)
    for sub, child in subcommands.items():
        parts += [f"## {name} {sub}", _about(child), *_parameters(f"{name} {sub}", child)]
    note = "<!-- Written by docs/make_reference.py from the program's own --help; do not edit. -->"
    return "\n\n".join([note, *parts]) + "\n"


def _about(command: Any) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n"))


def _parameters(name: str, command: Any) -> list[str]:
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options: dict[str, list[Any]] = defaultdict(list)
    for parameter in shown:
        if parameter.param_type_name == "option":
            options[getattr(parameter, "rich_help_panel", None) or "Options"].append(parameter)
    usage = " ".join([name, *(_metavar(p) for p in arguments), "[OPTIONS]"])
    parts = [f"    {usage}"]
    if arguments:
        parts.append(_table(["Argument", ""], [[f"`{_metavar(p)}`", p.help or ""] for p in arguments]))
    for panel, group in options.items():
        rows = [[_spelling(p), p.help or "", f"`{p.envvar}`" if p.envvar else ""] for p in group]
        parts += [f"**{panel}**", _table(["Option", "", "Environment"], rows)]
    return parts


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper()) + ("..." if parameter.nargs == -1 else "")


def _spelling(option: Any) -> str:
    flag = getattr(option, "is_flag", False)
    value = "" if flag else " " + _metavar(option)
    return "`" + ", ".join(option.opts) + value.replace("|", "\\|") + "`"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("\n", " ") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Write the pages, or with --check compare them."""
    current = pages()
    if "--check" in sys.argv[1:]:
        stale = [name for name, text in current.items() if not _same(REFERENCE / name, text)]
        if stale:
            sys.exit(f"not current: {', '.join(stale)}; run python docs/make_reference.py")
        return
    REFERENCE.mkdir(exist_ok=True)
    for name, text in current.items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
