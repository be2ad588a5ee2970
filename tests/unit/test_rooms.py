"""Who may import whom: the house rules of CONTRIBUTING.md, read from the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "t2l_cli"
ROOMS = {  # room -> what of our own package it may import
    "cli": {"cli", "jobs", "weights", "media", "config", "settings", "errors", "events", "progress", ""},
    "web": {"web", "jobs", "media", "weights", "config", "settings", "errors", "progress", ""},
    "jobs": {"jobs", "engine", "media", "weights", "atlases", "config", "settings", "errors", "events", "progress", ""},
    "engine": {"engine", "config", "errors", "progress"},
    "media": {"media", "config", "errors"},
    "weights": {"weights", "media", "config", "errors"},
    "atlases": {"atlases", "engine", "media", "config", "errors"},
}
PURE = ["engine/resize.py", "engine/losses.py", "engine/layers.py", "engine/generator.py"]
FILES = sorted(PACKAGE.rglob("*.py"))


RECIPE = {"", "engine", "weights"}  # rooms that mini's recipe, which stands beside the package, may import
FILES_OF_RECIPE = sorted((PACKAGE.parent / "mini").glob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of the modules that ``path`` imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "t2l_cli" else {node.module}
            )
    return names


def ids(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_only_the_terminals_room_knows_the_terminal(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] != "cli":
        assert not {name.partition(".")[0] for name in imported(path)} & {"typer", "rich", "click"}


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_only_the_pages_room_knows_the_page(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] != "web":
        assert not {name.partition(".")[0] for name in imported(path)} & {"gradio", "fastapi", "starlette", "uvicorn"}


@pytest.mark.parametrize("path", [file for file in FILES if file.parent != PACKAGE], ids=ids)
def test_a_room_keeps_to_its_neighbours(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    own = {name.split(".")[1] if "." in name else "" for name in imported(path) if name.split(".")[0] == "t2l_cli"}
    assert own <= ROOMS[room]


@pytest.mark.parametrize("path", FILES_OF_RECIPE, ids=lambda path: path.name)
def test_minis_recipe_uses_the_package_and_the_package_knows_nothing_of_it(path: Path) -> None:
    own = {name.split(".")[1] if "." in name else "" for name in imported(path) if name.split(".")[0] == "t2l_cli"}
    assert own <= RECIPE
    assert not any("mini" in {name.split(".")[0] for name in imported(file)} for file in FILES)


@pytest.mark.parametrize("name", PURE)
def test_the_mathematics_needs_torch_alone(name: str) -> None:
    foreign = {module.partition(".")[0] for module in imported(PACKAGE / name)}
    assert foreign <= {"torch", "t2l_cli", "__future__", "math", "dataclasses", "collections", "functools", "typing"}


def test_the_mathematics_knows_no_files_and_no_video_or_picture() -> None:
    for path in (PACKAGE / "engine").rglob("*.py"):
        assert not {name.partition(".")[0] for name in imported(path)} & {"PIL", "av", "pathlib", "os", "requests"}


FOREIGN = {"_exit", "_PRETRAINED", "_repr_png_"}  # of os, of open_clip; the name that notebooks ask for


def private_names(path: Path) -> set[str]:
    """Private names of others that ``path`` uses: attributes, imports and what monkeypatch replaces by name."""
    tree = ast.parse(path.read_text())
    own: set[str] = set()
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own.add(node.target.id)
        elif isinstance(node, ast.Attribute):
            (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            used |= {str(value.value) for value in node.args[1:2] if isinstance(value, ast.Constant)}
    return {name for name in used - own - FOREIGN if name.startswith("_") and not name.startswith("__")}


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_no_test_reaches_into_private_names(path: Path) -> None:
    assert private_names(path) == set()
