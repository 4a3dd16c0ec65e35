"""Weights on memory pages of 2 MB, where the system has them: of 4 KB ones, finding each takes longer than reading it.

A step of a large model reads all its weights, 122,000 small pages of a GPT-2, each of which the processor must look up, on a
virtual machine twice over. Linux gives large pages to whoever asks before the memory is first written (madvise(2),
MADV_HUGEPAGE), and from version 6.1 on exchanges those that are written already (MADV_COLLAPSE). Where a system does neither,
nothing changes.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable

import torch

HUGE_BYTES = 1 << 21
LEAST_BYTES = 1 << 18  # of a tensor that is worth the call
_COLLAPSE = 25  # of <linux/mman.h>, which Python does not name


def ask_for_huge_pages(tensors: Iterable[torch.Tensor]) -> None:
    """Ask for large pages under tensors that nothing was written to yet."""
    if sys.platform == "linux":
        _advise(tensors, mmap.MADV_HUGEPAGE)


def move_to_huge_pages(tensors: Iterable[torch.Tensor]) -> None:
    """Exchange the small pages under tensors for large ones, where they stay. Tensors may be in oneDNN's own order."""
    if sys.platform == "linux":
        _advise(tensors, _COLLAPSE)


def _advise(tensors: Iterable[torch.Tensor], advice: int) -> None:
    """Whole pages: one may lie under several tensors. What the system answers is of no use to anybody."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for tensor in tensors:
        place, num_bytes = _find(tensor) if tensor.device.type == "cpu" else (0, 0)
        if num_bytes >= LEAST_BYTES:
            first, last = place // HUGE_BYTES, (place + num_bytes - 1) // HUGE_BYTES
            madvise(first * HUGE_BYTES, (last - first + 1) * HUGE_BYTES, advice)


def _find(tensor: torch.Tensor) -> tuple[int, int]:
    """Where it lies, and its bytes."""
    if tensor.is_mkldnn:
        return torch.ops.mkldnn.data_ptr(tensor), torch.ops.mkldnn._nbytes(tensor)
    return tensor.data_ptr(), tensor.nbytes
