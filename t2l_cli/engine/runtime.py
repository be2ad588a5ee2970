"""Where and how precisely to compute: the one place that decides device, precision and memory format."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from t2l_cli.config import DeviceName, Precision
from t2l_cli.errors import DeviceMemoryError, RequestError


@dataclass(frozen=True)
class Runtime:
    """A device and how to use it.

    dtype: CLIP's computing type, bfloat16 (autocast) or float32. The generator and the losses stay in float32
        (TF32 in CUDA's convolutions).
    memory_format: of the generator. Measured: channels_last pays on CUDA's tensor cores; on a CPU its weight gradients
        are 4 times slower, a whole step 1.3 times.
    check_every: steps between looks at a loss value; reading one makes an accelerator wait.
    """

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    check_every: int


def resolve(device: DeviceName = "auto", precision: Precision = "auto") -> Runtime:
    """Choose the device ("auto": cuda, else mps, else cpu) and its precision.

    A CPU always computes in float32. CUDA uses TF32, and bfloat16 for CLIP where the GPU has it.
    Raises RequestError for a device or precision that this machine does not have.
    """
    chosen = _device(device)
    if precision == "bf16" and (chosen.type != "cuda" or not torch.cuda.is_bf16_supported()):
        raise RequestError(f"--precision bf16 needs a CUDA GPU with bfloat16, {chosen} computes in fp32.")
    if chosen.type != "cuda":
        return Runtime(chosen, torch.float32, torch.contiguous_format, check_every=1 if chosen.type == "cpu" else 10)
    torch.set_float32_matmul_precision("high")  # TF32 in matrix products; cuDNN's convolutions have it by default
    bf16 = precision == "bf16" or (precision == "auto" and torch.cuda.is_bf16_supported(including_emulation=False))
    return Runtime(chosen, torch.bfloat16 if bf16 else torch.float32, torch.channels_last, check_every=10)


def _device(name: DeviceName) -> torch.device:
    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(found)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RequestError(f"there is no device {name!r}; use auto, cpu, cuda, cuda:N or mps.") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise RequestError(f"t2l does not compute on {name!r}; use auto, cpu, cuda, cuda:N or mps.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RequestError("mps is not available here: it needs macOS on Apple silicon. Use --device cpu.")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise RequestError("cuda is not available: no NVIDIA GPU, driver or CUDA PyTorch. Use --device cpu.")
        if (device.index or 0) >= torch.cuda.device_count():
            raise RequestError(f"{name} does not exist: this machine has {torch.cuda.device_count()} CUDA GPU(s).")
    return device


@contextlib.contextmanager
def memory_guard(device: torch.device) -> Iterator[None]:
    """Turn an accelerator's out-of-memory error into DeviceMemoryError: how much there was, what to turn."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"{device} ran out of memory{_memory(device)}.\nTry a smaller --size, fewer --views or --preset draft."
        ) from error


def _memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f" ({torch.cuda.get_device_name(device)}: {total / 2**30:.1f} GiB in all, {free / 2**30:.1f} GiB free)"
