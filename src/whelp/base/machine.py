"""What this machine has, and what of it this process holds."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path


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
    if sys.platform == "linux":
        try:
            trim = ctypes.CDLL(None).malloc_trim
        except (OSError, AttributeError):
            return  # another C library
        trim(ctypes.c_size_t(0))
