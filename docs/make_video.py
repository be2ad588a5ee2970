"""Make the README's animation and the atlas page's picture with the program itself:  python docs/make_video.py

Draws a video (a grey cup that moves and turns over a table, the camera panning), takes it apart with `t2l fit-atlas`
(a sheet of what that finds on the way), paints the foreground's picture red with white dots, and lays that back on with
`t2l composite`: both in a GIF.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

DOCS = Path(__file__).parent
SIZE = (320, 184)
FRAMES = 16
Floats = npt.NDArray[np.float64]


def noise(random: np.random.Generator, height: int, width: int, rough: float) -> Floats:
    """1/f noise of mean 0 and deviation 1."""
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    f[0, 0] = 1
    field = np.fft.ifft2(np.fft.fft2(random.normal(size=(height, width))) / f**rough).real
    return np.asarray((field - field.mean()) / field.std())


def table(random: np.random.Generator) -> Image.Image:
    """A wooden table, larger than the frame."""
    width, height = SIZE[0] + 120, SIZE[1] + 60
    y, x = np.mgrid[:height, :width]
    grain = np.sin((y + 9 * noise(random, height, width, 1.6)) / 5) * 0.5 + 0.5 * noise(random, height, width, 1.0)
    rgb = np.array([196.0, 178, 150]) + 9 * grain[..., None] * np.array([1, 0.95, 0.85]) - 0.08 * x[..., None]
    planks = ((y // 48) % 2)[..., None] * 10 + (y % 48 < 2)[..., None] * 35
    return Image.fromarray(np.clip(rgb - planks, 0, 255).astype(np.uint8))


def cup(random: np.random.Generator, side: int = 320) -> Image.Image:
    """A grey cup with a handle and some wear, RGBA."""
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    pen.ellipse((190, 100, 290, 220), fill=255)
    pen.ellipse((210, 122, 268, 198), fill=0)
    pen.rounded_rectangle((60, 60, 225, 260), 34, fill=255)
    y, x = np.mgrid[:side, :side] / side
    light = 1.15 - 1.1 * np.abs(x - 0.38) - 0.15 * y
    rim = (np.hypot((x - 0.445) / 0.24, (y - 0.22) / 0.045) < 1) * -0.35
    wear = 0.07 * noise(random, side, side, 1.2)
    grey = np.clip(150 * (light + rim + wear), 0, 255)[..., None].repeat(3, 2)
    return Image.fromarray(np.dstack([grey, np.asarray(mask)]).astype(np.uint8), "RGBA")


def draw(folder: Path) -> None:
    """Write the video's frames."""
    random = np.random.default_rng(5)
    ground, thing = table(random), cup(random)
    folder.mkdir()
    for t in range(FRAMES):
        part = t / (FRAMES - 1)
        frame = ground.transform(
            SIZE, Image.Transform.AFFINE, (1, 0, 20 + 70 * part, 0, 1, 30 - 16 * part), Image.Resampling.BICUBIC
        )
        turn, size = math.radians(-14 + 30 * part), 2.6 - 0.3 * part
        x, y = 110 + 96 * part, 96 + 18 * math.sin(3 * part)
        c, s = math.cos(turn) * size, math.sin(turn) * size
        place = (c, s, 155 - c * x - s * y, -s, c, 160 + s * x - c * y)
        moved = thing.transform(SIZE, Image.Transform.AFFINE, place, Image.Resampling.BICUBIC)
        frame.paste(moved.convert("RGB"), (0, 0), moved.getchannel("A").filter(ImageFilter.GaussianBlur(0.7)))
        frame.save(folder / f"{t:03d}.png")


def paint(atlas: Path, target: Path) -> None:
    """Red with white dots over what the atlas's foreground shows; half transparent, so that light and wear stay."""
    used = Image.open(atlas / "foreground.png").getchannel("A").filter(ImageFilter.MaxFilter(7))
    layer = Image.new("RGBA", used.size, (205, 20, 30, 0))
    pen, step = ImageDraw.Draw(layer), used.width // 6
    for k, y in enumerate(range(step // 2, used.height, step)):
        for x in range(step // 2 + (k % 2) * step // 2, used.width, step):
            pen.ellipse((x - step // 5, y - step // 5, x + step // 5, y + step // 5), fill=(255, 250, 240, 0))
    layer.putalpha(used.point(lambda v: round(0.72 * v)))
    layer.save(target)


def sheet(work: Path) -> Image.Image:
    """What `fit-atlas` saw in the middle of the video, found on the way, and made."""
    t = FRAMES // 2
    video, run, atlas = work / "cup", work / "run", work / "atlas"
    tiles = [
        ("the video: first frame", video / "000.png"),
        (f"frame {t}", video / f"{t:03d}.png"),
        ("last frame", video / f"{FRAMES - 1:03d}.png"),
        ("optical flow; black: not trusted", run / f"flow-{t:05d}.png"),
        ("what the camera leaves: mask", run / f"mask-{t:05d}.png"),
        ("opacity, fitted", run / f"alpha-{t:05d}.png"),
        ("atlas: foreground", atlas / "foreground.png"),
        ("atlas: background", atlas / "background.png"),
        ("the frame, rebuilt from these", run / f"rebuilt-{t:05d}.png"),
    ]
    width, height = SIZE[0] + 6, SIZE[1] + 22
    out = Image.new("RGB", (3 * width, 3 * height), "white")
    for k, (words, path) in enumerate(tiles):
        tile = Image.open(path).convert("RGBA")
        scale = min(SIZE[0] / tile.width, SIZE[1] / tile.height)
        tile = tile.resize((round(tile.width * scale), round(tile.height * scale)), Image.Resampling.BICUBIC)
        left, top = k % 3 * width, k // 3 * height
        out.paste(tile, (left + (SIZE[0] - tile.width) // 2, top), tile)
        ImageDraw.Draw(out).text((left + 4, top + SIZE[1] + 5), words, fill=(40, 40, 40))
    return out


def t2l(*arguments: str | Path) -> None:
    """Run the program."""
    subprocess.run([sys.executable, "-m", "t2l_cli", *map(str, arguments)], check=True)


def main() -> None:
    """Draw, take apart, paint, animate."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        draw(work / "cup")
        t2l("fit-atlas", work / "cup", "-o", work / "atlas", "--preset", "draft", "--run-dir", work / "run")
        sheet(work).save(DOCS / "images" / "atlas.jpg", quality=88)
        paint(work / "atlas", work / "painted.png")
        t2l(
            "composite",
            work / "cup",
            "--atlas",
            work / "atlas",
            "--foreground",
            work / "painted.png",
            "-o",
            work / "out",
        )
        pages = []
        for before, after in zip(sorted((work / "cup").iterdir()), sorted((work / "out").iterdir()), strict=True):
            page = Image.new("RGB", (2 * SIZE[0] + 6, SIZE[1]), "white")
            page.paste(Image.open(before), (0, 0))
            page.paste(Image.open(after), (SIZE[0] + 6, 0))
            pages.append(page)
        palette = pages[FRAMES // 2].quantize(256, Image.Quantize.MEDIANCUT)
        flat = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
        flat[0].save(DOCS / "images" / "video.gif", save_all=True, append_images=flat[1:], duration=110, loop=0)


if __name__ == "__main__":
    main()
