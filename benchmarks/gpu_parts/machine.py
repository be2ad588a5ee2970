"""Where it is measured: the card, its driver, and what of t2l's needs is here."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_parts.run import Row, Task, Value

ROOT = Path(__file__).parents[2]
MODULES = {
    "open-clip-torch": "open_clip",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
}  # if not the package's name
DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def missing() -> list[str]:
    """The packages that t2l needs and that cannot be imported here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[^\w.-]", need)[0].lower().replace("_", "-") for need in project["dependencies"]]
    return [name for name in names if not _imports(MODULES.get(name, name.replace("-", "_")))]


def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except Exception:  # a package may be here and broken
        return False
    return True


def commit() -> str:
    """The revision of this code, marked where files differ from it; "unknown" where git does not know."""
    said = _answer("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    return said or "unknown"


def look(task: Task) -> Iterator[Row]:
    """Card, driver and versions, a row each."""
    import torch

    yield Row("torch", {"": torch.__version__})
    device = torch.device(task.device)
    if device.type != "cuda":
        yield Row("device", {"": f"{task.device}, {torch.get_num_threads()} threads"})
        return
    if not torch.cuda.is_available():
        raise RuntimeError("there is no CUDA here; --toy tries the command on a CPU")
    facts: dict[str, Value] = {
        "card": torch.cuda.get_device_name(device),
        "memory, GiB": round(torch.cuda.get_device_properties(device).total_memory / 2**30, 1),
        "driver": _answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0]
        or "unknown",
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        "compute capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
    }
    for name, value in facts.items():
        yield Row(name, {"": value})
    yield from _products(device)


def _products(device: Any) -> Iterator[Row]:
    """How fast large matrix products are: no training reaches more."""
    import measure
    import torch

    kinds = {"float16": torch.float16, "bfloat16": torch.bfloat16, "TF32": torch.float32, "float32": torch.float32}
    for name, dtype in kinds.items():
        with measure.products(tf32=name == "TF32"):
            rate = measure.matmul_rate(device, dtype)
        yield Row(f"products in {name}, TFLOP/s", {"": round(rate / measure.TERA, 1)})


def _answer(*command: str) -> str:
    """What ``command`` prints, "" where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
