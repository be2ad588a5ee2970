"""How well fit-atlas takes videos apart: generated videos with known truth, and, given paths, real ones.

    python benchmarks/atlas.py                               all generated videos, draft preset, 160 x 90 x 24
    python benchmarks/atlas.py --only "pan;static camera" --visits 20
    python benchmarks/atlas.py --only "" video.mp4 --frames 0:24 --pictures DIR

Prints rows of a markdown table. IoU and MAE are the opacity's; drift is by how much, px of the video, a surface point's
place on the atlas moves from frame to frame: the spread of the fitted coordinates of one and the same true texel.
Asked (draft, CPU): 33 dB, IoU 0.95 (0.85 where only motion tells), MAE 0.015, drift 0.15 px background, 0.3 foreground.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from t2l_cli.config import FIT_PRESETS, FitConfig
from t2l_cli.engine.atlas.mapping import Mapper, reconstruct
from t2l_cli.engine.atlas.model import Atlas, VideoIdentity
from t2l_cli.engine.atlas.quality import checkerboard
from t2l_cli.engine.fit.fit import AtlasFit
from t2l_cli.engine.motion.masks import FrameMask
from t2l_cli.settings import FIT

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.truth import TruthVideo, make_truth

CLIPS = {
    "pan": lambda n: make_truth(frames=n),
    "pan, mask given": lambda n: make_truth(frames=n),
    "parallax": lambda n: make_truth(frames=n, parallax=True),
    "wobbling foreground": lambda n: make_truth(frames=n, wobble=True),
    "leaves and enters": lambda n: make_truth(frames=n, path="away"),
    "leaves and enters, mask given": lambda n: make_truth(frames=n, path="away"),
    "static camera": lambda n: make_truth(frames=n, camera="static"),
    "no foreground": lambda n: make_truth(frames=n, foreground=False),
    "pan, other textures": lambda n: make_truth(frames=n, seed=3),
}
HEADER = (
    "| video | PSNR, dB | alpha IoU | alpha MAE | drift bg, px | drift fg, px | flow residual bg, fg, px | time, s |"
)


def main() -> None:
    """Fit and print."""
    args = _arguments()
    config = dataclasses.replace(
        FIT.configure({}, args.preset), device=args.device, **({"visits": args.visits} if args.visits else {})
    )
    print(f"{HEADER}\n|{' --- |' * 8}")
    for name, make in CLIPS.items():
        if args.only is None or name in args.only.split(";"):
            truth = make(args.length)
            masks = torch.from_numpy(truth.alpha).float() if "mask" in name else None
            _report(name, truth.tensor(), truth.identity, config, masks, truth, args.pictures)
    for path in args.videos:
        frames = _read(path, args.frames)
        identity = VideoIdentity(len(frames), frames.shape[-1], frames.shape[-2])
        mask = (
            None if args.mask is None else FrameMask(0, torch.from_numpy(np.array(Image.open(args.mask).convert("L"))))
        )
        _report(path.stem, frames, identity, config, mask, None, args.pictures)
    if args.device.startswith("cuda"):
        print(f"peak memory: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB (CUDA)")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, help="video files, or folders of pictures")
    parser.add_argument("--only", help="generated videos by name, with ; between; '' for none")
    parser.add_argument("--length", type=int, default=24, help="frames of the generated videos")
    parser.add_argument("--frames", default="0:24", help="of the real videos, a:b")
    parser.add_argument("--mask", type=Path, help="picture: the foreground in the first frame of the real video")
    parser.add_argument("--preset", default="draft", choices=list(FIT_PRESETS))
    parser.add_argument("--visits", type=int, help="how often every frame is looked at")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pictures", type=Path, help="folder for pictures to judge by")
    return parser.parse_args()


def _report(
    name: str,
    frames: Tensor,
    identity: VideoIdentity,
    config: FitConfig,
    masks: Tensor | FrameMask | None,
    truth: TruthVideo | None,
    pictures: Path | None,
) -> None:
    """Fit one video and print its row."""
    start = time.perf_counter()
    fit = AtlasFit(frames, config, identity, masks)
    for _ in fit:
        pass
    atlas = fit.result()
    seconds = time.perf_counter() - start
    quality = fit.quality()
    known = ["", "", "", ""] if truth is None else _against(truth, atlas)
    residuals = ", ".join(
        "-" if r is None else f"{r:.2f}" for r in (quality.background_residual, quality.foreground_residual)
    )
    print(f"| {' | '.join([name, f'{quality.psnr:.1f}', *known, residuals, f'{seconds:.0f}'])} |", flush=True)
    for line in quality.advice:
        print(f"  advice: {line}", file=sys.stderr)
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        _sheet(fit, atlas).save(pictures / f"{name.replace(', ', '-').replace(' ', '-')}.png")


def _against(truth: TruthVideo, atlas: Atlas) -> list[str]:
    """IoU and MAE of the opacity, drift of both layers."""
    alpha, own = atlas.alpha.numpy(), truth.alpha
    both, either = ((alpha > 0.5) & (own > 0.5)).sum(), ((alpha > 0.5) | (own > 0.5)).sum()
    front = drift(atlas.foreground.uv.numpy(), truth.uv["foreground"], own > 0.7) if own.any() else None
    back = drift(atlas.background.uv.numpy(), truth.uv["background"], own < 0.3)
    return [
        f"{both / either:.3f}" if either else "-",
        f"{np.abs(alpha - own).mean():.4f}",
        f"{back:.3f}",
        "-" if front is None else f"{front:.3f}",
    ]


def drift(fitted: npt.NDArray[np.float32], true: npt.NDArray[np.float64], own: npt.NDArray[np.bool_]) -> float:
    """Spread, px, of the ``fitted`` uv (T, H, W, 2) of points with the same ``true`` uv, of the pixels ``own``.

    True texels are the bins; what a point's place within its bin explains linearly is taken off first.
    """
    place, found = true[own], fitted[own].astype(np.float64)
    cell = np.round(place).astype(int)
    _, group, count = np.unique(cell[:, 0] * 10**6 + cell[:, 1], return_inverse=True, return_counts=True)

    def centred(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        mean = np.stack([np.bincount(group, x[:, j]) / count for j in (0, 1)], -1)
        return x - mean[group]

    within, spread = centred(place), centred(found)
    slope = np.linalg.lstsq(within, spread, rcond=None)[0]  # texels a true texel
    rest = (spread - within @ slope)[count[group] >= 6]
    step = np.linalg.norm(fitted[:, :, 1:] - fitted[:, :, :-1], axis=-1)[own[:, :, 1:]]
    return float(np.linalg.norm(rest, axis=-1).mean() / np.median(step))


def _sheet(fit: AtlasFit, atlas: Atlas) -> Image.Image:
    """Four frames: the video, as rebuilt, first mask, opacity, a checkerboard on both layers."""
    side = atlas.video.width / 16
    layers = [checkerboard(layer, side) for layer in (atlas.foreground, atlas.background)]
    mapper = Mapper(atlas, layers[0] if fit.found_foreground else None, layers[1])
    columns = []
    for t in (0, atlas.video.frames // 3, 2 * atlas.video.frames // 3, atlas.video.frames - 1):
        frame = fit.frames[t].float() / 255
        mask, alpha = (x.expand(3, -1, -1) for x in (fit.masks[t].float() / 255, atlas.alpha[t]))
        painted = 0.5 * frame + 0.5 * mapper.over(frame, t)
        columns.append(torch.cat([frame, reconstruct(atlas, t).clamp(0, 1), mask, alpha, painted], 1))
    pixels = (torch.cat(columns, 2) * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels)
    picture.thumbnail((1600, 2400))
    return picture


def _read(path: Path, frames: str) -> Tensor:
    """(T, 3, H, W) uint8."""
    first, last = (int(part) for part in frames.split(":"))
    pictures = [p for p, _ in zip(_pictures(path), range(last), strict=False)][first:]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _pictures(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    if path.is_dir():
        yield from (np.array(Image.open(file).convert("RGB")) for file in sorted(path.glob("*.png")))
    else:
        import av

        with av.open(str(path)) as container:
            yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


if __name__ == "__main__":
    main()
