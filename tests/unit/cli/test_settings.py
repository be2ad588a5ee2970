from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import typer

from t2l_cli.cli.app import app
from t2l_cli.cli.options import in_words
from t2l_cli.cli.settings import FIELDS, default_of, edit_config, read_run
from t2l_cli.config import CLIP_PRESETS, PRESETS, STILL, AugmentConfig, EditConfig, Preset, layer_config
from t2l_cli.errors import RequestError

NOTHING: dict[str, Any] = dict.fromkeys(FIELDS)


def test_without_a_word_the_papers_settings() -> None:
    assert edit_config(("swan",), None, None, NOTHING) == EditConfig(("swan",))


@pytest.mark.parametrize("name", PRESETS)
def test_only_a_draft_does_without_the_internal_dataset(name: str) -> None:
    config = edit_config(("swan",), name, None, NOTHING)
    assert config.augment == (STILL if name == "draft" else AugmentConfig())


def test_of_a_clip_the_papers_settings_have_no_bootstrap() -> None:
    config = edit_config(("swan",), None, None, NOTHING, layer_config, CLIP_PRESETS)
    assert config == layer_config(("swan",))
    weights = config.weights
    assert (weights.structure, weights.sparsity, weights.bootstrap) == (3.0, 5e-4, 0.0)
    assert (config.optim.steps, config.optim.lr, config.optim.lr_decay) == (3000, 2.5e-3, 0.999)
    assert (config.views.n_views, config.views.fill) == (6, 0.0)


@pytest.mark.parametrize(("command", "presets"), [("edit-image", PRESETS), ("edit-video", CLIP_PRESETS)])
def test_help_says_what_the_presets_set(command: str, presets: dict[str, Preset]) -> None:
    options: Any = {p.name: p for p in typer.main.get_command(app).commands[command].params}  # type: ignore[attr-defined]
    settings = {name: where.rpartition(".")[2] for name, where in FIELDS.items()}
    varying = {name: field for name, field in settings.items() if hasattr(presets["draft"], field)}
    assert {"steps", "bootstrap_weight", "structure_weight", "sparsity_weight", "lr"} <= varying.keys()
    assert ("texels" in options) == (command == "edit-video")
    for name, field in varying.items() - {("texels", "texels")} if command == "edit-image" else varying.items():
        said = ", ".join(f"{preset} {in_words(getattr(values, field))}" for preset, values in presets.items())
        assert f"({said})" in options[name].help


def test_given_beats_preset_beats_earlier_run() -> None:
    earlier = EditConfig(("swan",), seed=7, roi="bird", size=300)
    config = edit_config((), "draft", earlier, {**NOTHING, "steps": 5, "roi": "duck"})
    assert (config.prompts, config.seed, config.roi) == (("swan",), 7, "duck")
    assert (config.size, config.views.n_views) == (PRESETS["draft"].size, PRESETS["draft"].n_views)
    assert config.optim.steps == 5


def test_an_earlier_run_keeps_its_settings_without_a_preset() -> None:
    earlier = EditConfig(("swan",), size=300)
    assert edit_config((), None, earlier, NOTHING) == earlier


@pytest.mark.parametrize("name", FIELDS)
def test_every_option_reaches_its_field(name: str) -> None:
    other: Any = {
        "shared_draws": True,
        "distance": "cosine",
        "precision": "fp32",
        "device": "cpu",
        "clip": "mini",
        "seed": 3,
        "tries": 2,
    }
    default = default_of(name)
    value = other.get(name) or ("text" if default is None else type(default)(default * 0.99))
    config: Any = edit_config(("swan",), None, None, {**NOTHING, name: value})
    for part in FIELDS[name].split("."):
        config = getattr(config, part)
    assert config == value != default


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
        ("structure_weight", float("nan")),
        ("distance", "euclid"),
        ("precision", "fp8"),
        ("device", "cuda:x"),
        ("device", "tpu"),
        ("roi", " "),
        ("layer_text", "x" * 2000),
    ],
)
def test_what_is_out_of_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(RequestError):
        edit_config(("swan",), None, None, {**NOTHING, name: value})


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(RequestError, match="draft, standard, fine"):
        edit_config(("swan",), "quick", None, NOTHING)


def _written(tmp_path: Path, config: object, **more: object) -> Path:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"source": "photo.jpg", "config": config, **more}))
    return path


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    config = edit_config(("a", "b"), "fine", None, {**NOTHING, "roi": "swan", "lr": 0.01, "distance": "cosine"})
    earlier = read_run(_written(tmp_path, dataclasses.asdict(config), mask="m.png"))
    assert earlier.config == config
    assert (earlier.source, earlier.mask, earlier.clip_weights) == ("photo.jpg", "m.png", None)


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        {},
        {"prompts": "swan"},
        {"prompts": [1]},
        {"prompts": []},
        {"prompts": ["swan"], "optim": {"steps": "many"}},
        {"prompts": ["swan"], "optim": {"steps": True}},
        {"prompts": ["swan"], "optim": {"steps": float("nan")}},
        {"prompts": ["swan"], "optim": {"lr": float("nan")}},
        {"prompts": ["swan"], "optim": []},
        {"prompts": ["swan"], "colour": "red"},
        {"prompts": ["swan"], "views": {"n_views": None}},
    ],
)
def test_a_broken_run_is_refused(tmp_path: Path, config: object) -> None:
    with pytest.raises(RequestError, match=r"run\.json|prompt|learning rate"):
        read_run(_written(tmp_path, config))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b"3", b'{"source": 3, "config": {"prompts": ["a"]}}'])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(data)
    with pytest.raises(RequestError, match=r"run\.json"):
        read_run(path)


def test_a_missing_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No such file"):
        read_run(tmp_path / "run.json")
