"""The options that the long commands share: spelling, help, environment variable; defaults come from config.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from t2l_cli.cli.settings import DEFAULT_PRESET, default_of
from t2l_cli.config import PRESETS, Preset

RUN, CLIP, EDIT, OUTPUT = "Time and quality", "CLIP", "What to edit", "Output"
ATLAS = "The atlas"
ADVANCED = "Advanced: loss weights and rates (the paper's defaults)"


def option(*names: str, help: str, panel: str | None = None, metavar: str | None = None, **more: Any) -> Any:
    """A typer option that can also come from T2L_<NAME>, after its first name."""
    variable = "T2L_" + names[0].partition("/")[0].lstrip("-").replace("-", "_").upper()
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, envvar=variable, **more)


def setting(*names: str, help: str, panel: str = ADVANCED, **more: Any) -> Any:
    """An option for a field of EditConfig: None when not given, its default shown from config.py."""
    value = default_of(names[0].lstrip("-").replace("-", "_"))
    return option(*names, help=f"{help} Default: {value}.", panel=panel, show_default=False, **more)


def preset_setting(
    *names: str,
    field: str,
    help: str,
    metavar: str | None = "N",
    panel: str = RUN,
    presets: Mapping[str, Preset] = PRESETS,
) -> Any:
    """An option whose default is the preset's."""
    values = ", ".join(f"{name} {in_words(getattr(preset, field))}" for name, preset in presets.items())
    return option(
        *names, help=f"{help} Default: the preset's ({values}).", panel=panel, metavar=metavar, show_default=False
    )


def in_words(value: object) -> str:
    """A default as the help shows it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


_TUNED: dict[str, tuple[str, str | None, str]] = {  # option -> field of Preset, metavar, help
    "--try-steps": ("try_steps", "N", "Length of one of the --tries."),
    "--structure-weight": ("structure", "X", "lambda_s, of L_structure."),
    "--sparsity-weight": ("sparsity", "X", "lambda_r, of L_reg."),
    "--bootstrap-weight": ("bootstrap", "X", "Relevancy bootstrap, annealed to 0."),
    "--lr": ("lr", "X", "MADGRAD's learning rate."),
    "--lr-decay": ("lr_decay", "X", "Factor on the learning rate per step."),
    "--shared-draws/--own-draws": (
        "shared_draws",
        None,
        "Show CLIP the source through the composite's random views, not (the paper) through views of its own.",
    ),
}


def tuned(name: str, presets: Mapping[str, Preset] = PRESETS) -> Any:
    """An advanced option of photos and clips alike, whose default is the preset's among ``presets``."""
    field, metavar, help = _TUNED[name]
    return preset_setting(name, field=field, help=help, metavar=metavar, panel=ADVANCED, presets=presets)


Output = Annotated[
    str | None,
    option(
        "--output",
        "-o",
        metavar="PATH",
        panel=OUTPUT,
        help="Where to write; the suffix says the format, - is a PNG to stdout. Default: in the working directory, "
        "named after picture and prompt, such as photo-crochet-swan.png.",
    ),
]
Overwrite = Annotated[bool, option("--overwrite", panel=OUTPUT, help="Replace an output that exists.")]
RunDir = Annotated[
    Path | None,
    option(
        "--run-dir",
        metavar="DIR",
        panel=OUTPUT,
        help="Keep everything of the run here: layer, alpha, composite, losses.csv, run.json, snapshots.",
    ),
]
Json = Annotated[bool, option("--json", panel=OUTPUT, help="Print one JSON object instead of the paths written.")]
Quiet = Annotated[bool, option("--quiet", "-q", panel=OUTPUT, help="No progress and no notes.")]
Verbose = Annotated[bool, option("--verbose", "-v", panel=OUTPUT, help="Show tracebacks and the libraries' warnings.")]

Roi = Annotated[
    str | None,
    option(
        "--roi", metavar="TEXT", panel=EDIT, help='What is there now ("swan"). Default: chosen by CLIP from the prompt.'
    ),
]
LayerText = Annotated[
    str | None,
    option(
        "--layer-text", metavar="TEXT", panel=EDIT, help='The edit alone ("fog" for "foggy park"). Default: the prompt.'
    ),
]
Mask = Annotated[
    Path | None,
    option("--mask", metavar="PATH", panel=EDIT, help="Keep the edit inside the white area of this picture."),
]
Config = Annotated[
    Path | None,
    option(
        "--config",
        metavar="RUN.JSON",
        panel=EDIT,
        help="Repeat the run that wrote this file; whatever else is given wins over it.",
    ),
]

FlowName = Annotated[
    str,
    option("--flow", metavar="dis|raft", panel=ATLAS, help="Optical flow of the fit: OpenCV's, or RAFT, a download."),
]
MaskClass = Annotated[
    str | None,
    option(
        "--mask-class",
        metavar="NAME",
        panel=ATLAS,
        help="For the fit: Mask R-CNN, a download, finds the objects of this COCO class, such as dog.",
    ),
]

ClipName = Annotated[
    str | None,
    setting(
        "--clip",
        metavar="NAME",
        panel=CLIP,
        help="CLIP model: any open_clip ViT, name or name:tag; mini is the small one inside the package.",
    ),
]
ClipWeights = Annotated[
    Path | None, option("--clip-weights", metavar="PATH", panel=CLIP, help="Local weights file for that model.")
]
Offline = Annotated[bool, option("--offline", panel=CLIP, help="Never touch the network.")]

PresetName = Annotated[
    str | None,
    option(
        "--preset",
        metavar="|".join(PRESETS),
        panel=RUN,
        help="standard is the paper's; draft is for a CPU or a first look; fine trains at a larger size. "
        f"Default: {DEFAULT_PRESET}.",
    ),
]
Steps = Annotated[int | None, preset_setting("--steps", field="steps", help="Optimisation steps.")]
Size = Annotated[
    int | None,
    preset_setting("--size", field="size", metavar="PX", help="Short side in training, px; the result has full size."),
]
Views = Annotated[
    int | None, preset_setting("--views", field="n_views", help="Augmented views of a picture for CLIP, a step.")
]
Tries = Annotated[
    int | None,
    preset_setting("--tries", field="tries", help="Short starts from different seeds; CLIP's favourite is continued."),
]
Seed = Annotated[
    int | None,
    setting("--seed", metavar="N", panel=RUN, help="The same seed and inputs give the same result; always reported."),
]
Device = Annotated[str | None, setting("--device", panel=RUN, metavar="auto|cpu|cuda[:N]|mps", help="Where to train.")]
Precision = Annotated[
    str | None,
    setting("--precision", panel=RUN, metavar="auto|fp32|fp16|bf16", help="CLIP's arithmetic; auto is fp32."),
]

ScreenWeight = Annotated[float | None, setting("--screen-weight", metavar="X", help="lambda_g, of L_screen.")]
StructureWeight = Annotated[float | None, tuned("--structure-weight")]
SparsityWeight = Annotated[float | None, tuned("--sparsity-weight")]
L1Weight = Annotated[float | None, setting("--l1-weight", metavar="X", help="gamma, the L1 part of L_reg.")]
BootstrapWeight = Annotated[float | None, tuned("--bootstrap-weight")]
Distance = Annotated[str | None, setting("--distance", metavar="spherical|cosine", help="D(x, y) of the text terms.")]
Lr = Annotated[float | None, tuned("--lr")]
LrDecay = Annotated[float | None, tuned("--lr-decay")]
LrMin = Annotated[float | None, setting("--lr-min", metavar="X", help="Floor of the learning rate.")]
WeightDecay = Annotated[float | None, setting("--weight-decay", metavar="X", help="MADGRAD's weight decay.")]
Momentum = Annotated[float | None, setting("--momentum", metavar="X", help="MADGRAD's momentum.")]
SourceEvery = Annotated[
    int | None, setting("--source-every", metavar="N", help="Steps between visits of the un-augmented picture.")
]
TrySteps = Annotated[int | None, tuned("--try-steps")]
SharedDraws = Annotated[bool | None, tuned("--shared-draws/--own-draws")]
