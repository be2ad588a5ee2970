"""What stands beside the code and can be checked against it: the pages of advice, Dockerfile, CITATION.cff, badges."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

import t2l_cli
from t2l_cli.cli.app import app

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def options(command: Any) -> set[str]:
    """Every option of ``command`` and of the commands below it."""
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*map(options, getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", ["faq.md", "troubleshooting.md", "choosing.md"])
def test_every_option_that_a_page_names_exists(page: str) -> None:
    known = {*options(typer.main.get_command(app)), "--help"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", (ROOT / "docs" / page).read_text(encoding="utf-8")))
    assert named
    assert named <= known


@pytest.mark.parametrize("page", ["install.md", "faq.md", "troubleshooting.md", "choosing.md"])
def test_every_page_and_heading_that_a_page_links_to_exists(page: str) -> None:
    for target, _, heading in re.findall(
        r"\]\(([\w/.-]+\.md)(#([\w-]+))?\)", (ROOT / "docs" / page).read_text("utf-8")
    ):
        text = (ROOT / "docs" / target).read_text(encoding="utf-8")
        headings = [re.sub(r"[^\w -]", "", line.lstrip("# ")).lower() for line in text.splitlines() if line[:1] == "#"]
        assert not heading or heading in [words.strip().replace(" ", "-") for words in headings], (target, heading)


def dockerfile(instruction: str) -> list[str]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return [line.partition(" ")[2] for line in text.splitlines() if line.startswith(instruction + " ")]


def test_what_the_image_copies_is_there_and_let_through() -> None:
    copied = [path for line in dockerfile("COPY") for path in line.split()[:-1]]
    assert copied
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for path in copied:
        assert (ROOT / path).exists()
        let = True
        for rule in rules:  # the last that fits decides
            if rule and not rule.startswith("#") and fnmatch.fnmatch(path, rule.removeprefix("!")):
                let = rule.startswith("!")
        assert let, path
    assert {"pyproject.toml", "t2l_cli", PROJECT["readme"], *PROJECT["license-files"]} <= set(copied)


def test_the_image_runs_the_program_as_a_user() -> None:
    assert dockerfile("ENTRYPOINT") == ['["t2l"]']
    assert "t2l" in PROJECT["scripts"]
    assert dockerfile("USER")[-1] not in ("root", "0")


def test_the_citation_is_of_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {t2l_cli.__version__}\n" in text
    assert f"\nlicense: {PROJECT['license']}\n" in text


def test_the_badges_are_true() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    python = PROJECT["requires-python"].removeprefix(">=")
    for alt, picture in re.findall(r"!\[([^]]*)\]\((https://img\.shields\.io/[^)]*)\)", readme):
        assert (f"python-{python}%2B" in picture) != (f"licence-{PROJECT['license']}" in picture), alt
