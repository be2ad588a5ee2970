"""The one place that decides device, precision, memory format and compilation."""

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
# px: sides of the generator's pictures are multiples of these, so that few sizes come again and again. When compiled,
# each size is a graph. On CUDA cuDNN plans each convolution anew for each size, in about 2 ms: 70 % of the time of a
# photo's step on an H100, before sizes were rounded (docs/performance.md).
BUCKET, PLANNED = 64, 32

# torch's words where it raises a plain RuntimeError: on a CPU, and on mps.
_OUT_OF_MEMORY = ("can't allocate memory", "MPS backend out of memory")

Compiler = str | Callable[..., Any]
"""A backend of torch.compile: its name, or the function itself; "" for none."""


@dataclass(frozen=True)
class Runtime:
    """A device and how to use it.

    dtype: in which CLIP computes: float32 (on CUDA with TF32 in matrix products), float16 or bfloat16. The generator
        and the losses stay in float32: BatchNorm over one picture and a saturating sigmoid need its range.
    memory_format: of the generator. Measured: channels_last is faster on CUDA's tensor cores; on a CPU it makes weight
        gradients 4 times slower and a whole step 1.3 times.
    check_every: steps between two checks of the loss; reading it makes an accelerator wait.
    compiler: the backend that compiles the generator and CLIP's image tower. By default nothing is compiled: that has
        not been measured on a GPU yet.
    limit: bytes of main memory that this process may use, as in a container; None: all of it.
    """

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    check_every: int
    compiler: Compiler = ""
    limit: int | None = None

    @property
    def memory(self) -> int:
        """Memory of the device that this process may use, in bytes."""
        if self.device.type == "cuda":
            return int(torch.cuda.get_device_properties(self.device).total_memory)
        total = int(psutil.virtual_memory().total)
        return total if self.limit is None else min(total, self.limit)

    @property
    def multiple(self) -> int:
        """The sides of the generator's pictures are multiples of this, px."""
        return BUCKET if self.compiler else PLANNED if self.device.type == "cuda" else 1

    def formatted(self, picture: Tensor) -> Tensor:
        """``picture`` in the generator's memory format."""
        return picture.contiguous(memory_format=self.memory_format)

    def compile(self, *modules: nn.Module) -> None:
        """If this runtime compiles, have ``modules`` compiled at their next call."""
        if self.compiler:
            for module in modules:
                module.compile(backend=self.compiler)


def resolve(device: DeviceName = "auto", precision: Precision = "auto", compiler: Compiler = "") -> Runtime:
    """Choose the device ("auto": cuda, else mps, else cpu) and its precision.

    The default is float32, on CUDA with TF32. float16 halves CLIP's memory. L_dir compares two nearly equal embeddings,
    so precision matters most there: the cosine between its gradients in float16 and in float32 is 0.94 at an opacity of
    0.005, and 0.99 from 0.02 on; in bfloat16, with 8 bits, it is only 0.56 and 0.88 (computed on a CPU; an H100 gave
    0.9998 and more for both). A CPU always computes in float32.
    ``compiler`` applies to CUDA only: elsewhere compiling takes longer than it saves.
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
    """``x`` copied from the CPU to ``device`` without waiting for the device's work: on CUDA through pinned memory."""
    if device.type == "cuda" and x.device.type == "cpu":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def ran_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` says that the device, or this machine, ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def stop_compiling(error: Exception) -> str | None:
    """If ``error`` came from compiling, run everything uncompiled from now on and return a note; otherwise None."""
    if "torch._dynamo.exc" not in sys.modules:
        return None
    from torch._dynamo.exc import TorchDynamoException

    if not isinstance(error, TorchDynamoException):
        return None
    torch.compiler.set_stance("force_eager")
    return f"torch.compile failed ({type(error).__name__}): going on without it"


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the context, torch uses ``count`` CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def memory_guard(device: torch.device) -> Iterator[None]:
    """Turn torch's errors of memory that ran out into DeviceMemoryError, which says how much there is and what to
    change."""
    try:
        yield
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        raise DeviceMemoryError(
            f"{device} ran out of memory{_memory(device)}.\n"
            "Try a smaller --size, fewer --views, --preset draft, whichever this command has, or --device cpu."
        ) from error


def _memory(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f" ({torch.cuda.get_device_name(device)}: {total / 2**30:.1f} GiB in all, {free / 2**30:.1f} GiB free)"
