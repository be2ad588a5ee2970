"""Time and memory of matting a layer's outlines:  python benchmarks/matte.py --megapixels 12

The layer is a blurred square on the example cup, enlarged to so many pixels. Writing the full layer with and without
matting is timed in turns, after a first round that is not counted (pymatting compiles in it).
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from t2l_cli.config import MatteMode
from t2l_cli.engine.fullres import FullLayer
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.matte import matted
from t2l_cli.engine.resize import resized

CUP = Path(__file__).parents[1] / "docs" / "examples" / "cup.jpg"
SIZE = (160, 213)  # of the layer, as a draft trains it
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss


def seconds(mode: MatteMode, layer: EditLayer, source: torch.Tensor) -> float:
    """Time to make the full layer, all rows of it, in processor seconds."""
    start = time.process_time()
    matte = matted(layer, source, mode)
    full = FullLayer(matte.layer, source, guide=matte.picture)
    for top in range(0, source.shape[-2], 64):
        full.rows(slice(top, min(top + 64, source.shape[-2])))
    return time.process_time() - start


def main() -> None:
    """Print the seconds of each way, their difference, and the growth of the process's peak memory."""
    parser = argparse.ArgumentParser(description="Measure what matting costs.")
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    width = round((args.megapixels * 1e6 * 4 / 3) ** 0.5)
    photo = Image.open(CUP).convert("RGB").resize((width, width * 3 // 4))
    source = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
    alpha = torch.zeros(1, 1, 80, 106)
    alpha[..., 10:60, 28:70] = 1
    layer = EditLayer(torch.rand(1, 3, *SIZE), resized(alpha, SIZE).clamp(0, 1))
    seconds("off", layer, source)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
    seconds("on", layer, source)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT - before
    times = [(seconds("off", layer, source), seconds("on", layer, source)) for _ in range(args.rounds)]
    off, on = (median(column) for column in zip(*times, strict=True))
    print(f"{args.megapixels:g} megapixels: {off:.1f} s without, {on:.1f} s with matting; {grown / 1e9:.2f} GB more")


if __name__ == "__main__":
    main()
