"""What this machine has, and what of it this process holds."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any


def count_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_own_bytes() -> int | None:
    """The memory that only this process holds: pages of mapped files, which the system takes back when it likes, are left out.

    None where the system does not say (it is Linux that does).
    """
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except OSError:
        return None
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def return_freed_memory() -> None:
    """Give back to the system what the C library keeps of freed memory (glibc; others are not asked): a few milliseconds."""
    trim = _find_in_c_library("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))


def keep_freed_memory() -> None:
    """Ask the C library to keep freed blocks instead of returning them (Linux): no page faults in every step of training."""
    _set_memory_option(-3, 1 << 30)  # from which size on a block is mapped by itself
    _set_memory_option(-1, (1 << 31) - 1)  # from which size on freed memory is returned


def share_heaps(num_heaps: int) -> None:
    """Have threads share so many heaps from now on (glibc; it makes up to eight a core): what one has freed another takes."""
    _set_memory_option(-8, num_heaps)


def _set_memory_option(option: int, value: int) -> None:
    """One of the options in glibc's malloc.h."""
    change = _find_in_c_library("mallopt")
    if change is not None:
        change(option, value)


def _find_in_c_library(name: str) -> Any:
    """A function of the C library, or None: only glibc's is as these expect."""
    if sys.platform != "linux":
        return None
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
