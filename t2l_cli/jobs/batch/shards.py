"""Shards: the same batch on several machines that know nothing of each other, and the joining of their results."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2l_cli.errors import RequestError
from t2l_cli.jobs.batch.results import known_entries, locked, results_file, shard_files
from t2l_cli.media.atomic import write_atomically
from t2l_cli.media.paths import shown
from t2l_cli.media.records import plain

AUTO = "auto"
MOST_SHARDS = 1_000_000


@dataclass(frozen=True)
class Shard:
    """The share ``i`` (from 1) of ``n``."""

    i: int
    n: int

    def holds(self, name: str) -> bool:
        """Whether the job ``name`` is in this share; each job is in exactly one, on every machine in the same."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8]) % self.n == self.i - 1


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard "I/N", or "auto": that of a SLURM or AWS Batch array job. RequestError for anything else."""
    if text == AUTO:
        return _from_array_job(environment)
    found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text)
    shard = Shard(int(found[1]), int(found[2])) if found else Shard(0, 0)
    if not 1 <= shard.i <= shard.n <= MOST_SHARDS:
        raise RequestError(f"--shard must be I/N with I from 1 to N, or auto, not {shown(text)}.")
    return shard


def _from_array_job(environment: Mapping[str, str]) -> Shard:
    try:
        if "SLURM_ARRAY_TASK_ID" in environment:
            first, step = (int(environment.get(f"SLURM_ARRAY_TASK_{name}", "1")) for name in ("MIN", "STEP"))
            number = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // max(step, 1) + 1
            return parse_shard(f"{number}/{int(environment['SLURM_ARRAY_TASK_COUNT'])}")
        if "AWS_BATCH_JOB_ARRAY_INDEX" in environment:
            number = int(environment["AWS_BATCH_JOB_ARRAY_INDEX"]) + 1
            return parse_shard(f"{number}/{int(environment['AWS_BATCH_JOB_ARRAY_SIZE'])}")
    except (KeyError, ValueError) as error:
        raise RequestError(f"--shard auto: the array job's variables are not complete: {error}.") from error
    raise RequestError("--shard auto needs the variables of a SLURM or AWS Batch array job; give --shard I/N.")


def merge_results(folder: str | Path) -> tuple[Path, int]:
    """Join the shards' results in ``folder`` into results.jsonl, the last line of each job; the file, and its lines.

    RequestError where a shard is still at work. Joining again changes nothing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RequestError(f"there is no folder {shown(folder)} to merge.")
    whole, shards = results_file(folder), shard_files(folder)
    if not shards and not whole.exists():
        raise RequestError(f"{shown(folder)} holds no results of a batch.")
    with contextlib.ExitStack() as locks:
        for path in (whole, *shards):
            locks.enter_context(locked(path))
        entries = known_entries(folder)
        ordered = [dataclasses.asdict(entries[name]) for name in sorted(entries)]
        write_atomically(whole, b"".join(json.dumps(plain(entry)).encode() + b"\n" for entry in ordered), True)
        for path in shards:
            path.unlink()
    for path in shards:
        path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
    return whole, len(entries)
