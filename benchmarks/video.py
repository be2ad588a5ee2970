"""Clips: cost of a training step and of mapping back, beside the arithmetic floor; memory; and where paint lands.

    OMP_NUM_THREADS=1 python benchmarks/video.py --size 144 240 --frames 16 --steps 3 --map-frames 70

The floor of a step: its passes through generator and CLIP, each timed alone in the same run. The floor of mapping back:
one bilinear sampling of four channels a frame and layer, and reading and writing the frame once. Ratios are of CPU
seconds (of all threads), which other programs of the machine disturb less than wall time.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from generated import sliding
from measure import peak_memory
from PIL import Image

from t2l_cli.atlases.store import TENSORS, save_atlas
from t2l_cli.config import OptimConfig, video_config
from t2l_cli.engine.atlas.mapping import Mapper, sample
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.video import VideoEdit
from t2l_cli.media.encode import VideoWriter
from t2l_cli.media.videos import Frame, VideoInfo
from t2l_cli.weights import mini

sys.path.append(str(Path(__file__).parents[1]))
from tests.truth import bilinear, make_truth

LONG = (216, 384)  # height and width of the videos that composite's memory is measured on


class Cost(NamedTuple):
    """Seconds of some work."""

    wall: float
    cpu: float  # of all threads

    def __add__(self, other: object) -> Cost:
        assert isinstance(other, Cost)
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def times(self, factor: float) -> Cost:
        """The work ``factor`` times over."""
        return Cost(self.wall * factor, self.cpu * factor)

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.cpu:.2f} s of CPU)"


def memory() -> str:
    """The most that the process has held so far."""
    return f"{peak_memory(torch.device('cpu')):.1f} GiB"


def timed(work: Callable[[], object], repeat: int = 3) -> Cost:
    """The cheapest of ``repeat`` calls."""
    costs = []
    for _ in range(repeat):
        start = time.perf_counter(), time.process_time()
        work()
        costs.append(Cost(time.perf_counter() - start[0], time.process_time() - start[1]))
    return min(costs, key=lambda cost: cost.cpu)


def composite_peak(size: tuple[int, int], frames: int, texels: int) -> tuple[float, float]:
    """MiB that `t2l composite` holds at most while it paints a video, and those of its atlas's file. Linux only."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        atlas, video = sliding(size, frames, texels)
        save_atlas(atlas, place / "atlas")
        info = VideoInfo(place, size[1], size[0], frames, Fraction(24), Fraction(1, 24), audio=False)
        with VideoWriter(place / "video.mp4", info, "lossless") as writer:
            for t, frame in enumerate(video):
                rgb = frame.permute(1, 2, 0).contiguous().numpy()
                writer.write(Frame(rgb, t, 1), rgb)
        half = Image.new("RGBA", (texels, texels), (255, 0, 0, 128))
        half.save(place / "paint.png")
        painted = ["--foreground", place / "paint.png", "--background", place / "paint.png", "-o", place / "out.mp4"]
        command = ["t2l", "composite", place / "video.mp4", "--atlas", place / "atlas", *painted]
        # Not ru_maxrss, which begins with what its parent held.
        peak = 0.0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
            while program.poll() is None:
                for line in Path(f"/proc/{program.pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        peak = int(line.split()[1]) / 1024
                time.sleep(0.02)
        if program.returncode:
            raise RuntimeError(f"t2l composite failed: {program.returncode}")
        return peak, (place / "atlas" / TENSORS).stat().st_size / 2**20


def step_times(edit: VideoEdit, steps: int) -> tuple[Cost, Cost]:
    """The cheapest of some steps, and its parts alone: the generator twice, then CLIP with and without gradient."""
    iterator = iter(edit)
    next(iterator)
    step = timed(lambda: next(iterator), steps)
    seen = edit.draw(torch.Generator().manual_seed(0))
    picture, views = seen.frames[:1], edit.config.views.n_views
    looked = torch.rand(views, 3, *edit.clip.view_size((picture.shape[-2], picture.shape[-1])))

    def paint() -> None:
        edit.generator(edit.runtime.formatted(picture)).sum().backward()

    def look(gradient: bool) -> None:
        with torch.set_grad_enabled(gradient):
            out = edit.clip.embed_images(looked.clone().requires_grad_(gradient)).sum()
        if gradient:
            out.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    examples = len(seen.frames) + 1
    seen_once = timed(lambda: look(True)).times(2) + timed(lambda: look(False))
    return step, timed(paint).times(2) + seen_once.times(examples)


def misplaced(size: tuple[int, int] = (320, 192), frames: int = 12) -> dict[str, list[float]]:
    """How far, in px, a spot painted on the atlas lands from where float64 arithmetic has it; by layer, one a frame.

    The truth of the video is known (tests/truth.py). Frames in which the spot is hidden, or cut by the border, do not
    count.
    """
    truth = make_truth(size, frames)
    atlas, errors = truth.atlas(), {}
    for name in ("foreground", "background"):
        height, width = atlas.layer(name).size
        place = np.array([width / 2, height / 2 if name == "foreground" else height / 5])
        y, x = np.mgrid[:height, :width]
        spot = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 4.0**2))
        layer = EditLayer(torch.ones(1, 3, height, width), torch.from_numpy(spot).float()[None, None])
        mapper, errors[name] = Mapper(atlas, **{name: layer}), []
        for t in range(frames):
            share = truth.alpha[t] if name == "foreground" else 1 - truth.alpha[t]
            expected = share * bilinear(spot[..., None], truth.uv[name][t])[..., 0]
            at = truth.seen(name, t, place)
            if expected.max() > 0.9 and (at > 16).all() and (at < np.array(size) - 16).all():
                seen = mapper.layer(t).alpha[0, 0].double().numpy()
                errors[name].append(float(np.hypot(*(centre(seen) - centre(expected)))))
    return errors


def centre(picture: np.ndarray) -> np.ndarray:
    """(x, y) of the mass of (H, W)."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return np.array([(picture * axis).sum() for axis in (x, y)]) / picture.sum()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Time a step of a layer of a video, and mapping back.")
    parser.add_argument("--size", type=int, nargs=2, default=(144, 240), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--map-size", type=int, nargs=2, default=(432, 768), metavar=("H", "W"))
    parser.add_argument("--map-frames", type=int, default=20)
    parser.add_argument("--atlas", type=int, default=2000, help="texels a side, in mapping back")
    parser.add_argument("--long", type=int, nargs="*", default=(100, 200, 400), help="frames of videos for composite")
    args = parser.parse_args()

    if args.long:
        print("| t2l composite, frames | peak memory | of it the atlas | the rest |\n| --- | --- | --- | --- |")
        for length in args.long:
            peak, atlas_size = composite_peak(LONG, length, 600)
            print(f"| {length} | {peak:.0f} MiB | {atlas_size:.0f} MiB | {peak - atlas_size:.0f} MiB |", flush=True)
        print()

    atlas, frames = sliding(tuple(args.size), args.frames, 2 * min(args.size))
    config = dataclasses.replace(video_config(("red object",)), roi="object", clip="mini", size=min(args.size))
    config = dataclasses.replace(config, optim=OptimConfig(steps=args.steps + 1, source_every=10_000))
    step, parts = step_times(VideoEdit(frames, atlas, "background", Clip(*mini.load()), config), args.steps)
    print("| a step | its parts alone | ratio | peak memory |\n| --- | --- | --- | --- |")
    print(f"| {step} | {parts} | {step.cpu / parts.cpu:.2f} | {memory()} |\n", flush=True)

    atlas, frames = sliding(tuple(args.map_size), args.map_frames, args.atlas)
    random = torch.Generator().manual_seed(0)
    rgba = torch.rand(2, 4, args.atlas, args.atlas, generator=random)
    mapper = Mapper(atlas, *(EditLayer(x[None, :3], x[None, 3:]) for x in rgba))

    def map_all() -> None:
        for t in range(len(frames)):
            mapper.over(frames[t].float() / 255, t)

    def floor() -> None:
        for t in range(len(frames)):
            for name in ("foreground", "background"):
                sample(rgba[:1], atlas.layer(name).uv[t : t + 1])
            frames[t].float().mul(255).to(torch.uint8)

    whole, least = timed(map_all, 2), timed(floor, 2)
    print("| frames | mapping back | floor | ratio | peak memory |\n| --- | --- | --- | --- | --- |")
    what = f"{len(frames)} of {args.map_size[1]} x {args.map_size[0]}, atlas {args.atlas}"
    print(f"| {what} | {whole} | {least} | {whole.cpu / least.cpu:.2f} | {memory()} |\n")

    print("| a spot on | frames | px beside its place, mean | most |\n| --- | --- | --- | --- |")
    for name, errors in misplaced().items():
        print(f"| {name} | {len(errors)} | {np.mean(errors):.4f} | {max(errors):.4f} |")


if __name__ == "__main__":
    main()
