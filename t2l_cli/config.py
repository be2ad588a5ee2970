"""Every hyper-parameter, with its default, its unit and its symbol in the paper.

Frozen dataclasses, checked on construction. The command line reads its defaults from here, ``run.json`` stores one of
them, and the engine takes them as arguments. Sources: Text2LIVE (ECCV 2022), Eq. 2; supplement, sections 2, 3.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from t2l_cli.errors import RequestError

Distance = Literal["spherical", "cosine"]
DeviceName = str  # "auto", "cpu", "cuda", "cuda:1", "mps"
Precision = Literal["auto", "fp32", "fp16", "bf16"]
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
BlendMode = Literal["normal", "shade", "color", "multiply", "screen", "overlay", "soft-light", "hard-light"]
MatteMode = Literal["auto", "on", "off"]
BootstrapTarget = Literal["map", "cutout"]
Codec = Literal["h264", "lossless", "prores"]  # of a video that is written; prores: the edit alone, with its alpha
CODECS: tuple[Codec, ...] = get_args(Codec)
DEFAULT_CODEC: Codec = "h264"
RESOLUTION = 2000  # texels across the unit square of a checkpoint, of which an atlas is made
FlowName = Literal["dis", "raft"]  # OpenCV's DIS; torchvision's RAFT, a network
LayerName = Literal["foreground", "background"]  # of a video's atlas
LAYERS: tuple[LayerName, LayerName] = ("foreground", "background")
DEFAULT_LAYER: LayerName = "foreground"  # that is edited
MOST_STEPS = 1_000_000  # of a training


def _check(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise RequestError unless ``value`` is a finite number in [low, high]."""
    if not (low <= value <= high and value < math.inf):  # not math.isfinite: an int may be too large for a float
        bound = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        raise RequestError(f"{name} must be {bound}, not {str(value)[:40]}.")


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise RequestError, which calls it ``name``, unless ``value`` is one of ``choices``, a Literal."""
    words = get_args(choices)
    if value not in words:
        raise RequestError(f"{name} must be {', '.join(words[:-1])} or {words[-1]}, not {value!r}.")


def _check_bounds(name: str, bounds: tuple[float, float], low: float, high: float) -> None:
    """Raise RequestError unless ``bounds`` are two numbers in [low, high], in ascending order."""
    _check(f"{name}'s lower bound", bounds[0], low, high)
    _check(f"{name}'s upper bound", bounds[1], bounds[0], high)


@dataclass(frozen=True)
class LossWeights:
    """Relative weights of Eq. 2 (supplement, section 3)."""

    screen: float = 1.0  # lambda_g, L_screen
    structure: float = 2.0  # lambda_s, L_structure (3 for videos)
    sparsity: float = 5e-2  # lambda_r, L_reg (5e-4 for videos)
    l1: float = 2.0  # gamma, the L1 part of L_reg
    bootstrap: float = 10.0  # relevancy bootstrap; a photo's is annealed linearly to 0, except on a cutout
    distance: Distance = "spherical"  # D(x, y) of the text terms

    def __post_init__(self) -> None:
        for name in ("screen", "structure", "sparsity", "l1", "bootstrap"):
            _check(f"the {name} weight", getattr(self, name), 0.0, 1e6)
        check_choice("the text distance", self.distance, Distance)


@dataclass(frozen=True)
class OptimConfig:
    """MADGRAD and its schedule (supplement, section 3)."""

    steps: int = 1000  # 3000 for a video's layer
    lr: float = 2.5e-3
    lr_decay: float = 0.99  # factor per step (0.999 for videos)
    lr_min: float = 1e-5
    weight_decay: float = 0.01
    momentum: float = 0.9
    source_every: int = 75  # the un-augmented pair (I_s, T) is added once per so many steps

    def __post_init__(self) -> None:
        _check("--steps", self.steps, 1, MOST_STEPS)
        _check("the learning rate", self.lr, 1e-8, 1.0)
        _check("the learning-rate decay", self.lr_decay, 0.5, 1.0)
        _check("the lowest learning rate", self.lr_min, 0.0, 1.0)
        _check("the weight decay", self.weight_decay, 0.0, 1.0)
        _check("the momentum", self.momentum, 0.0, 0.999)
        _check("the un-augmented pair's period", self.source_every, 1, 1_000_000)


@dataclass(frozen=True)
class AugmentConfig:
    """The random augmentations of the internal dataset (supplement, section 2.1)."""

    crop: tuple[float, float] = (0.85, 1.0)  # side of the crop, as a part of the picture's side
    scale: tuple[float, float] = (0.8, 1.2)  # one factor for both sides
    flip_p: float = 0.5
    jitter: float = 0.1  # brightness, contrast, saturation, hue
    jitter_p: float = 0.1

    def __post_init__(self) -> None:
        _check_bounds("the internal dataset's crop", self.crop, 0.1, 1.0)
        _check_bounds("the internal dataset's scale", self.scale, 0.1, 4.0)
        for name in ("flip_p", "jitter", "jitter_p"):
            _check(f"the internal dataset's {name}", getattr(self, name), 0.0, 1.0)


STILL = AugmentConfig(crop=(1.0, 1.0), scale=(1.0, 1.0), flip_p=0.0, jitter_p=0.0)  # no augmentation


@dataclass(frozen=True)
class ViewConfig:
    """The views of a picture for CLIP: view 1 is whole, the others are crops; all are augmented (method, section 4)."""

    n_views: int = 16  # 6 for videos
    crop: tuple[float, float] = (0.6, 1.0)  # part of each side
    flip_p: float = 0.5
    rotate: float = 15.0  # degrees, +-
    shift: float = 0.1  # part of each side, +-
    affine_p: float = 0.8
    perspective: float = 0.4  # distortion
    perspective_p: float = 0.5
    jitter: float = 0.1
    jitter_p: float = 0.7
    grey_p: float = 0.15
    fill: float = 1.0  # value outside of the picture (0 for videos)
    shared_draws: bool = False  # whether the source's views use the composite's draws instead of their own

    def __post_init__(self) -> None:
        _check("--views", self.n_views, 1, 256)
        _check_bounds("the view crop", self.crop, 0.1, 1.0)
        _check("the views' rotate", self.rotate, 0.0, 180.0)
        chances = ("flip_p", "affine_p", "perspective_p", "jitter_p", "grey_p")
        for name in ("shift", "perspective", "jitter", "fill", *chances):
            _check(f"the views' {name}", getattr(self, name), 0.0, 1.0)


@dataclass(frozen=True)
class SegmentConfig:
    """The part of a video that a step on a layer sees: three frames with one crop (supplement, section 3.1)."""

    stride: int = 2  # frames from one of the three to the next
    crop: tuple[float, float] = (0.95, 1.0)  # side of the crop, as a part of the foreground's box or of the frame
    margin: int = 30  # px around the foreground's box
    texels: float = 2.0  # of the atlas per px of the training frames, if the atlas and the memory allow it
    scale: tuple[float, float] = (0.8, 1.2)  # random scaling of the atlas crop, one factor for both sides
    background_reduction: int = 3  # factor by which the stored background atlas is reduced for the un-augmented pair
    relevancy_frames: int = 5  # number of frames whose relevancy maps are averaged on the atlas

    def __post_init__(self) -> None:
        _check("--texels", self.texels, 0.1, 8.0)
        _check("the frames' stride", self.stride, 1, 1000)
        _check_bounds("the frames' crop", self.crop, 0.1, 1.0)
        _check("the foreground's margin", self.margin, 0, 10_000)
        _check_bounds("the atlas crop's scale", self.scale, 0.25, 4.0)
        _check("the background's reduction", self.background_reduction, 1, 64)
        _check("the frames for the relevancy", self.relevancy_frames, 1, 1000)


@dataclass(frozen=True)
class EditConfig:
    """All settings of one edit of a photo or of a video's layer."""

    prompts: tuple[str, ...]  # T; several prompts describe the same edit
    roi: str | None = None  # T_ROI; None: chosen by CLIP
    layer_text: str | None = None  # text of the layer over the green screen; None: the prompts
    clip: str | tuple[str, ...] = "ViT-B-32"  # a name; or several, whose losses are averaged
    size: int = 512  # short side of the picture in training, px (never above the source)
    seed: int = 0
    tries: int = 1  # number of short starts from different seeds, of which the best is continued
    try_steps: int = 50  # length of a short start
    blend: BlendMode = "normal"  # how the layer's colour meets the picture below it
    matte: MatteMode = "off"  # whether the outlines of the layer are brought to those of the picture
    bootstrap_to: BootstrapTarget = "map"  # what the bootstrap draws the opacity to
    device: DeviceName = "auto"
    precision: Precision = "auto"
    weights: LossWeights = field(default_factory=LossWeights)
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)  # for videos only

    def __post_init__(self) -> None:
        if not self.prompts:
            raise RequestError("give a prompt: what the picture should show.")
        if not isinstance(self.clip, str):  # one name is kept as a text, however it was given
            names = tuple(self.clip)
            object.__setattr__(self, "clip", names[0] if len(names) == 1 else names)
        if not 1 <= len(self.clips) <= MAX_CLIPS:
            raise RequestError(f"name 1 to {MAX_CLIPS} CLIPs, not {len(self.clips)}.")
        for prompt in self.prompts:
            _check_text("a prompt", prompt, "say what the picture should show.")
        if self.roi is not None:
            _check_text("--roi", self.roi, "say what is there now, or leave it out.")
        if self.layer_text is not None:
            _check_text("--layer-text", self.layer_text, "say what the edit alone shows, or leave it out.")
        _check("--size", self.size, MIN_SIDE, 4096)
        _check("--seed", self.seed, 0, 2**63 - 1)
        _check("--tries", self.tries, 1, 64)
        _check("the length of a try", self.try_steps, 1, MOST_STEPS)
        if not _DEVICE.fullmatch(self.device):
            raise RequestError(f"--device must be auto, cpu, cuda, cuda:N or mps, not {self.device!r}.")
        check_choice("--blend", self.blend, BlendMode)
        check_choice("--matte", self.matte, MatteMode)
        check_choice("--bootstrap-to", self.bootstrap_to, BootstrapTarget)
        check_choice("--precision", self.precision, Precision)

    @property
    def clips(self) -> tuple[str, ...]:
        """The names of the CLIPs; the first also chooses T_ROI and sees where it is."""
        return (self.clip,) if isinstance(self.clip, str) else self.clip


MAX_CLIPS = 8
MIN_SIDE = 129  # px: the U-Net's 7 halvings need 2^7 + 1 (method, section 2)
MAX_PROMPT = 1000  # characters; CLIP reads 77 tokens, so that a longer text is a mistake


def _check_text(name: str, text: object, wanted: str) -> None:
    """Raise RequestError where ``text`` is no text; is blank, and say what is ``wanted``; or is too long for CLIP."""
    if not isinstance(text, str):
        raise RequestError(f"{name} must be a text, not {str(text)[:40]}.")
    if not text.strip():
        raise RequestError(f"{name} is empty: {wanted}")
    if len(text) > MAX_PROMPT:
        raise RequestError(
            f"{name} has {len(text):,} characters, {MAX_PROMPT:,} are the limit; CLIP reads about 50 words."
        )


Overlay = Mapping[str, Any]
"""New values by field name, such as "weights.screen"."""

_Config = TypeVar("_Config")


def overlaid(config: _Config, values: Overlay) -> _Config:
    """``config`` with ``values`` instead of its own; the result is checked again."""
    for field_name, value in values.items():
        part, _, rest = field_name.partition(".")
        new = overlaid(getattr(config, part), {rest: value}) if rest else value
        config = dataclasses.replace(config, **{part: new})  # type: ignore[type-var]  # a dataclass, as all here are
    return config


def with_preset(config: _Config, name: str, presets: Mapping[str, Overlay], base: _Config) -> _Config:
    """``config`` with the preset ``name`` applied.

    Fields that any of ``presets`` sets first return to their value in ``base``, so that an earlier preset leaves no
    trace. RequestError for an unknown name.
    """
    if name not in presets:
        raise RequestError(f"there is no preset {name!r}; choose one of {', '.join(presets)}.")
    varying = dict.fromkeys(field_name for overlay in presets.values() for field_name in overlay)
    return overlaid(config, {field_name: value_of(base, field_name) for field_name in varying} | dict(presets[name]))


def value_of(config: object, field_name: str) -> Any:
    """The value of a field, or of a part's field such as "weights.screen"."""
    for part in field_name.split("."):
        config = getattr(config, part)
    return config


DEFAULT_PRESET = "standard"  # the paper's settings
# In so few steps the paper's learning rate does not converge, its sparsity would make the paint too thin, and a pattern
# does not form if the internal dataset moves the picture from step to step (mini/README.md).
_DRAFT: dict[str, Any] = {
    "size": 160,
    "try_steps": 15,
    "optim.lr": 8e-3,
    "weights.sparsity": 2e-2,
    "blend": "shade",
    "matte": "auto",
    "bootstrap_to": "cutout",
}
PRESETS: dict[str, Overlay] = {
    "draft": _DRAFT | {"optim.steps": 80, "optim.lr_decay": 0.991, "views.n_views": 12, "augment": STILL},
    "standard": {},
    "fine": {"size": 768, "optim.steps": 1500, "optim.lr_decay": 0.9935},
}
# Changes for one layer of a video (supplement, sections 2.1 and 3). The paper has no bootstrap for videos; draft has
# one. With the paper's structure weight and no cutout, a draft would paint only a part of the object
# (docs/videos.md).
_VIDEO: Overlay = {
    "size": 432,
    "optim.steps": 3000,
    "optim.lr_decay": 0.999,
    "views.n_views": 6,
    "views.fill": 0.0,
    "weights.bootstrap": 0.0,
    "weights.structure": 3.0,
    "weights.sparsity": 5e-4,
}
VIDEO_PRESETS: dict[str, Overlay] = {
    "draft": _DRAFT
    | {"optim.steps": 100, "optim.lr_decay": 0.99, "views.n_views": 8, "segment.texels": 1.0}
    | {"weights.bootstrap": 10.0, "weights.structure": 1.0},
    "standard": {},
    "fine": {"size": 768, "optim.steps": 4000},
}


def video_config(prompts: tuple[str, ...]) -> EditConfig:
    """The paper's settings for one layer of a video."""
    return overlaid(EditConfig(prompts), _VIDEO)


# --- the page (studio) ---

STUDIO_FOLDER = "t2l-studio"  # of its results and their records
STUDIO_ADDRESS = "127.0.0.1"  # for this machine only


# --- from a raw video to an atlas (fit-atlas) ---


@dataclass(frozen=True)
class FitWeights:
    """Relative weights of the fit's losses (video method, section 5), chosen on videos with known ground truth."""

    colour: float = 1.0  # Charbonnier distance between reconstruction and frame
    gradient: float = 1.0  # distance between their gradients
    flow: float = 0.02  # px by which a point that moves with the flow changes its atlas position
    alpha_flow: float = 0.05  # change of opacity along the flow
    rigid: float = 0.02  # bending and shearing of the control grids
    bootstrap: float = 0.3  # difference between opacity and mask, annealed to 0 over the first half
    outside: float = 1.0  # opacity far from the mask
    inside: float = 1.0  # transparency well inside a mask that the user gave
    area: float = 0.03  # mean opacity
    variation: float = 0.05  # total variation of the opacity
    sparsity: float = 0.05  # foreground colour where it is transparent
    binary: float = 0.01  # opacity between 0 and 1; the weight grows linearly from 0


@dataclass(frozen=True)
class FitRates:
    """Adam's learning rates, each in its parameter's own unit; all follow the same schedule."""

    texture: float = 0.01  # colour in [0, 1]
    grid: float = 0.01  # 8 px of the current level
    linear: float = 0.005  # 8 px of the current level, for each frame's linear correction
    alpha: float = 0.05  # logit


@dataclass(frozen=True)
class FitConfig:
    """All settings of one fit of an atlas to a video."""

    size: int = 432  # short side of the working size, px (never above the video)
    visits: int = 120  # how often every frame is used
    pairs: int = 3  # pairs of neighbouring frames (t, t + 1) per step
    levels: int = 3  # number of resolutions, each twice as fine as the one before
    texels: float = 1.25  # texels of a texture per frame pixel, per axis
    spacing: int = 16  # px between the control points of the mappings, at a short side of 90 px
    mask_margin: float = 0.05  # distance from the mask's outline in which opacity is free, as a part of the short side
    flow: FlowName = "dis"  # method of optical flow
    mask_class: str | None = None  # COCO class that Mask R-CNN masks; None: the user's mask, or motion
    seed: int = 0
    device: DeviceName = "auto"
    weights: FitWeights = field(default_factory=FitWeights)
    rates: FitRates = field(default_factory=FitRates)

    def __post_init__(self) -> None:
        _check("--size", self.size, 32, 2160)
        _check("the visits of a frame", self.visits, 1, 100_000)
        _check("the pairs in a step", self.pairs, 1, 64)
        _check("the resolutions", self.levels, 1, 6)
        _check("the texels of a pixel", self.texels, 0.25, 4.0)
        _check("the control points' distance", self.spacing, 4, 256)
        _check("the mask's margin", self.mask_margin, 0.0, 1.0)
        check_choice("--flow", self.flow, FlowName)
        _check("--seed", self.seed, 0, 2**63 - 1)


FIT_PRESETS: dict[str, Overlay] = {
    "draft": {"size": 144, "visits": 75, "levels": 2},
    "standard": {},
    "fine": {"size": 720, "visits": 200, "levels": 4},
}
EDIT_FIT_PRESET = "draft"  # of the fit that the edit of a video makes on its way
