"""How mini does on real photos:  python benchmarks/photo_sheet.py docs/images/mini-photos.jpg

Photos of one dominant thing that scikit-image carries, each edited once with the draft preset and the default seed; no
second tries, nothing left out. The words under the pictures in docs/mini.md are from looking at the sheet.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage import data

from t2l_cli.engine.clip import Clip
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.settings import PHOTO, edit_config
from t2l_cli.weights import mini

EDITS = {
    "chelsea.png": "blue cat",
    "coffee.png": "green cup",
    "motorcycle_left.png": "red motorcycle",
    "moon.png": "golden moon",
    "rocket.jpg": "red rocket",
    "astronaut.png": "purple person",
    "retina.jpg": "blue ball",
    "horse.png": "golden horse",
}
HEIGHT = 220


def main() -> None:
    """Edit each photo and lay source, result and opacity side by side."""
    clip = Clip(*mini.load())
    rows = []
    for name, prompt in EDITS.items():
        start = time.perf_counter()
        photo = Image.open(Path(data.__file__).parent / name).convert("RGB")
        photo.thumbnail((640, 640))
        picture = torch.from_numpy(np.array(photo)).permute(2, 0, 1).float() / 255
        edit = PhotoEdit(picture, clip, edit_config(PHOTO, (prompt,), "draft", {"clip": "mini"}))
        for _ in edit:
            pass
        layer = edit.result()
        panels = torch.cat([picture, layer.over(edit.picture)[0], layer.alpha[0].expand(3, -1, -1)], 2)
        image = Image.fromarray((panels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
        image = image.resize((image.width * HEIGHT // image.height, HEIGHT), Image.Resampling.LANCZOS)
        row = Image.new("RGB", (image.width, HEIGHT + 18), "white")
        row.paste(image, (0, 0))
        label = f"{name}: {prompt} (what is there: {edit.roi or 'not found'})"
        ImageDraw.Draw(row).text((4, HEIGHT + 3), label, "black")
        rows.append(row)
        print(f"{label}, score {edit.score():.2f}, {time.perf_counter() - start:.0f} s", flush=True)
    width = max(row.width for row in rows)
    columns = [rows[::2], rows[1::2]]
    sheet = Image.new("RGB", (2 * width + 12, max(len(c) for c in columns) * (HEIGHT + 18)), "white")
    for x, column in enumerate(columns):
        for y, row in enumerate(column):
            sheet.paste(row, (x * (width + 12), y * (HEIGHT + 18)))
    sheet.save(sys.argv[1], quality=88)


if __name__ == "__main__":
    main()
