"""What is asked of a device: memory, waiting, and whether an error is want of memory."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable

import pytest
import torch

from whelp.base.errors import PlanError
from whelp.train.device import (
    can_compile_for,
    count_free_memory,
    free_idle_memory,
    is_out_of_memory,
    kept_settings,
    used_memory,
    wait_for,
)

APPLE, CPU = torch.device("mps"), torch.device("cpu")


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
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (
            torch.distributed.DistBackendError("NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'"),
            True,
        ),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
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


def describe_settings() -> tuple[int, str, bytes]:
    return torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_rng_state().numpy().tobytes()


def change_settings(num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    torch.set_float32_matmul_precision("medium")
    torch.rand(num_threads)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_whichever_training_ends_last_leaves_torch_as_it_was(order: tuple[int, int]) -> None:
    """Two in one thread, one inside the other or one after the other: while one goes on, what the first found is not set."""
    before = describe_settings()
    trainings = [kept_settings(CPU), kept_settings(CPU)]
    for number, training in enumerate(trainings):
        training.__enter__()
        change_settings(2 + number)
    trainings[order[0]].__exit__(None, None, None)
    assert describe_settings()[:2] == (3, "medium")
    trainings[order[1]].__exit__(None, None, None)
    assert describe_settings() == before


def test_a_training_inside_another_takes_none_of_its_random_numbers() -> None:
    with kept_settings(CPU):
        expected = torch.get_rng_state()
        with kept_settings(CPU):
            torch.rand(5)
        assert torch.equal(torch.get_rng_state(), expected)


def in_a_thread(work: Callable[[], object]) -> object:
    """What it gives, or raises, on a thread called `other`."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except PlanError as error:
            found.append(error)

    thread = threading.Thread(target=run, name="other")
    thread.start()
    thread.join()
    return found[0]


def test_another_thread_must_wait() -> None:
    """It is told why and what to do, before anything is set; when the first has ended it may train."""

    def train() -> object:
        with kept_settings(CPU):
            return "trained"

    before = describe_settings()
    with kept_settings(CPU):
        error = in_a_thread(train)
        assert isinstance(error, PlanError)
        assert "another thread of this process (MainThread) is training, but expected one at a time" in str(error)
        assert "takes a process of its own meanwhile" in str(error)
    assert in_a_thread(train) == "trained"
    assert describe_settings() == before


def test_a_thread_that_is_gone_holds_nobody_up() -> None:
    """A generator that nobody closes may outlive its thread."""
    before = describe_settings()
    left = kept_settings(CPU)
    in_a_thread(left.__enter__)
    with kept_settings(CPU):
        change_settings(3)
    left.__exit__(None, None, None)
    assert describe_settings() == before
