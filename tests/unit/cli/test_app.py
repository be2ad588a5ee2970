"""The command line without any work: help, versions, options, refusals. Nothing here may import torch."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t2l_cli.cli.app import app, main

HEAVY = ("torch", "open_clip", "kornia", "numpy", "PIL")
LIMIT = 0.4  # s, for --help and --version


def run(*argv: str) -> int:
    before, sys.argv = sys.argv, ["t2l", *argv]
    try:
        return main()
    finally:
        sys.argv = before


@pytest.mark.parametrize("asked", ["--version", "--help", "-h"])
def test_a_quick_answer_imports_nothing_heavy(asked: str) -> None:
    code = (
        "import sys, atexit\n"
        f"sys.argv = ['t2l', {asked!r}]\n"
        f"atexit.register(lambda: print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules]))\n"
        "from t2l_cli.cli.app import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout


@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_a_quick_answer_is_quick(asked: str) -> None:
    # Processor time, the best of twelve: what else this machine does at the moment is not the program's fault.
    assert min(_processor_seconds(asked) for _ in range(12)) < LIMIT


def _processor_seconds(asked: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "t2l_cli", asked], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.parametrize("module", ["t2l_cli", "t2l_cli.config", "t2l_cli.errors", "t2l_cli.cli.app"])
def test_a_light_module_is_light(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_public_names_are_fetched_when_asked_for() -> None:
    code = "import t2l_cli; t2l_cli.EditConfig; t2l_cli.T2LError; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists() -> None:
    import t2l_cli

    for name in t2l_cli.__all__:
        assert getattr(t2l_cli, name) is not None
    assert set(t2l_cli.__all__) <= set(dir(t2l_cli))
    with pytest.raises(AttributeError):
        t2l_cli.nothing  # noqa: B018  # the access itself is what is tested


def _commands(command: Any, name: str = "t2l") -> list[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    return [(name, command), *(x for key, child in children.items() for x in _commands(child, f"{name} {key}"))]


ALL = _commands(typer.main.get_command(app))


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_option_has_help_and_a_variable(name: str, command: Any) -> None:
    assert command.help or name == "t2l"
    for parameter in command.params:
        assert parameter.help, parameter.name
        if parameter.param_type_name == "option" and name != "t2l":
            assert parameter.envvar == "T2L_" + parameter.opts[0].lstrip("-").replace("-", "_").upper()


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_helps(name: str, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*name.split()[1:], "-h") == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["frobnicate"],
        ["edit-image"],
        ["edit-image", "--frob"],
        ["edit-image", "x.jpg"],
        ["edit-image", "x.jpg", ""],
        ["edit-image", "x.jpg", "   "],
        ["edit-image", "x.jpg", "x" * 10_000],
        ["edit-image", "x.jpg", "swan", "--steps"],
        ["edit-image", "x.jpg", "swan", "--steps", "0"],
        ["edit-image", "x.jpg", "swan", "--steps", "1.5"],
        ["edit-image", "x.jpg", "swan", "--steps", "9" * 400],
        ["edit-image", "x.jpg", "swan", "--source-every", "9" * 400],
        ["edit-image", "x.jpg", "swan", "--l1-weight", "1e999"],
        ["edit-image", "x.jpg", "swan", "--size", "-5"],
        ["edit-image", "x.jpg", "swan", "--lr", "nan"],
        ["edit-image", "x.jpg", "swan", "--screen-weight", "inf"],
        ["edit-image", "x.jpg", "swan", "--views", "0"],
        ["edit-image", "x.jpg", "swan", "--preset", "quick"],
        ["edit-image", "x.jpg", "swan", "--device", "toaster"],
        ["edit-image", "x.jpg", "swan", "--config", "missing.json"],
        ["edit-image", "x.jpg", "swan", "-o", "out.docx"],
        ["edit-image", "x.jpg", "swan", "-o", "out"],
        ["edit-image", "x.jpg", "swan", "-o", "no/such/folder/out.png"],
        ["edit-image", "x.jpg", "swan", "-o", "-", "--json"],
        ["edit-image", "-", "swan", "--mask", "-"],
        ["edit-image", "x.jpg", "swan", "--clip-weights", "missing.pt"],
        ["edit-image", "x.jpg", "swan", "--run-dir", "no/such/folder"],
        ["composite"],
        ["composite", "a.png", "b.png"],
        ["composite", "a.png", "b.png", "-o", "c.png"],
        ["composite", "-", "-", "-o", "c.png"],
        ["composite", "-", "b.png", "--json", "-o", "-"],
        ["models", "pull"],
        ["models", "frob"],
        ["x" * 100_000],
    ],
    ids=lambda argv: " ".join(argv)[:60],
)
def test_a_wrong_request_is_refused(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2L_CACHE_DIR", str(tmp_path / "cache"))
    assert run(*argv) == 2
    _refused(capsys)
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}


def _refused(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = capsys.readouterr()
    assert out == ""
    assert 1 <= len(err.splitlines()) <= 2, err
    assert len(err) < 3000
    assert err.startswith("Error: ")
    assert "bug" not in err


_NUMBERS = ["--steps", "--size", "--views", "--seed", "--tries", "--lr", "--l1-weight", "--momentum", "--source-every"]
_WORDS = ["--device", "--precision", "--distance", "--preset", "--roi", "--layer-text", "--output", "--mask", "--clip"]
_values = st.one_of(st.text(max_size=30), st.integers().map(str), st.floats().map(str))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=st.lists(st.tuples(st.sampled_from(_NUMBERS + _WORDS), _values), max_size=4),
    prompts=st.lists(_values, max_size=2),
)
def test_no_values_make_it_work_on_a_missing_file(
    options: list[tuple[str, str]],
    prompts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder := tmp_path_factory.mktemp("empty"))
    monkeypatch.setenv("T2L_CACHE_DIR", str(folder / "cache"))
    flags = [f"{name}={value}" for name, value in options]
    assert run("edit-image", *flags, "--", "missing.jpg", *prompts) == 2
    _refused(capsys)


def test_a_variable_stands_for_an_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("T2L_STEPS", "0")
    assert run("edit-image", "missing.jpg", "swan") == 2
    assert "--steps must be between 1" in capsys.readouterr().err


def test_verbose_adds_the_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("edit-image", str(tmp_path / "missing.jpg"), "swan", "-o", str(tmp_path / "o.png"), "-v") == 2
    assert "Traceback" in capsys.readouterr().err
