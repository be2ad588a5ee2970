"""The table of settings: every setting in every command that should have it, and what wins over what."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from click.testing import CliRunner

from t2l_cli.cli.app import app
from t2l_cli.cli.command import Command
from t2l_cli.cli.options import asked, with_settings
from t2l_cli.config import STILL, AugmentConfig, EditConfig, value_of, video_config
from t2l_cli.errors import RequestError
from t2l_cli.media.records import plain
from t2l_cli.settings import FIT, PHOTO, VIDEO, Setting, Table, edit_config

TABLES = {"edit-image": PHOTO, "edit-video": VIDEO, "fit-atlas": FIT}


def options_of(command: str) -> dict[str, Any]:
    commands: Any = typer.main.get_command(app)
    return {parameter.name: parameter for parameter in commands.commands[command].params}


def test_without_a_word_the_papers_settings() -> None:
    assert edit_config(PHOTO, ("swan",), None, {}) == EditConfig(("swan",))
    assert edit_config(VIDEO, ("swan",), None, {}) == video_config(("swan",))


@pytest.mark.parametrize("name", PHOTO.presets)
def test_only_a_draft_does_without_the_internal_dataset(name: str) -> None:
    assert PHOTO.configure({}, name).augment == (STILL if name == "draft" else AugmentConfig())


def test_of_a_video_the_papers_settings_have_no_bootstrap() -> None:
    config = VIDEO.configure({})
    weights = config.weights
    assert (weights.structure, weights.sparsity, weights.bootstrap) == (3.0, 5e-4, 0.0)
    assert (config.optim.steps, config.optim.lr, config.optim.lr_decay) == (3000, 2.5e-3, 0.999)
    assert (config.views.n_views, config.views.fill) == (6, 0.0)


@pytest.mark.parametrize("command", TABLES)
def test_every_setting_is_an_option_with_its_default_and_its_variable(command: str) -> None:
    table: Table[Any] = TABLES[command]
    options = options_of(command)
    for setting in table.settings:
        option = options[setting.name]
        assert option.opts == [setting.option.partition("/")[0]]
        assert option.envvar == "T2L_" + setting.option.partition("/")[0].lstrip("-").replace("-", "_").upper()
        assert f"Default: {table.default(setting)}." in option.help
        for name, overlay in table.presets.items():
            if setting.field in overlay and not setting.default:
                assert f"{name} {overlay[setting.field]}" in option.help
    assert ("texels" in options) == (command == "edit-video")


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ([], {}, "ViT-B-32"),
        (["--clip", "mini"], {}, "mini"),
        (["--clip", "mini", "--clip", "ViT-B-16"], {}, ("mini", "ViT-B-16")),
        ([], {"T2L_CLIP": "mini"}, "mini"),
        ([], {"T2L_CLIP": "mini ViT-B-16"}, ("mini", "ViT-B-16")),
        (["--clip", "mini"], {"T2L_CLIP": "ViT-B-16 ViT-L-14"}, "mini"),
    ],
)
def test_a_setting_of_several_values(words: list[str], environment: dict[str, str], expected: object) -> None:
    """Given once it is the value, several times they are all kept, and not given it is the default."""
    seen: list[EditConfig] = []

    @with_settings(PHOTO)
    def command(ctx: typer.Context, **settings: Any) -> None:
        seen.append(PHOTO.configure(asked(ctx)))

    made = typer.Typer()
    made.command()(command)
    done = CliRunner().invoke(typer.main.get_command(made), words, env=environment)
    assert done.exit_code == 0, done.output
    assert seen[0].clip == expected


@pytest.mark.parametrize("clips", [(), ("mini",) * 9])
def test_no_clip_and_too_many_are_refused(clips: tuple[str, ...]) -> None:
    with pytest.raises(RequestError, match="name 1 to 8 CLIPs"):
        EditConfig(("swan",), clip=clips)


def test_a_new_setting_is_found_wherever_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row in the table is an option with help, type and variable, a key of the user's file, and a keyword, in each
    command of the table.
    """
    extra = Setting("jitter", "augment.jitter", "Brightness, contrast, saturation and hue.")
    table = dataclasses.replace(PHOTO, settings=(*PHOTO.settings, extra))
    seen: list[Any] = []

    @with_settings(table)
    def command(name: str = "x", **settings: Any) -> None:
        seen.append(table.configure(settings))

    assert "jitter" in inspect.signature(command).parameters
    made = typer.Typer()
    made.command("one", cls=Command)(command)
    made.callback()(lambda: None)
    runner = CliRunner()
    program = typer.main.get_command(made)
    assert runner.invoke(program, ["one", "--jitter", "0.25"]).exit_code == 0
    assert runner.invoke(program, ["one"], env={"T2L_JITTER": "0.5"}).exit_code == 0
    assert runner.invoke(program, ["one", "--jitter", "much"]).exit_code == 2
    (tmp_path / "own.toml").write_text("[one]\njitter = 0.75\n")
    monkeypatch.setenv("T2L_CONFIG_FILE", str(tmp_path / "own.toml"))
    assert runner.invoke(program, ["one"]).exit_code == 0
    assert [config.augment.jitter for config in seen] == [0.25, 0.5, 0.75]
    assert "Default: 0.1." in runner.invoke(program, ["one", "--help"]).output


def test_given_beats_preset_beats_earlier_run() -> None:
    earlier = EditConfig(("swan",), seed=7, roi="bird", size=300)
    config = edit_config(PHOTO, (), "draft", {"steps": 5, "roi": "duck"}, earlier)
    draft = PHOTO.configure({}, "draft")
    assert (config.prompts, config.seed, config.roi) == (("swan",), 7, "duck")
    assert (config.size, config.views.n_views) == (draft.size, draft.views.n_views)
    assert config.optim.steps == 5


def test_a_preset_undoes_another_one() -> None:
    for table in TABLES.values():
        for first in table.presets:
            started: Any = table.configure({}, first)
            for second in table.presets:
                assert table.configure({}, second, started) == table.configure({}, second)


def test_an_earlier_run_keeps_its_settings_without_a_preset() -> None:
    earlier = EditConfig(("swan",), size=300)
    assert edit_config(PHOTO, (), None, {"seed": None}, earlier) == earlier


@pytest.mark.parametrize("setting", VIDEO.settings, ids=lambda setting: setting.name)
def test_every_setting_reaches_its_field(setting: Setting) -> None:
    other: Any = {"distance": "cosine", "precision": "fp32", "device": "cpu", "clip": "mini", "seed": 3, "tries": 2}
    other |= {"shared_draws": True, "bootstrap_weight": 4.0, "blend": "shade", "matte": "on", "bootstrap_to": "cutout"}
    default = value_of(VIDEO.base, setting.field)
    value = other.get(setting.name) or ("text" if default is None else type(default)(default * 0.99))
    config = VIDEO.configure({setting.name: value})
    assert value_of(config, setting.field) == value != default


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("size", -5),
        ("size", 128),
        ("views", 0),
        ("seed", -1),
        ("tries", 0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("screen_weight", -1.0),
        ("screen_weight", 1e300),
        ("structure_weight", float("nan")),
        ("distance", "euclid"),
        ("precision", "fp8"),
        ("device", "cuda:x"),
        ("device", "tpu"),
        ("roi", " "),
        ("roi", ""),
        ("layer_text", ""),
        ("layer_text", "x" * 2000),
    ],
)
def test_what_is_out_of_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(RequestError):
        edit_config(PHOTO, ("swan",), None, {name: value})


@pytest.mark.parametrize(
    ("table", "name", "value", "says"),
    [
        (PHOTO, "steps", 80.0, "--steps must be a whole number, not '80.0'"),
        (PHOTO, "steps", "80", "--steps must be a whole number, not '80'"),
        (PHOTO, "steps", True, "--steps must be a whole number, not 'True'"),
        (PHOTO, "steps", [80], "--steps must be a whole number"),
        (PHOTO, "lr", "0.1", "--lr must be a number, not '0.1'"),
        (PHOTO, "lr", 1j, "--lr must be a number"),
        (PHOTO, "lr", 10**400, "the learning rate must be between"),
        (PHOTO, "seed", 0.5, "--seed must be a whole number"),
        (PHOTO, "roi", 3, "--roi must be a text, not '3'"),
        (PHOTO, "clip", 3, "--clip must be a text"),
        (PHOTO, "clip", ["mini", 3], "--clip must be a text, not '3'"),
        (PHOTO, "device", int, "--device must be a text"),
        (PHOTO, "blend", 1, "--blend must be a text"),
        (PHOTO, "shared_draws", 1, "--shared-draws must be True or False, not '1'"),
        (FIT, "visits", 2.5, "--visits must be a whole number"),
        (FIT, "mask_class", 3, "--mask-class must be a text"),
    ],
)
def test_a_value_of_another_type_is_refused(table: Table[Any], name: str, value: object, says: str) -> None:
    with pytest.raises(RequestError, match=re.escape(says)):
        table.configure({name: value})


@pytest.mark.parametrize("prompts", [(3,), ("swan", None), ([],)])
def test_prompts_are_texts(prompts: Any) -> None:
    with pytest.raises(RequestError, match="a prompt must be a text"):
        edit_config(PHOTO, prompts, None, {})


def test_numbers_of_numpy_become_plain_ones() -> None:
    config = PHOTO.configure({"steps": np.int64(80), "lr": np.float32(0.5), "screen_weight": 2})
    assert (config.optim.steps, config.optim.lr, config.weights.screen) == (80, 0.5, 2)
    assert [type(value) for value in (config.optim.steps, config.optim.lr)] == [int, float]
    assert plain(config)["optim"]["steps"] == 80


def test_a_setting_that_does_not_exist_names_close_ones() -> None:
    with pytest.raises(TypeError, match=r"'step'; did you mean .*steps"):
        PHOTO.configure({"step": 5})


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(RequestError, match="draft, standard, fine"):
        PHOTO.configure({}, "quick")
