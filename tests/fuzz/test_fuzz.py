"""Hundreds of generated cases against what must always hold.

A case is its number: pytest tests/fuzz --fuzz-seed N --fuzz-cases 1 repeats one; nox -s fuzz runs thousands.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fuzz import cases, command_lines, properties, runner


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first, count = metafunc.config.getoption("fuzz_seed"), metafunc.config.getoption("fuzz_cases")
        metafunc.parametrize("seed", range(first, first + count))


def test_case(seed: int, tmp_path: Path) -> None:
    (folder := tmp_path / "case").mkdir()
    case = cases.build(seed, folder)
    outcome = runner.run(case, tmp_path / "home")
    wrong = properties.complaints(case, outcome)
    if wrong:
        said = outcome.err[-2000:].decode("utf-8", "backslashreplace")
        lines = [f"seed {seed}, in {folder}", case.line(), *(f"- {line}" for line in wrong), "stderr:", said]
        pytest.fail("\n".join(lines), pytrace=False)
    shutil.rmtree(tmp_path)  # thousands of them


def test_a_case_is_made_of_its_number_alone(tmp_path: Path) -> None:
    def made(seed: int) -> tuple[list[str], dict[str, str], bytes, runner.Snapshot]:
        (folder := tmp_path / str(seed)).mkdir()
        case = cases.build(seed, folder)
        found = runner.snapshot(folder)
        shutil.rmtree(folder)
        return case.argv, case.env, case.stdin, found

    for seed in range(40):
        assert made(seed) == made(seed)


def test_every_command_is_tried() -> None:
    assert set(command_lines.BASES) == set(command_lines.commands())
