"""`t2l studio`: the page for people who prefer a page to a shell."""

from __future__ import annotations

from typing import Annotated

import typer

import t2l_cli
from t2l_cli.cli import options as o
from t2l_cli.config import DEFAULT_PRESET, PRESETS, STUDIO_ADDRESS, STUDIO_FOLDER
from t2l_cli.settings import CLIP, RUN

PAGE = "The page"
Source = Annotated[
    str | None, typer.Argument(metavar="PHOTO", help="A photo or video to begin with.", show_default=False)
]
Output = Annotated[
    str,
    o.option("--output", "-o", metavar="DIR", panel=o.OUTPUT, help="The folder of the results and their records."),
]
Address = Annotated[
    str,
    o.option(
        "--address",
        metavar="IP",
        panel=PAGE,
        help="Where to listen; what others can reach needs a password.",
    ),
]
Port = Annotated[
    int | None, o.option("--port", metavar="N", panel=PAGE, help="Default: the first free one from 7860 on.")
]
Password = Annotated[
    str | None,
    o.option(
        "--password",
        metavar="TEXT",
        panel=PAGE,
        help="Ask for it. Others on this machine can read command lines: rather set T2L_PASSWORD.",
    ),
]
Open = Annotated[bool, o.option("--open/--no-open", panel=PAGE, help="Open the page in the browser.")]
Preset = Annotated[
    str, o.option("--preset", metavar="|".join(PRESETS), panel=RUN, help="That the page has chosen at first.")
]
Clip = Annotated[
    list[str] | None,
    o.option("--clip", metavar="NAME", panel=CLIP, help="The same for the CLIP model.", autocompletion=o.clip_names),
]


def studio(
    ctx: typer.Context,
    source: Source = None,
    output: Output = STUDIO_FOLDER,
    preset: Preset = DEFAULT_PRESET,
    clip: Clip = None,
    address: Address = STUDIO_ADDRESS,
    port: Port = None,
    password: Password = None,
    open_page: Open = True,
    offline: o.Offline = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Edit on a page in the browser: t2l studio photo.jpg. It needs gradio (python -m pip install gradio).

    Load a photo or a video, say what it should show, watch the edit grow, stop, compare, keep. One training goes on at
    a time, the others wait. Ctrl-C ends the studio; what is trained then is kept as it is.
    """
    with o.terminal(ctx) as terminal:
        with terminal.patience(), t2l_cli.studio(**o.asked(ctx), reporter=terminal.reporter) as page:
            terminal.write(page.url)
            terminal.note("Ctrl-C ends the studio")
            if open_page:
                typer.launch(page.url)
            page.wait()
        terminal.end_as_told()
