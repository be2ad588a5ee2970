"""Cases about atlases: folders of our own and checkpoints of the published code, changed in their files and tensors."""

from __future__ import annotations

import functools
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load, save
from torch import Tensor

from t2l_cli.atlases.store import save_atlas
from t2l_cli.engine.atlas.networks import NeuralAtlas
from tests.fuzz import damage, pictures
from tests.fuzz.case import SHORT, Case, words
from tests.fuzz.dice import Dice
from tests.lna import CONFIG, state_of
from tests.tiny_videos import make_video
from tests.truth import make_truth

SIZE, FRAMES = (48, 32), 3


@functools.cache
def _files() -> dict[str, bytes]:
    """A video as a folder and as a file, its atlas, and painted layers for it, by their paths."""
    truth = make_truth(SIZE, FRAMES)
    atlas = truth.atlas()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_atlas(atlas, folder / "atlas")
        (folder / "video").mkdir()
        for t, rgb in enumerate(truth.frames):
            Image.fromarray(rgb).save(folder / f"video/{t}.png")
        make_video(folder / "video.mp4", range(FRAMES), size=SIZE)
        sizes = {"fg": atlas.foreground.size[::-1], "bg": atlas.background.size[::-1], "paint": SIZE}
        for name, size in sizes.items():
            Image.new("RGBA", size, (255, 0, 0, 128)).save(folder / f"{name}.png")
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def furnish(folder: Path) -> None:
    """Put a video (video/, and another, video.mp4), its atlas/ and the layers fg.png, bg.png and paint.png there."""
    for name, data in _files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def changed_atlas(dice: Dice, folder: Path) -> Case:
    """An atlas folder with one of its files changed or missing, to every command that reads one."""
    case = Case(folder)
    furnish(folder)
    atlas = folder / "atlas"
    match dice.randrange(8):
        case 0 | 1 | 2:
            record = damage.mutated(dice, json.loads((atlas / "atlas.json").read_text()))
            (atlas / "atlas.json").write_bytes(damage.as_text(dice, record))
        case 3 | 4:
            tensors = load((atlas / "atlas.safetensors").read_bytes())
            (atlas / "atlas.safetensors").write_bytes(_other_tensors(dice, tensors))
        case 5 | 6:
            path = atlas / dice.one("atlas.safetensors", "atlas.safetensors", "foreground.png")
            path.write_bytes(damage.damaged(dice, path.read_bytes(), dice.one(None, 200, 800)))
        case _:
            (atlas / dice.one("atlas.json", "atlas.safetensors", "background.png")).unlink()
    case.output = dice.one("new", "out.mp4", "out.mov", "out")
    command = dice.choice(
        (
            words("render-atlas", "atlas", "-o", "new"),
            words("render-atlas", "atlas", "-o", "new", "--video", "video"),
            words("composite", "video", "--atlas", "atlas", "--foreground", "fg.png", "-o", "out.mp4"),
            words("composite", "video", "--atlas", "atlas", "--paint", "paint.png", "-o", "out", "--frame", "1"),
            words(
                "composite", "video", "--atlas", "atlas", "--background", "bg.png", "-o", "out.mov", "--codec=prores"
            ),
            words("edit-video", "video", "red", "--atlas", "atlas", SHORT, "-o", "out.mp4"),
        )
    )
    case.argv, case.output = command, command[command.index("-o") + 1]
    return case


def _other_tensors(dice: Dice, tensors: dict[str, Tensor]) -> bytes:
    """The atlas's tensors with one or two of another shape, type or with numbers that cannot be."""
    for _ in range(dice.one(1, 1, 2)):
        name = dice.choice(sorted(tensors))  # they come in any order
        tensor = tensors[name]
        match dice.randrange(9):
            case 0:
                del tensors[name]
                if not tensors:
                    break
            case 1:
                tensors[name] = tensor.to(dice.one(torch.float64, torch.int32, torch.uint8, torch.bool, torch.float16))
            case 2:
                tensors[name] = tensor[..., : dice.randint(0, max(0, tensor.shape[-1] - 1))].contiguous()
            case 3:
                tensors[name] = tensor[: dice.randint(0, max(0, tensor.shape[0] - 1))].contiguous()
            case 4:
                tensors[name] = tensor.flatten()
            case 5:
                tensors[name] = tensor[None].contiguous()
            case 6:
                values = tensor.clone().float()
                values.view(-1)[dice.randrange(max(1, values.numel()))] = dice.one(
                    float("nan"), float("inf"), -float("inf"), 1e30, -1.0, 1e9
                )
                tensors[name] = values
            case 7:
                tensors[name] = torch.zeros(dice.choice([(0,), (1, 1, 1), (3, 0, 5), (3, 5, 0), (0, 0)])).to(
                    tensor.dtype
                )
            case _:
                tensors[name] = torch.full_like(tensor.float(), dice.one(0.0, 1.0, -5.0, 1e9, 1e38, float("nan")))
    return save(tensors)


@functools.cache
def _networks() -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return state_of(NeuralAtlas())


def checkpoint(dice: Dice, folder: Path) -> Case:
    """A checkpoint of the published code with its config.json, either of them changed."""
    case = Case(folder)
    furnish(folder)
    state = {key: dict(value) if isinstance(value, dict) else value for key, value in _networks().items()}
    numbers = {"maximum_number_of_frames": FRAMES, "resx": SIZE[0], "resy": SIZE[1]}
    settings: Any = CONFIG | numbers
    data = None
    match dice.randrange(4):
        case 0:
            settings = damage.mutated(dice, numbers) if dice.maybe(0.7) else damage.mutated(dice, settings)
        case 1:
            _other_state(dice, state)
        case 2:
            data = damage.damaged(dice, _saved(state), dice.one(None, 300, 3000))
        case _:
            data = dice.one(b"", b"checkpoint", _saved({"a": 1}), _saved([1, 2]), _saved(None), pictures.plain())
    case.put("lna/checkpoint", _saved(state) if data is None else data)
    if dice.maybe(0.9):
        case.put("lna/config.json", damage.as_text(dice, settings))
    more = dice.choice(([], [], ["--video", "video"], ["--video", "video", "--frames", "0:2"]))
    case.output = "new"
    case.argv = words("render-atlas", dice.one("lna", "lna/checkpoint"), "-o", "new", "--resolution", "32", more)
    return case


def _saved(state: Any) -> bytes:
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def _other_state(dice: Dice, state: dict[str, Any]) -> None:
    """Change a network of the checkpoint in place."""
    key = dice.choice([key for key in state if isinstance(state[key], dict)])
    network = state[key]
    name = dice.choice(list(network))
    match dice.randrange(7):
        case 0:
            del state[key]
        case 1:
            del network[name]
        case 2:
            network[name] = network[name] * float("nan")
        case 3:
            network[name] = network[name][..., :-1].clone()
        case 4:
            network[name] = dice.one(None, "tensor", 3, [1.0], {})
        case 5:
            network[name + ".more"] = torch.zeros(3)
        case _:
            state[key] = dice.one(None, [], {}, network[name], "network")
