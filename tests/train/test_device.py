"""What is asked of a device: memory, waiting, and whether an error is want of memory."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from whelp.train.device import (
    can_compile_for,
    count_free_memory,
    free_idle_memory,
    is_out_of_memory,
    used_memory,
    wait_for,
)

APPLE = torch.device("mps")


def test_apples_gpu_is_asked_by_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free is what the system recommends less what is taken; waiting and letting go are its own calls."""
    called: list[str] = []
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 << 30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 5 << 30)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: called.append("synchronize"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: called.append("empty_cache"))
    assert (count_free_memory(APPLE), used_memory(APPLE)) == (7 << 30, 5 << 30)
    wait_for(APPLE)
    free_idle_memory(APPLE)
    assert called == ["synchronize", "empty_cache"]


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (RuntimeError("MPS backend out of memory (MPS allocated: 12.74 GB, other allocations: 4.39 GB)"), True),
        (RuntimeError("Invalid buffer size: 19.45 GB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:115] DefaultCPUAllocator: not enough memory: you tried"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("Expected all tensors to be on the same device"), False),
        (ValueError("MPS backend out of memory"), False),
    ],
)
def test_want_of_memory(error: BaseException, is_memory: bool) -> None:
    """PyTorch has one class for it, and says it in other words of other devices."""
    assert is_out_of_memory(error) == is_memory


def test_compiling_for_a_gpu_takes_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch for Windows comes without it; other devices have other compilers."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [can_compile_for(torch.device(kind)) for kind in ("cpu", "cuda", "mps")] == [True, False, True]
