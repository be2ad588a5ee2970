import pytest
import torch

pytest.importorskip("skimage", reason="mini's training draws on scikit-image's photos; the dev extra installs it")

from mini.painting import Canvas, Dice
from mini.scenes import Twins, draw

SCENES = 40


@pytest.fixture(scope="session")
def canvas() -> Canvas:
    from mini.shapes import ShapeBank

    return Canvas(3, shapes=ShapeBank.drawn(3, copies=2, others=8))


@pytest.fixture(scope="session")
def twins(canvas: Canvas) -> Twins:
    return draw(canvas, Dice(torch.Generator().manual_seed(5)), SCENES, pairs=0.0, detours=0.5)
