"""`t2l edit-video`: one edit of a video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import t2l_cli
from t2l_cli.cli import options as o
from t2l_cli.config import (
    CODECS,
    DEFAULT_CODEC,
    DEFAULT_LAYER,
    DEFAULT_PRESET,
    EDIT_FIT_PRESET,
    FIT_PRESETS,
    LAYERS,
    RESOLUTION,
    VIDEO_PRESETS,
)
from t2l_cli.settings import ATLAS, FIT, RUN, VIDEO

Video = Annotated[
    str | None, typer.Argument(metavar="VIDEO", help="A video file or a folder of frames.", show_default=False)
]
Prompts = Annotated[
    list[str] | None,
    typer.Argument(metavar="PROMPT", help="What the layer should show; several describe one edit.", show_default=False),
]
Output = Annotated[
    str | None,
    o.option(
        "--output",
        "-o",
        metavar="PATH",
        panel=o.OUTPUT,
        help="Where to write: .mp4 .mkv .mov, or a name without suffix for a folder of PNG frames. "
        "Default: in the working directory, named after video and prompt.",
    ),
]
Codec = Annotated[
    str,
    o.option(
        "--codec",
        metavar="|".join(CODECS),
        panel=o.OUTPUT,
        help="prores writes the edit alone, with its alpha, to .mov.",
    ),
]
AtlasPath = Annotated[
    Path | None,
    o.option(
        "--atlas",
        metavar="ATLAS",
        panel=ATLAS,
        help="Atlas folder or published checkpoint. Default: one is fitted, and kept in the cache for the next run.",
    ),
]
Layer = Annotated[
    str | None,
    o.option("--layer", metavar="|".join(LAYERS), panel=ATLAS, help=f"What to edit. Default: {DEFAULT_LAYER}."),
]
Foreground = Annotated[
    str | None, o.option("--foreground", metavar="PROMPT", panel=ATLAS, help="What the foreground should show.")
]
Background = Annotated[
    str | None, o.option("--background", metavar="PROMPT", panel=ATLAS, help="What the background should show.")
]
Frames = Annotated[
    str | None, o.option("--frames", metavar="A:B", panel=ATLAS, help="Only these frames, from 0, without B.")
]
Resolution = Annotated[
    int | None,
    o.option(
        "--resolution",
        metavar="N",
        panel=ATLAS,
        help=f"Texels across the unit square of the checkpoint that --atlas names. Default: {RESOLUTION}.",
    ),
]
FitPreset = Annotated[
    str | None,
    o.option(
        "--fit-preset",
        metavar="|".join(FIT_PRESETS),
        panel=ATLAS,
        help=f"Choose how well the atlas is fitted, where no --atlas is given. Default: {EDIT_FIT_PRESET}.",
    ),
]
Mask = Annotated[
    Path | None,
    o.option("--mask", metavar="PATH", panel=ATLAS, help="For the fit: the object in white, in the first frame."),
]
PresetName = Annotated[
    str | None,
    o.option(
        "--preset",
        metavar="|".join(VIDEO_PRESETS),
        panel=RUN,
        help=f"standard is the paper's; draft is for a CPU or a first look. Default: {DEFAULT_PRESET}.",
        autocompletion=o.preset_names,
    ),
]


@o.with_settings(VIDEO, FIT.only("flow", "mask_class"))
def edit_video(
    ctx: typer.Context,
    source: Video = None,
    prompts: Prompts = None,
    output: Output = None,
    codec: Codec = DEFAULT_CODEC,
    overwrite: o.Overwrite = False,
    run_dir: o.RunDir = None,
    metadata: o.Metadata = True,
    as_json: o.Json = False,
    events: o.Events = None,
    preview: o.Preview = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    atlas: AtlasPath = None,
    layer: Layer = None,
    foreground: Foreground = None,
    background: Background = None,
    frames: Frames = None,
    resolution: Resolution = None,
    fit_preset: FitPreset = None,
    mask: Mask = None,
    config: o.Config = None,
    preset: PresetName = None,
    clip_weights: o.ClipWeights = None,
    offline: o.Offline = False,
    **settings: Any,
) -> None:
    """Edit a video from text: t2l edit-video video.mp4 "rusty car".

    The edit is painted once, on the video's atlas, and sticks to things as they move. The painted layer is written
    beside the video, to go on with in an image editor (t2l composite). Ctrl-C keeps the result so far.
    """
    with o.terminal(ctx) as terminal:
        terminal.result(t2l_cli.edit_video(**o.asked(ctx), reporter=terminal.reporter).write())
