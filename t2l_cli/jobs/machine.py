"""This machine: its processor and memory, and how much of them this process may use."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_UNLIMITED = 1 << 60  # bytes; what is above stands for "no limit" in the first version of cgroups


@dataclass(frozen=True)
class Processor:
    """The CPU."""

    model: str
    cores: int  # logical ones of the machine
    usable: int  # those that this process may run on
    quota: float | None  # cores' worth of time that its control group may use; None: all


@dataclass(frozen=True)
class Memory:
    """The main memory, in bytes."""

    total: int
    free: int  # what programs may have without others having to give up theirs
    limit: int | None  # of this process' control group; None: there is none


def processor() -> Processor:
    """The CPU of this machine."""
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return Processor(_model(), cores, usable, cpu_quota())


def memory() -> Memory:
    """The memory of this machine, now."""
    state = psutil.virtual_memory()
    return Memory(int(state.total), int(state.available), memory_limit())


def _model() -> str:
    """The name that the CPU gives itself."""
    if sys.platform == "linux":
        for line in _text(Path("/proc/cpuinfo")).splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def cpu_quota(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> float | None:
    """Cores' worth of time that this process' control groups leave it; None where none of them limits it."""
    quotas = []
    for folder in _folders(groups, own, "cpu"):
        words = _text(folder / "cpu.max").split() or [  # of the second version of cgroups; otherwise of the first
            _text(folder / "cpu.cfs_quota_us").strip(),
            _text(folder / "cpu.cfs_period_us").strip(),
        ]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):  # "max" and -1: no limit
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_limit(groups: Path = _GROUPS, own: Path = _OWN_GROUPS) -> int | None:
    """Bytes that this process' control groups leave it; None where none of them limits it."""
    limits = []
    for folder in _folders(groups, own, "memory"):
        word = (_text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")).strip()
        if word.isdigit() and int(word) < _UNLIMITED:
            limits.append(int(word))
    return min(limits, default=None)


def _folders(groups: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folders of this process' control group and of those around it, whose limits hold for it, too."""
    for line in _text(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controller if controllers else groups
        folder = root / path.strip("/")  # in a container it may be seen from outside, and not exist
        yield from (one for one in (folder, *folder.parents) if one == root or root in one.parents)


def _text(path: Path) -> str:
    """The text of a file; "" where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
