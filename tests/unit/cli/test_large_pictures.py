"""Large pictures: what a command takes for a pixel, so that 200 megapixels need 2 GB beyond the decoded picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

MOST = 3 + 10  # bytes a pixel: the decoded picture, and 2 GB for 200 megapixels
MOST_DEEP = 6 + 16  # of 16 bits: OpenCV's decoder holds the picture twice, beside what Pillow has read
SIZES = ((400, 300), (4000, 3000))  # imports and training need the same for both; what grows is the difference
EDIT = ["--clip", "mini", "--offline", "--steps", "1", "--views", "1", "--size", "129", "--roi", "ball"]

# A process is charged for the memory of the one that starts it: so a small one lies in between.
BETWEEN = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"
MEASURED = """
import functools, resource, sys
from t2l_cli.cli.app import app
if "edit-image" in sys.argv[1]:  # a narrow generator: what the training takes does not matter here
    from t2l_cli.engine import edit
    edit.Generator = functools.partial(edit.Generator, channels=8)
unit = 1 if sys.platform == "darwin" else 1024
for line in sys.argv[1:]:
    app(line.split("|"), standalone_mode=False)
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


def draw(folder: Path, size: tuple[int, int]) -> tuple[str, str]:
    """A JPEG of ``size`` (width, height) and a layer for it."""
    width, height = size
    y, x = np.ogrid[:height, :width]
    planes = [(x + y // 3) % 256, (y - x // 2) % 256, (x * y // 5000) % 256, (x + y) % 256]
    rgba = np.dstack([np.asarray(plane, np.uint8) for plane in planes])
    photo, layer = folder / f"{width}.jpg", folder / f"{width}-layer.png"
    Image.fromarray(rgba[..., :3]).save(photo)
    Image.fromarray(rgba).save(layer, compress_level=1)
    return str(photo), str(layer)


def deepen(photo: str) -> str:
    """The photo as a PNG of 16 bits."""
    path = Path(photo).with_suffix(".png")
    pixels = cv2.imread(photo)
    assert pixels is not None
    cv2.imwrite(str(path), pixels.astype(np.uint16) * 257)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("work", ["composite", "composite --blend shade --opacity 0.5", "edit-image"])
def test_memory_grows_by_no_more_than_promised(work: str, bits: int, tmp_path: Path) -> None:
    lines = []
    for size in SIZES:
        photo, layer = draw(tmp_path, size)
        photo = deepen(photo) if bits == 16 else photo
        words = [photo, "red ball", *EDIT] if work == "edit-image" else [photo, layer]
        out = tmp_path / f"{size[0]}-out{'.png' if bits == 16 else '.jpg'}"
        lines.append("|".join([*work.split(), *words, "-q", "-o", str(out)]))
    run = subprocess.run([sys.executable, "-c", BETWEEN, MEASURED, *lines], capture_output=True, text=True, check=False)
    peaks = [int(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("peak ")]
    assert len(peaks) == 2, run.stderr
    few, many = (width * height for width, height in SIZES)
    growth = (peaks[1] - peaks[0]) / (many - few)
    assert growth <= (MOST if bits == 8 else MOST_DEEP), f"{growth:.1f} bytes a pixel"
