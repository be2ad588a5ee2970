"""The commands of everyday work: `nox -l` lists them. They run in the environment that nox itself is installed in."""

from __future__ import annotations

import random

import nox

nox.options.default_venv_backend = "none"  # torch is 5 GB: one environment with `pip install -e ".[dev]"` is enough
nox.options.sessions = ["lint", "types", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    session.run("mypy")


@nox.session
def unit(session: nox.Session) -> None:
    """The fast tests alone."""
    session.run("pytest", "tests/unit", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Thousands of generated cases, others each time; one again: nox -s fuzz -- --fuzz-seed N --fuzz-cases 1."""
    first = str(random.randrange(10**9))
    session.run("pytest", "tests/fuzz", "--fuzz-seed", first, "--fuzz-cases", "5000", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests but the slow ones, the installed program included."""
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that the others do without: finished edits, several processes, kills, training recipes."""
    session.run("pytest", "tests/unit", "tests/e2e", "tests/benchmarks", "-m", "slow", *session.posargs)


@nox.session
def clips(session: nox.Session) -> None:
    """Every architecture of open_clip, with random weights: some ten minutes, one at a time."""
    session.run("pytest", "tests/slow", "-m", "slow", "-n", "0", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write docs/reference from the program's own --help, then build the site."""
    session.run("python", "docs/make_reference.py")
    session.run("mkdocs", "build", "--strict")


@nox.session
def bench(session: nox.Session) -> None:
    """Time and memory of a step."""
    session.run("python", "benchmarks/step.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """What would be published."""
    session.run("python", "-m", "build")
