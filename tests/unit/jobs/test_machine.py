"""What control groups leave to a process, as Linux tells it in files."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from t2l_cli.jobs.machine import cpu_quota, memory, memory_limit, processor


def written(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A tree of control groups with ``files``, and the file that says which of them is the process' own."""
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return folder / "groups", folder / "own"


@pytest.mark.parametrize(
    ("own", "files", "cpu", "ram"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        ("0::/\n", {"cpu.max": "150000 100000\n", "memory.max": "2147483648\n"}, 1.5, 2 << 30),
        # The limits of the group around count, too, the lowest of all.
        (
            "0::/a/b\n",
            {"a/memory.max": "1000\n", "a/b/memory.max": "5000\n", "a/b/cpu.max": "max 1\n"},
            None,
            1000,
        ),
        # A container whose group is named as it is seen from outside.
        ("0::/outside/it\n", {"memory.max": "7000\n", "cpu.max": "50000 100000\n"}, 0.5, 7000),
        # The first version: a tree for each controller, and a huge number where there is no limit.
        (
            "5:memory:/a\n4:cpu,cpuacct:/a\n0::/\n",
            {
                "memory/a/memory.limit_in_bytes": "4096\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "cpu/a/cpu.cfs_quota_us": "-1\n",
                "cpu/a/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.cfs_quota_us": "200000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            2.0,
            4096,
        ),
        ("", {}, None, None),
        ("nonsense\n::\n", {"cpu.max": "a b\n", "memory.max": "-5\n"}, None, None),
    ],
)
def test_the_limits_of_control_groups(
    own: str, files: dict[str, str], cpu: float | None, ram: int | None, tmp_path: Path
) -> None:
    places = written(tmp_path, own, files)
    assert cpu_quota(*places) == cpu
    assert memory_limit(*places) == ram


def test_the_machine_has_a_processor_and_memory() -> None:
    cpu, ram = processor(), memory()
    assert cpu.model
    assert 1 <= cpu.usable <= cpu.cores
    assert ram.total == psutil.virtual_memory().total
    assert 0 < ram.free <= ram.total
