"""Published checkpoints: read with what their config says of the video, never run, refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t2l_cli.atlases.checkpoint import load_checkpoint
from t2l_cli.engine.atlas.networks import NeuralAtlas, normalised
from t2l_cli.errors import RequestError
from tests.lna import fitted, state_of, write_checkpoint


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    """With the optimizer's state, as published."""
    _, networks, optimizer = fitted()
    return state_of(networks, optimizer)


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    """What is needed alone, untrained."""
    return state_of(NeuralAtlas())


def refused(says: str, path: Path, video: tuple[int, int, int] | None = None) -> None:
    """In one line, and without any other noise."""
    with warnings.catch_warnings(action="error"), pytest.raises(RequestError, match=says) as caught:
        load_checkpoint(path, video)
    assert "\n" not in str(caught.value)


def test_a_published_checkpoint_is_read(state: dict[str, Any], tmp_path: Path) -> None:
    assert state["optimizer_all_state_dict"]["state"]
    path = write_checkpoint(tmp_path, state, (12, 96, 54))
    _, ours, _ = fitted()
    at = normalised(torch.arange(90), torch.arange(90) % 54, torch.arange(90) % 12, (96, 54), 12)
    for given_path in (path, tmp_path):
        networks, video = load_checkpoint(given_path)
        assert (video.frames, video.width, video.height) == (12, 96, 54)
        assert video.first_frame is None
        assert torch.equal(networks.reconstruct(at), ours.reconstruct(at))


def test_the_files_name_is_free(small: dict[str, Any], tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, small, (12, 96, 54)).rename(tmp_path / "swan.ckpt")
    assert load_checkpoint(path)[1].width == 96
    refused("there is no checkpoint", tmp_path)
    refused("there is no checkpoint", tmp_path / "nowhere" / "checkpoint")


def test_which_video_it_is_of(small: dict[str, Any], tmp_path: Path) -> None:
    """The code trains on min(maximum, the video's frames): a shorter one was used whole, of a longer one the start."""
    path = write_checkpoint(tmp_path, small, (70, 768, 432))
    assert load_checkpoint(path)[1].frames == 70
    assert load_checkpoint(path, (70, 768, 432))[1].frames == 70
    assert load_checkpoint(path, (50, 768, 432))[1].frames == 50
    refused(r"70 frames, the video 71; --frames 0:70", path, (71, 768, 432))
    refused(r"768 x 432 px, this one is 854 x 480", path, (70, 854, 480))


def test_without_config_the_video_says_it(small: dict[str, Any], tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, small)
    video = load_checkpoint(path, (24, 100, 60))[1]
    assert (video.frames, video.width, video.height) == (24, 100, 60)
    refused(r"no config\.json", path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "does not say"),
        ("[]", "does not say"),
        ("null", "does not say"),
        ('{"resx": 96, "resy": 54}', "does not say maximum_number_of_frames"),
        ("\udcff", "does not say"),
        ('{"resx": "96", "resy": 54, "maximum_number_of_frames": 12}', "cannot be"),
        ('{"resx": 0, "resy": 54, "maximum_number_of_frames": 12}', "cannot be"),
        ('{"resx": 1, "resy": 54, "maximum_number_of_frames": 12}', "the width of its video"),
        ('{"resx": 96, "resy": 54, "maximum_number_of_frames": -1}', "cannot be"),
        ('{"resx": 96, "resy": 54.5, "maximum_number_of_frames": 12}', "cannot be"),
        ('{"resx": NaN, "resy": Infinity, "maximum_number_of_frames": 12}', "cannot be"),
    ],
)
def test_a_config_that_does_not_say_it(small: dict[str, Any], tmp_path: Path, text: str, says: str) -> None:
    path = write_checkpoint(tmp_path, small)
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(says, path)


class Malice:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_code_in_a_checkpoint_is_never_run(small: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "owned"
    path = write_checkpoint(tmp_path, small | {"iteration": Malice(target)}, (12, 96, 54))
    refused("never run", path)
    path.write_bytes(pickle.dumps(Malice(target)))
    refused("never run|damaged", path)
    assert not target.exists()


def test_files_that_are_no_checkpoints(small: dict[str, Any], tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, small, (12, 96, 54))
    whole = path.read_bytes()
    for data in (b"", b"hello", b"PK\x03\x04", b"\x80\x02", whole[: len(whole) // 2], whole[:-20], b"\x00" * 1000):
        path.write_bytes(data)
        refused("checkpoint", path)
    for content in ([1, 2], torch.zeros(3), {}, {"state_dict": {}}, {"F_atlas_state_dict": None}, "text", 7):
        torch.save(content, path)
        refused("not a Layered Neural Atlases checkpoint", path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)
    refused("checkpoint", path)


def test_an_older_file_format_is_read(small: dict[str, Any], tmp_path: Path) -> None:
    """PyTorch before 1.6 wrote bare pickles."""
    path = write_checkpoint(tmp_path, small, (12, 96, 54))
    torch.save(small, path, _use_new_zipfile_serialization=False)
    assert load_checkpoint(path)[1].frames == 12
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    refused("checkpoint", path)


def test_another_architecture_is_named(small: dict[str, Any], tmp_path: Path) -> None:
    other = torch.nn.Linear(3, 128)
    state = small | {"model_F_mapping1_state_dict": {"hidden.0.weight": other.weight, "hidden.0.bias": other.bias}}
    refused(r"hidden\.0\.weight is \(128, 3\), not \(256, 3\)", write_checkpoint(tmp_path, state, (12, 96, 54)))


def test_other_settings_in_the_config_do_not_matter(small: dict[str, Any], tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, small, (12, 96, 54), anything={"nested": [1]}, iters_num="many")
    assert "uv_mapping_scale" in json.loads((tmp_path / "config.json").read_text())
    assert load_checkpoint(path)[1].height == 54


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    folder = tmp_path_factory.mktemp("damaged")
    path = write_checkpoint(folder, {"iteration": 5, "F_atlas_state_dict": {"hidden.0.bias": torch.zeros(4)}})
    return path, path.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_of_any_kind_is_one_line(damaged: tuple[Path, bytes], data: st.DataObject) -> None:
    path, whole = damaged
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(len(whole) // 2, len(whole)))]))
    refused("checkpoint", path)


def test_damage_of_the_older_format_is_one_line(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, {"iteration": 5, "F_atlas_state_dict": {"hidden.0.bias": torch.zeros(4)}})
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    whole, rng = path.read_bytes(), random.Random(0)
    for i in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.randrange(len(data))] if i % 4 == 0 else data)
        refused("checkpoint", path)
