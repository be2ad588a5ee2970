"""How large the work of ``benchmarks/gpu.py`` is: as published, or so small that a CPU does all of it in a minute."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]  # height, width; px
CUDA_GRAPHS = "inductor with CUDA graphs"


@dataclass(frozen=True)
class Sizes:
    """Sizes and counts; the defaults are the supplement's."""

    clip: str = "ViT-B-32"
    second_clip: str = "mini"  # in the parts on precision: it always has weights that were trained
    channels: int | None = None  # of the generator; None: its own
    picture: Size = (512, 512)
    frame: Size = (432, 768)
    frames: int = 70
    texels: int = 2000  # a side of the atlas: about 2 texels a px of the frame
    views: int | None = None  # a picture; None: as published
    still: bool = False  # whether every step sees the whole picture: one size, so that compiling is done once
    warm: int = 20  # steps before anything is timed; their operations are counted
    block: int = 75  # steps that are timed as one; one of 75 sees the un-augmented pair too
    blocks: int = 13  # of ours, at most: with the warm-up a whole training of a photo
    straight_blocks: int = 3
    other_blocks: int = 2  # of ways that are compared in one table
    opacities: tuple[float, ...] = (0.005, 0.02, 0.1, 1.0)
    seeds: int = 3
    training_steps: int = 130
    training_side: int = 160  # px
    judged: int = 3  # draws by which a finished training is judged
    profiled: int = 10  # steps
    compiled_warm: int = 100  # steps in which all sizes come up
    compilers: tuple[str, ...] = ("inductor", CUDA_GRAPHS)
    fit_preset: str = "standard"
    fit_steps: int | None = None  # at most, the rest is extrapolated; None: as time allows
    fit_frame: Size = (432, 768)
    layered_neural_atlas: bool = True  # whether a step of the published way is timed beside the fit


FULL = Sizes()
TOY = Sizes(
    clip="toy-clip",
    second_clip="toy-clip",
    channels=8,
    picture=(192, 192),  # whole multiples of 64: compiled pictures have no other size
    frame=(129, 129),
    frames=3,
    texels=200,
    views=2,
    still=True,
    warm=1,
    block=1,
    blocks=1,
    straight_blocks=1,
    other_blocks=1,
    opacities=(0.02, 1.0),
    seeds=1,
    training_steps=1,
    training_side=129,
    judged=1,
    profiled=1,
    compiled_warm=1,
    compilers=("eager",),
    fit_preset="draft",
    fit_steps=20,
    fit_frame=(36, 48),
    layered_neural_atlas=False,
)
