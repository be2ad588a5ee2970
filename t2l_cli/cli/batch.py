"""`t2l batch`: many edits, with one record of what is done."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import t2l_cli
from t2l_cli.cli import options as o
from t2l_cli.cli.terminal import Terminal, printable
from t2l_cli.settings import EDIT, PHOTO

if TYPE_CHECKING:
    from t2l_cli.jobs.batch.plan import Decision, Planned

JOBS, MANY = "Jobs", "Several workers or machines"

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PHOTO_OR_FOLDER",
        help="Photos, folders of photos, and patterns such as 'in/*.jpg'.",
        show_default=False,
    ),
]
Prompt = Annotated[
    list[str] | None,
    o.option(
        "--prompt",
        "-p",
        metavar="TEXT",
        panel=EDIT,
        help="What each photo should show; several describe one and the same edit.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    o.option("--output", "-o", metavar="DIR", panel=o.OUTPUT, help="The folder of the results and of results.jsonl."),
]
Name = Annotated[
    str | None,
    o.option(
        "--name",
        metavar="TEMPLATE",
        panel=o.OUTPUT,
        help="Of the outputs: {stem} {prompt} {seed} {preset} {command} {i}, and a suffix. Names that would be "
        "the same get a word more. Default: {stem}-{prompt}.png.",
    ),
]
RunDir = Annotated[
    Path | None,
    o.option("--run-dir", metavar="DIR", panel=o.OUTPUT, help="Keep everything of each job, in a folder here."),
]
Overwrite = Annotated[
    bool, o.option("--overwrite", panel=o.OUTPUT, help="Replace outputs that exist, and do jobs again that changed.")
]
DryRun = Annotated[bool, o.option("--dry-run", panel=JOBS, help="Only print the jobs.")]
Manifest = Annotated[
    Path | None,
    o.option(
        "--jobs",
        metavar="FILE",
        panel=JOBS,
        help="A manifest, .jsonl, .csv or .toml: a row is a job, its columns are source, prompt, output, command "
        "(edit-image or edit-video) and the options of that command.",
    ),
]
Recursive = Annotated[bool, o.option("--recursive", panel=JOBS, help="Also the folders in a folder.")]
EachPrompt = Annotated[bool, o.option("--each-prompt", panel=JOBS, help="A job of its own for each prompt.")]
KeepGoing = Annotated[
    bool, o.option("--keep-going", panel=JOBS, help="Leave wrong rows out; without it, one wrong row stops all.")
]
FailFast = Annotated[bool, o.option("--fail-fast", panel=JOBS, help="End with the first job that fails.")]
Watch = Annotated[
    bool, o.option("--watch", panel=JOBS, help="Go on with photos that come into the folders, until Ctrl-C.")
]
Workers = Annotated[
    int | None,
    o.option("--workers", metavar="N", panel=MANY, help="Processes that work at once; several need the package ray."),
]
Ray = Annotated[
    str | None,
    o.option(
        "--ray",
        metavar="ADDRESS",
        panel=MANY,
        help="Work on a Ray cluster: its address, auto (RAY_ADDRESS, or the one at hand), or local (of this machine).",
    ),
]
Gpus = Annotated[
    float | None,
    o.option("--gpus-per-worker", metavar="X", panel=MANY, help="A part, such as 0.25, lets workers share a GPU."),
]
Cpus = Annotated[float | None, o.option("--cpus-per-worker", metavar="X", panel=MANY, help="Cores that Ray reserves.")]
Threads = Annotated[
    int | None,
    o.option(
        "--threads",
        metavar="N",
        panel=MANY,
        help="Of the CPU, per worker; the same number gives the same pictures. Default: cores / workers.",
    ),
]
Ship = Annotated[
    bool, o.option("--ship", panel=MANY, help="Send sources and results through Ray, where no storage is shared.")
]
ShardOf = Annotated[
    str | None,
    o.option(
        "--shard",
        metavar="I/N",
        panel=MANY,
        help="Only the I-th of N shares of the jobs, into results-I.jsonl; auto: of a SLURM or AWS Batch array job.",
    ),
]
Merge = Annotated[bool, o.option("--merge", panel=MANY, help="Join the shards' results in DIR into results.jsonl.")]


@o.with_settings(PHOTO)
def batch(
    ctx: typer.Context,
    sources: Sources = None,
    prompt: Prompt = None,
    output: Output = None,
    name: Name = None,
    overwrite: Overwrite = False,
    run_dir: RunDir = None,
    as_json: o.Json = False,
    events: o.Events = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    jobs: Manifest = None,
    recursive: Recursive = False,
    each_prompt: EachPrompt = False,
    keep_going: KeepGoing = False,
    fail_fast: FailFast = False,
    watch: Watch = False,
    dry_run: DryRun = False,
    workers: Workers = None,
    ray: Ray = None,
    gpus_per_worker: Gpus = None,
    cpus_per_worker: Cpus = None,
    threads: Threads = None,
    ship: Ship = False,
    shard: ShardOf = None,
    merge: Merge = False,
    mask: o.Mask = None,
    config: o.Config = None,
    preset: o.PresetName = None,
    clip_weights: o.ClipWeights = None,
    offline: o.Offline = False,
    **settings: Any,
) -> None:
    """Edit many photos: t2l batch photos/ --prompt "snowy street" -o out.

    CLIP is loaded once. DIR/results.jsonl is the record of what is done: the same command, run again, goes on where it
    was ended, tries failed jobs again, and does nothing twice. A failure does not stop the other jobs; exit 1 then.
    """
    with o.terminal(ctx) as terminal:
        asked = {key: value for key, value in o.asked(ctx).items() if key not in ("dry_run", "merge")}
        source = ctx.get_parameter_source("prompt")
        if source is not None and source.name == "ENVIRONMENT":  # which typer splits at blanks
            asked["prompt"] = os.environ["T2L_PROMPT"]
        if merge:
            from t2l_cli.jobs.job import Result

            file, number = t2l_cli.merge_batch(output or "")
            terminal.result(Result("done", (file,), {"jobs": number}))
            return
        work = t2l_cli.batch(**asked, reporter=terminal.reporter)
        if dry_run:
            _print_jobs(terminal, work.preview(), work.folder)
            return
        result = work.run(None if as_json else lambda entry: terminal.paths(work.paths(entry), {}))
        if as_json:
            terminal.write(json.dumps(result.record))
        terminal.ended(result)


def _print_jobs(terminal: Terminal, jobs: Sequence[tuple[Planned, Decision]], folder: Path) -> None:
    """One line for each job: what would be done, the output, the source and the prompts."""
    rows = [
        {
            "state": decision.state,
            "output": str(folder / job.name),
            "source": job.row.source,
            "prompts": job.row.prompts,
        }
        for job, decision in jobs
    ]
    if terminal.as_json:
        terminal.write(json.dumps({"jobs": rows}))
        return
    for row in rows:
        words = (row["state"], row["output"], row["source"], *row["prompts"])
        terminal.write("\t".join(printable(str(word)) for word in words))
