"""What an edit looks like, by numbers: the object takes the asked colour, to pixels and to mini; the rest stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from program import Run, draw_scene, pixels

from mini.vocabulary import COLOURS
from t2l_cli.engine.clip import Clip
from t2l_cli.weights import mini

EDITS = [  # scene, asked colour, prompt (mini does not know "pear"), further options
    ("ball", "red", "red ball", ("--roi", "ball")),
    ("mug", "yellow", "yellow cup", ()),
    ("pear", "purple", "purple pear", ()),
]
QUICK = ("--clip", "mini", "--offline", "--preset", "draft", "--size", "129", "--steps", "60", "-q")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip(*mini.load())


def distance(colour: npt.NDArray[np.float64], name: str) -> float:
    """From an RGB mean to the named colour."""
    return float(np.linalg.norm(np.array(COLOURS[name]) - colour))


def similarity(clip: Clip, picture: npt.NDArray[np.uint8], text: str) -> float:
    """Cosine between mini's embeddings of the whole picture and of the text."""
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    return torch.cosine_similarity(clip.embed_images(clip.fit(tensor)), clip.embed_texts([text])).item()


def shrunk(mask: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """Where ``mask`` holds for every pixel within ``by``, along rows and columns."""
    out = mask.copy()
    for axis in (0, 1):
        for step in range(-by, by + 1):
            out &= np.roll(mask, step, axis)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("name", "colour", "prompt", "options"), EDITS)
def test_the_object_takes_the_colour_and_the_rest_stays(
    name: str, colour: str, prompt: str, options: tuple[str, ...], t2l: Callable[..., Run], clip: Clip, tmp_path: Path
) -> None:
    scene = draw_scene(name, tmp_path)
    run = t2l("edit-image", scene.path, prompt, *options, *QUICK, "-o", "out.png")
    assert run.returncode == 0, run.stderr.decode()
    after = pixels(tmp_path / "out.png")
    inside, outside = shrunk(scene.inside, 3), shrunk(~scene.inside, 6)
    assert distance(after[inside].mean(0), colour) < 0.6 * distance(scene.rgb[inside].mean(0), colour)
    assert np.abs(after.astype(float) - scene.rgb)[outside].mean() < 8
    assert similarity(clip, after, prompt) > similarity(clip, scene.rgb, prompt) + 0.1
