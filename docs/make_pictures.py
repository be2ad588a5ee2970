"""Make the README's picture with the program itself:  python docs/make_pictures.py

Runs `t2l edit-image` on an example and lays source, edit layer (on a chequered ground) and result side by side.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
EDITS = [("cup.jpg", "red cup"), ("vase.jpg", "blue vase")]
PANEL = (400, 300)


def chequered(size: tuple[int, int], square: int = 10) -> Image.Image:
    """The grey ground on which editors show transparency."""
    ground = Image.new("L", (-(-size[0] // square), -(-size[1] // square)))
    ground.putdata([255 if (x + y) % 2 else 215 for y in range(ground.height) for x in range(ground.width)])
    return ground.resize((ground.width * square, ground.height * square), Image.Resampling.NEAREST).crop((0, 0, *size))


def row(photo: Path, prompt: str) -> Image.Image:
    """Edit and lay the three pictures side by side."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = ["--clip", "mini", "--preset", "draft", "--run-dir", str(run), "-o", str(Path(folder) / "out.png")]
        subprocess.run([sys.executable, "-m", "t2l_cli", "edit-image", str(photo), prompt, *options], check=True)
        layer = Image.open(run / "layer.png")
        ground = chequered(layer.size).convert("RGBA")
        panels = [Image.open(photo), Image.alpha_composite(ground, layer), Image.open(run / "composite.png")]
        out = Image.new("RGB", (3 * PANEL[0] + 12, PANEL[1]), "white")
        for i, panel in enumerate(panels):
            out.paste(panel.convert("RGB").resize(PANEL, Image.Resampling.LANCZOS), (i * (PANEL[0] + 6), 0))
        return out


if __name__ == "__main__":
    rows = [row(DOCS / "examples" / name, prompt) for name, prompt in EDITS]
    sheet = Image.new("RGB", (rows[0].width, len(rows) * (PANEL[1] + 6) - 6), "white")
    for i, one in enumerate(rows):
        sheet.paste(one, (0, i * (PANEL[1] + 6)))
    (DOCS / "images").mkdir(exist_ok=True)
    sheet.save(DOCS / "images" / "before-after.jpg", quality=90)
