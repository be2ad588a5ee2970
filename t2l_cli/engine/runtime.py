"""Where and how to compute: the one place that decides device, precision, memory format and compilation."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from t2l_cli.config import DeviceName, Precision
from t2l_cli.errors import DeviceMemoryError, RequestError

_HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}
BUCKET = 64  # px: sides of a compiled generator's pictures are whole multiples, so that few graphs serve all steps

Compiler = str | Callable[..., Any]
"""A backend of torch.compile by name, or itself; "" for none."""


@dataclass(frozen=True)
class Runtime:
    """A device and how to use it.

    dtype: CLIP's computing type: float32 (on CUDA with TF32 in matrix products), float16 or bfloat16. The generator and
        the losses stay in float32: BatchNorm over one picture and a sigmoid that saturates want its range.
    memory_format: of the generator. Measured: channels_last pays on CUDA's tensor cores; on a CPU its weight gradients
        are 4 times slower, a whole step 1.3 times.
    check_every: steps between looks at a loss value; reading one makes an accelerator wait.
    compiler: what compiles the generator and CLIP's image tower. None by default: not measured on a GPU yet.
    """

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    check_every: int
    compiler: Compiler = ""

    @property
    def memory(self) -> int:
        """Bytes of memory that the device has in all."""
        if self.device.type == "cuda":
            return int(torch.cuda.get_device_properties(self.device).total_memory)
        return int(psutil.virtual_memory().total)

    @property
    def multiple(self) -> int:
        """What the sides of the generator's pictures are multiples of, px: compiled graphs are made for a size."""
        return BUCKET if self.compiler else 1

    def formatted(self, picture: Tensor) -> Tensor:
        """``picture`` in the memory format that the generator takes."""
        return picture.contiguous(memory_format=self.memory_format)

    def compile(self, *modules: nn.Module) -> None:
        """Have ``modules`` compiled when they are called next, where this runtime compiles."""
        if self.compiler:
            for module in modules:
                module.compile(backend=self.compiler)


def resolve(device: DeviceName = "auto", precision: Precision = "auto", compiler: Compiler = "") -> Runtime:
    """Choose the device ("auto": cuda, else mps, else cpu) and its precision.

    float32 unless asked otherwise, on CUDA with TF32. float16 halves CLIP's memory. Of L_dir, which compares two nearly
    equal embeddings, its gradient has a cosine of 0.94 with float32's at an opacity of 0.005, and of 0.99 from 0.02 on;
    bfloat16's, with 8 bits, only of 0.56 and 0.88. A CPU always computes in float32. ``compiler`` is for CUDA alone:
    elsewhere compiling takes longer than it saves.
    Raises RequestError for a device or precision that this machine does not have.
    """
    chosen = _device(device)
    if precision in _HALF and chosen.type != "cuda":
        raise RequestError(f"--precision {precision} needs a CUDA GPU; {chosen} computes in fp32.")
    if precision == "bf16" and not torch.cuda.is_bf16_supported():
        raise RequestError("this GPU has no bfloat16; use --precision fp32 or fp16.")
    if chosen.type != "cuda":
        return Runtime(chosen, torch.float32, torch.contiguous_format, check_every=1 if chosen.type == "cpu" else 10)
    torch.set_float32_matmul_precision("high")  # TF32 in matrix products; cuDNN's convolutions have it by default
    return Runtime(chosen, _HALF.get(precision, torch.float32), torch.channels_last, 10, compiler)


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


def bring(x: Tensor, device: torch.device) -> Tensor:
    """``x`` from the CPU on ``device``, without waiting for what the device is at: by way of pinned memory on CUDA."""
    if device.type == "cuda" and x.device.type == "cpu":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def ran_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` says that the device's memory, or this machine's, is too short."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def stop_compiling(error: Exception) -> str | None:
    """If ``error`` came from compiling, run what is compiled as it is written from now on, and say so; else None."""
    if "torch._dynamo.exc" not in sys.modules:
        return None
    from torch._dynamo.exc import TorchDynamoException

    if not isinstance(error, TorchDynamoException):
        return None
    torch.compiler.set_stance("force_eager")
    return f"torch.compile failed ({type(error).__name__}): going on without it"


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block torch computes on ``count`` threads of the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def memory_guard(device: torch.device) -> Iterator[None]:
    """Turn an accelerator's out-of-memory error into DeviceMemoryError: how much there was, what to turn."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"{device} ran out of memory{_memory(device)}.\n"
            "Try a smaller --size, fewer --views, --preset draft, whichever this command has, or --device cpu."
        ) from error


def _memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f" ({torch.cuda.get_device_name(device)}: {total / 2**30:.1f} GiB in all, {free / 2**30:.1f} GiB free)"
