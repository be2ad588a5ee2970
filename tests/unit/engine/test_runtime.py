"""Device and precision: what a machine without an accelerator must answer."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from t2l_cli.config import AugmentConfig
from t2l_cli.engine import augment
from t2l_cli.engine.runtime import Runtime, resolve
from t2l_cli.errors import RequestError


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_a_cpu_computes_in_float32(precision: str) -> None:
    runtime = resolve("cpu", precision)
    assert (runtime.device.type, runtime.dtype, runtime.check_every) == ("cpu", torch.float32, 1)


def test_auto_without_accelerator_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve().device.type == "cpu"
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(RequestError, match="--device cpu"):
            resolve(device)


@pytest.mark.parametrize("device", ["gpu", "", "meta", "cuda:x"])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(RequestError, match="auto, cpu"):
        resolve(device)


def test_bf16_on_a_cpu_is_refused() -> None:
    with pytest.raises(RequestError, match="bf16"):
        resolve("cpu", "bf16")


def test_on_cuda_sizes_are_rounded_so_that_convolutions_are_planned_once() -> None:
    cuda = Runtime(torch.device("cuda"), torch.float32, torch.channels_last, 10)
    random = torch.Generator().manual_seed(0)
    draws = [augment.draw(AugmentConfig(), (512, 683), random, cuda.multiple) for _ in range(1000)]
    assert len({d.size for d in draws}) < 60  # without: 984
    assert max(abs(d.size[1] * d.height / (d.size[0] * d.width) - 1) for d in draws) < 0.08  # hardly stretched


def test_cuda_computes_in_float32_with_tf32_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    before = torch.get_float32_matmul_precision()
    try:
        for device in ("auto", "cuda", "cuda:0"):
            assert (resolve(device).device.type, resolve(device).dtype) == ("cuda", torch.float32)
        assert torch.get_float32_matmul_precision() == "high"
        assert resolve("cuda", "fp16").dtype == torch.float16
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.backends.cudnn.allow_tf32


def test_a_container_has_no_more_memory_than_it_may_use() -> None:
    cpu = resolve("cpu")
    assert dataclasses.replace(cpu, limit=2**20).memory == 2**20
    assert dataclasses.replace(cpu, limit=2**60).memory == cpu.memory < 2**60


def test_compilation_is_for_cuda_alone() -> None:
    runtime = resolve("cpu", compiler="inductor")
    assert (runtime.compiler, runtime.multiple) == ("", 1)
