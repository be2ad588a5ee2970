"""config.toml: what it may say, where it is wrong, and what it wins over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import t2l_cli
from t2l_cli.cli.app import main
from t2l_cli.cli.user_file import line_of
from t2l_cli.config import PRESETS
from t2l_cli.jobs.job import Result

Write = Callable[[str], Path]
Asked = dict[str, Any]


def run(*argv: str) -> int:
    before, sys.argv = sys.argv, ["t2l", *argv]
    try:
        return main()
    finally:
        sys.argv = before


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the user's file."""
    path = tmp_path / "own.toml"
    monkeypatch.setenv("T2L_CONFIG_FILE", str(path))

    def written(text: str) -> Path:
        path.write_text(text)
        return path

    return written


class Job:
    def write(self) -> Result:
        return Result("done", (), {})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The keywords of the last Python function that a command called."""
    found: Asked = {}
    for name in ("edit_image", "edit_video", "fit_atlas"):

        def take(**keywords: Any) -> Job:
            found.clear()
            found.update(keywords)
            return Job()

        monkeypatch.setattr(t2l_cli, name, take, raising=False)
    return found


def test_a_top_level_key_is_for_every_command_that_has_it(write: Write, asked: Asked) -> None:
    write("seed = 7\ntexels = 1.5\n[edit-image]\nseed = 8\n")
    assert run("edit-image", "a.png", "swan") == 0
    assert asked["seed"] == 8
    assert "texels" not in asked
    assert run("edit-video", "a.mp4", "swan") == 0
    assert (asked["seed"], asked["texels"]) == (7, 1.5)
    assert run("fit-atlas", "a.mp4", "-o", "atlas") == 0
    assert asked["seed"] == 7


def test_command_line_beats_environment_beats_file(write: Write, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    write('[edit-image]\nsteps = 3\nviews = 4\nsize = 200\nrun-dir = "runs"\noverwrite = true\n')
    monkeypatch.setenv("T2L_VIEWS", "5")
    monkeypatch.setenv("T2L_STEPS", "6")
    assert run("edit-image", "a.png", "swan", "--steps", "9") == 0
    assert (asked["steps"], asked["views"], asked["size"]) == (9, 5, 200)
    assert (Path(asked["run_dir"]), asked["overwrite"]) == (Path("runs"), True)


def test_an_option_of_several_values_takes_one_or_a_list(write: Write, asked: Asked) -> None:
    write('clip = "mini"\n[edit-image]\nclip = ["mini", "ViT-B-16"]\n[preset.two]\nclip = ["mini", "ViT-L-14"]\n')
    assert run("edit-video", "a.mp4", "swan") == 0
    assert list(asked["clip"]) == ["mini"]
    assert run("edit-image", "a.png", "swan") == 0
    assert list(asked["clip"]) == ["mini", "ViT-B-16"]
    assert run("edit-video", "a.mp4", "swan", "--preset", "two") == 0
    assert list(asked["clip"]) == ["mini", "ViT-L-14"]


def test_a_required_option_may_stand_in_the_file(write: Write, asked: Asked) -> None:
    write('[fit-atlas]\noutput = "~/atlas"\n')
    assert run("fit-atlas", "a.mp4") == 0
    assert Path(asked["output"]) == Path.home() / "atlas"


def test_a_preset_that_is_asked_for_beats_the_file(write: Write, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what presets set; all else the file still says."""
    write('steps = 3\nmatte = "on"\nseed = 7\nclip = "mini"\n')
    for ask in (["--preset", "fine"], ["--preset=standard"], []):
        if not ask:
            monkeypatch.setenv("T2L_PRESET", "draft")
        assert run("edit-image", "a.png", "swan", *ask) == 0
        assert (asked["steps"], asked["matte"]) == (None, None)
        assert (asked["seed"], asked["clip"]) == (7, ["mini"])


def test_a_preset_that_the_file_names_is_a_default_too(write: Write, asked: Asked) -> None:
    write('[edit-image]\npreset = "draft"\nsteps = 3\n')
    assert run("edit-image", "a.png", "swan") == 0
    assert (asked["preset"], asked["steps"]) == ("draft", 3)
    assert run("edit-image", "a.png", "swan", "--preset", "fine") == 0
    assert (asked["preset"], asked["steps"]) == ("fine", None)


OWN = '[preset.quick]\nbase = "draft"\nsteps = 60\nseed = 5\ntexels = 1.5\n'


def test_an_own_preset_is_a_built_in_one_with_settings(write: Write, asked: Asked) -> None:
    write(f"seed = 7\nsteps = 3\n{OWN}")
    assert run("edit-image", "a.png", "swan", "--preset", "quick", "--steps", "9") == 0
    assert (asked["preset"], asked["steps"], asked["seed"]) == ("draft", 9, 5)
    assert "texels" not in asked
    assert run("edit-video", "a.mp4", "swan", "--preset", "quick") == 0
    assert (asked["preset"], asked["steps"], asked["seed"], asked["texels"]) == ("draft", 60, 5, 1.5)


def test_an_own_preset_that_the_file_names_yields_to_its_other_lines(write: Write, asked: Asked) -> None:
    write(f'[edit-image]\npreset = "quick"\nsteps = 3\n{OWN}')
    assert run("edit-image", "a.png", "swan") == 0
    assert (asked["preset"], asked["steps"], asked["seed"]) == ("draft", 3, 5)


def test_the_file_has_no_say_on_a_fit_that_is_not_needed(write: Write, asked: Asked) -> None:
    """Nor on a resolution where there is no atlas. What the command line asks for reaches the job, which refuses it."""
    write(
        '[edit-video]\nflow = "raft"\nfit-preset = "fine"\nmask = "a.png"\nresolution = 1000\n'
        '[preset.dogs]\nmask-class = "dog"\n'
    )
    fit = ("flow", "fit_preset", "mask", "mask_class")
    assert run("edit-video", "a.mp4", "swan", "--preset", "dogs") == 0
    assert [str(asked[name]) for name in fit] == ["raft", "fine", "a.png", "dog"]
    assert asked["resolution"] is None
    assert run("edit-video", "a.mp4", "swan", "--preset", "dogs", "--atlas", "atlas") == 0
    assert [asked[name] for name in fit] == [None] * 4
    assert asked["resolution"] == 1000
    assert run("edit-video", "a.mp4", "swan", "--atlas", "atlas", "--flow", "dis") == 0
    assert asked["flow"] == "dis"


def test_without_a_base_an_own_preset_stands_on_the_default(write: Write, asked: Asked) -> None:
    write("[preset.mine]\nviews = 3\n")
    assert run("edit-image", "a.png", "swan", "--preset", "mine") == 0
    assert (asked["preset"], asked["views"]) == ("standard", 3)


def test_an_earlier_run_is_repeated_as_it_was(write: Write, asked: Asked) -> None:
    write('mask = "m.png"\noffline = true\n[edit-image]\npreset = "draft"\nsteps = 3\nseed = 5\n')
    assert run("edit-image", "--config", "run.json", "--seed", "8") == 0
    assert (asked["steps"], asked["preset"], asked["mask"]) == (None, None, None)
    assert (asked["seed"], asked["offline"]) == (8, True)


def test_a_command_of_two_words_has_a_part_of_its_own(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("[models.path]\njson = true\n")
    assert run("models", "path") == 0
    assert "files" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("ofline = true", 1, 'no setting "ofline"; did you mean offline?'),
        ("[edit-image]\nstep = 3", 2, "did you mean steps"),
        ("[edit-image]\n\n# more\nlayer_text = 'x'", 4, "did you mean layer-text?"),
        ("[edit-image]\ntexels = 2.0", 2, 'no setting "texels" for edit-image'),
        ("[edit-imge]\nsteps = 3", 1, "did you mean edit-image"),
        ("[models.pul]\nquiet = true", 1, "did you mean pull?"),
        ("models = 3", 1, "is a command"),
        ("[edit-image]\nsteps = 0", 2, "--steps must be"),
        ("[edit-image]\nseed = 1\nlr = nan", 3, "learning rate"),
        ("steps = 1.5", 1, "steps must be `int`"),
        ("steps = true", 1, "steps must be `int`"),
        ('overwrite = "yes"', 1, "overwrite must be `bool`"),
        ("size = 100", 1, "--size must be between 129"),  # fit-atlas takes it, edit-image does not
        ("[edit-image]\npreset = 'quik'\n[preset.quick]\nsteps = 3", 2, "did you mean quick?"),
        ("[preset.draft]\nsteps = 3", 1, "choose another name"),
        ("[preset.mine]\nbase = 'quick'", 2, "choose draft, standard, fine"),
        ("[preset.mine]\nbase = 3", 2, "no preset"),
        ("[preset]\nmine = 3", 2, "is a table"),
        ("[preset.mine]\nsteps = 3\nlrr = 1.0", 3, "did you mean lr?"),
        ("[preset.mine]\nsteps = 0", 2, "--steps must be"),
        ("[preset.mine]\noffline = true", 2, "no setting"),
        ("a = 1\nb = [1", 2, "not TOML"),
        ("steps = 3\nsteps = 4", 2, "not TOML"),
        ("preset = 'mine'\n[preset.mine]\nsteps = 3", 2, "[edit-image]"),
    ],
)
def test_what_is_wrong_names_its_line(
    text: str, line: int, words: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(text)
    assert run("edit-image", "missing.png", "swan") == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"Error: {path}, line {line}: ")
    assert words in err
    assert (out, len(err.splitlines()) <= 2) == ("", True)


@pytest.mark.parametrize("data", [b"\xff", b"a = " + b"[" * 5000, b"#" * 100_000, b"\0", b"a = " + b"9" * 5000])
def test_what_is_no_text_of_settings_is_refused(data: bytes, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("").write_bytes(data)
    assert run("models", "path") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("T2L_CONFIG_FILE", str(tmp_path / "none.toml"))
    assert run("models", "path") == 2
    monkeypatch.setenv("T2L_CONFIG_FILE", os.devnull)
    assert run("models", "path") == 0
    monkeypatch.delenv("T2L_CONFIG_FILE")
    assert run("models", "path") == 0


def test_a_wrong_file_leaves_help_and_its_own_path(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("codec = 3")
    assert run("edit-video", "--help") == 0
    assert "h264" in capsys.readouterr().out
    assert run("config", "path") == 0
    assert capsys.readouterr().out == f"{path}\n"


def test_a_value_that_the_work_refuses_names_its_line(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write('\n[edit-image]\nclip-weights = "missing.pt"\n')
    assert run("edit-image", "a.png", "swan") == 2
    assert f"--clip-weights is from {path}, line 3" in capsys.readouterr().err
    monkeypatch.setenv("T2L_CLIP_WEIGHTS", "other.pt")
    assert run("edit-image", "a.png", "swan") == 2
    assert "--clip-weights is from T2L_CLIP_WEIGHTS" in capsys.readouterr().err
    assert run("edit-image", "a.png", "swan", "--clip-weights", "third.pt") == 2
    assert "is from" not in capsys.readouterr().err


def test_an_unknown_preset_names_the_own_ones(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write(OWN)
    assert run("edit-image", "a.png", "swan", "--preset", "quik") == 2
    assert ", ".join((*PRESETS, "quick")) in capsys.readouterr().err


def test_python_functions_do_not_read_the_file(write: Write, tmp_path: Path) -> None:
    write("seed = 7\n")
    assert t2l_cli.edit_image("a.png", "swan", output=tmp_path / "a.png").request.config.seed == 0


def shown(capsys: pytest.CaptureFixture[str], *command: str) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert run("config", "show", *command, "--json") == 0
    found: dict[str, dict[str, Any]] = json.loads(capsys.readouterr().out)["commands"]
    return found


def test_show_says_where_each_value_comes_from(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(f'offline = true\n[edit-image]\npreset = "quick"\nviews = 4\n{OWN}')
    monkeypatch.setenv("T2L_TRIES", "2")
    values = shown(capsys, "edit-image")["edit-image"]
    assert values["offline"] == {"value": True, "origin": "file", "line": 1}
    assert values["preset"] == {"value": "quick", "origin": "file", "line": 3}
    assert values["views"] == {"value": 4, "origin": "file", "line": 4}
    assert values["tries"] == {"value": 2, "origin": "environment", "place": "T2L_TRIES"}
    assert values["steps"] == {"value": 60, "origin": "preset", "place": "quick"}
    assert values["size"] == {"value": PRESETS["draft"]["size"], "origin": "preset", "place": "quick"}
    assert values["momentum"] == {"value": 0.9, "origin": "built in"}
    assert values["mask"]["value"] is None
    assert run("config", "show", "edit-image") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"# {path}\n")
    section = tomllib.loads(text)["edit-image"]
    assert section == {key: one["value"] for key, one in values.items() if one["value"] is not None}


def test_show_knows_every_option_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    values = shown(capsys)
    assert {"edit-image", "edit-video", "fit-atlas", "render-atlas", "composite", "models pull"} <= set(values)
    assert all(one["origin"] == "built in" for options in values.values() for one in options.values())
    assert values["edit-video"]["steps"]["value"] == 3000


def test_what_show_prints_is_a_file(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("")
    capsys.readouterr()
    assert run("config", "show") == 0
    text = capsys.readouterr().out
    write(text)
    again = shown(capsys)
    assert {one["origin"] for one in again["edit-video"].values() if one["value"] is not None} == {"file"}


@pytest.mark.parametrize("argv", [["edit-imge"], ["x"]])
def test_show_of_no_command_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "show", *argv) == 2
    assert "no command" in capsys.readouterr().err


def test_show_tells_of_a_variable_that_no_option_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("T2L_STEPS", "many")
    assert run("config", "show") == 2
    assert "T2L_STEPS" in capsys.readouterr().err


def test_shells_complete_the_names_of_presets(write: Write) -> None:
    def completed(word: str) -> list[str]:
        words = {"_T2L_COMPLETE": "complete_bash", "COMP_WORDS": f"t2l edit-image --preset {word}", "COMP_CWORD": "3"}
        command = [sys.executable, "-c", "from t2l_cli.cli.app import main; main()"]
        done = subprocess.run(command, env=os.environ | words, capture_output=True, text=True, check=False)
        return done.stdout.split()

    write(OWN)
    assert completed("q") == ["quick"]
    write("wrong = 1")
    assert completed("d") == ["draft"]


_names = st.text("abc -", min_size=1, max_size=3)
_values = st.sampled_from(["1", "[\n 1,\n\n 2 ]", "'''a\n[b]\nc = 2\n'''", "{ a = 1 }", '"#"'])


@given(st.lists(st.tuples(_names, _values, st.booleans()), max_size=5, unique_by=lambda entry: entry[0]), _names)
def test_the_line_of_a_key_is_where_it_is_written(entries: list[tuple[str, str, bool]], section: str) -> None:
    lines = ["# a comment", f"[{json.dumps(section)}]"]
    expected = {}
    for name, value, comment in entries:
        lines += ["", "# and another"] if comment else []
        expected[name] = len("\n".join(lines).split("\n")) + 1
        lines.append(f"{json.dumps(name)} = {value}")
    text = "\n".join(lines)
    for name, line in expected.items():
        assert line_of(text, (section, name)) == line
    assert line_of(f"a.b = 1\nc.{json.dumps(section)} = 2", ("c", section)) == 2
