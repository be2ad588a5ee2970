"""`t2l fit-atlas`: a raw video to an atlas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import t2l_cli
from t2l_cli.cli import options as o
from t2l_cli.config import DEFAULT_PRESET, FIT_PRESETS
from t2l_cli.settings import FIT

Video = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file or a folder of frames.")]
Mask = Annotated[
    Path | None,
    o.option(
        "--mask",
        metavar="PATH",
        help="The object in white: a video, a folder, or one picture for the frame that --mask-frame names. "
        "Default: what moves.",
    ),
]
MaskFrame = Annotated[
    int | None,
    o.option("--mask-frame", metavar="N", help="Frame of a single mask picture. Default: the first of --frames."),
]
Preset = Annotated[
    str,
    o.option("--preset", metavar="|".join(FIT_PRESETS), help="draft is for a CPU.", autocompletion=o.preset_names),
]
Threads = Annotated[int | None, o.option("--threads", metavar="N", help="CPU threads. Default: all cores.")]
RunDir = Annotated[
    Path | None,
    o.option("--run-dir", metavar="DIR", help="Keep previews here: mask, flow, rebuilt frames, run.json."),
]
Resume = Annotated[
    bool, o.option("--resume", help="Go on with a fit of this command that was interrupted (ATLAS.resume).")
]
Frames = Annotated[str | None, o.option("--frames", metavar="A:B", help="Only these frames, from 0, without B.")]


@o.with_settings(FIT)
def fit_atlas(
    ctx: typer.Context,
    source: Video,
    output: Annotated[Path, o.option("--output", "-o", metavar="ATLAS", help="The atlas folder to write.")],
    frames: Frames = None,
    mask: Mask = None,
    mask_frame: MaskFrame = None,
    preset: Preset = DEFAULT_PRESET,
    threads: Threads = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    offline: o.Offline = False,
    overwrite: o.Overwrite = False,
    as_json: o.Json = False,
    events: o.Events = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    **settings: Any,
) -> None:
    """Take a video apart into foreground, background and opacity: t2l fit-atlas video.mp4 -o atlas.

    No masks, no flow files, no checkpoint needed. Ctrl-C keeps the atlas as far as it is fitted, and --resume goes on.
    """
    with o.terminal(ctx) as terminal:
        terminal.result(t2l_cli.fit_atlas(**o.asked(ctx), reporter=terminal.reporter).write())
