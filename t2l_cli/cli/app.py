"""The program: its commands, --version, and the last word on every failure."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import t2l_cli
from t2l_cli.cli.batch import batch
from t2l_cli.cli.command import Command
from t2l_cli.cli.composite import composite
from t2l_cli.cli.config import config
from t2l_cli.cli.doctor import Robust, doctor
from t2l_cli.cli.edit_image import edit_image
from t2l_cli.cli.edit_video import edit_video
from t2l_cli.cli.fit_atlas import fit_atlas
from t2l_cli.cli.info import info
from t2l_cli.cli.interrupt import exit_code
from t2l_cli.cli.models import models
from t2l_cli.cli.render_atlas import render_atlas
from t2l_cli.cli.report import report as report_on
from t2l_cli.cli.schema import schema
from t2l_cli.cli.studio import studio
from t2l_cli.cli.terminal import abandon_stdout, printable, report, stderr_console, unprinted


class _PlainHelp(TyperGroup):
    """The list of commands in plain text: rich, which the commands' own help is set in, takes 0.15 s to import."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"rich_markup_mode": None})


app = typer.Typer(
    name="t2l",
    cls=_PlainHelp,
    help="Edit photos and videos from text, after Text2LIVE: only an edit layer is painted, the rest stays.",
    epilog="Every option can come from an environment variable T2L_<OPTION>, or from a file (t2l config); "
    "the weights cache from T2L_CACHE_DIR.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command, summary in (
    ("edit-image", edit_image, "Edit a photo from text."),
    ("edit-video", edit_video, "Edit a video from text."),
    ("batch", batch, "Edit many photos and videos, and go on after an interruption."),
    ("fit-atlas", fit_atlas, "Take a video apart into its layers."),
    ("render-atlas", render_atlas, "Turn an atlas into pictures to look at and paint on."),
    ("composite", composite, "Lay an edit layer over a photo, or painted layers over a video."),
    ("report", report_on, "Show edits on one page that opens offline."),
    ("studio", studio, "Edit on a page in the browser."),
    ("info", info, "Show what a picture or video holds, and how t2l made it."),
    ("doctor", doctor, "Check this machine and installation, for a bug report."),
):
    paragraphs = (command.__doc__ or "").split("\n\n")  # typer keeps the line breaks within one
    text = "\n\n".join(" ".join(text.split()) for text in paragraphs)
    app.command(name, cls=Robust if command is doctor else Command, short_help=summary, help=text)(command)
app.add_typer(models, name="models")
app.add_typer(config, name="config")
app.command("schema", short_help="Print the JSON Schema of files, events and requests.")(schema)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"t2l {t2l_cli.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> int:
    """Run the command line; the exit code."""
    code = _run()
    try:
        sys.stdout.flush()
    except OSError as error:
        abandon_stdout()
        code = code or unprinted(error)
    return code


def _run() -> int:
    try:
        return int(app(standalone_mode=False, prog_name="t2l") or 0)
    except typer.Abort as error:  # a Ctrl-C before the command began, in older versions of typer
        return exit_code(error.__cause__)
    except SystemExit:  # click's and rich's word for a broken pipe
        abandon_stdout()
        return 0
    except OSError as error:  # of help and --version; the commands explain their own
        abandon_stdout()
        return unprinted(error)
    except Exception as error:
        return _usage(error) if hasattr(error, "format_message") else report(error)


def _usage(error: Exception) -> int:
    """Report a wrong command line; ``error`` is one of click's, whose home depends on typer's version."""
    console = stderr_console()
    words = error.format_message().split()  # type: ignore[attr-defined]  # asked for by the caller
    message = printable(" ".join(words))
    context = getattr(error, "ctx", None)
    if message:
        console.print("Error: ", style="bold red", end="")
        console.print(message)
    if context is not None and message:
        console.print(f"Try '{context.command_path} -h' for help.")
    return int(getattr(error, "exit_code", 2))
