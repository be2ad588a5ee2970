"""docs/reference says what the installed program prints for --help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

from t2l_cli.cli.app import app
from t2l_cli.errors import CODES

ROOT = Path(__file__).parents[2]


def test_the_reference_is_current() -> None:
    command = [sys.executable, "docs/make_reference.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_code_of_errors_is_in_the_table() -> None:
    text = (ROOT / "docs" / "reference" / "error-codes.md").read_text(encoding="utf-8")
    for code, meaning in CODES.items():
        assert f"| `{code}` | {meaning} |" in text


def test_every_command_has_its_part_of_a_page() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    assert {path.stem for path in (ROOT / "docs" / "reference").glob("*.md")} == {*commands, "error-codes"}
    for name, command in commands.items():
        text = (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")
        for sub in getattr(command, "commands", {}):
            assert f"## t2l {name} {sub}" in text
        for option in (option for p in command.params for option in p.opts if option.startswith("--")):
            assert option in text
