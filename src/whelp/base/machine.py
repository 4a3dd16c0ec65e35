"""What this machine has, and what of it this process holds."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path
from typing import Any


def count_cores() -> int:
    """Cores this process may use."""
    return len(find_cores())


def find_cores() -> list[int]:
    """The numbers of the cores this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def count_free_bytes() -> int:
    """Memory there is room in, on this machine and within what a cluster or a container allows; 0 when the system does not say."""
    if sys.platform == "win32":
        return _count_free_bytes_of_windows()
    if sys.platform == "darwin":
        return _count_free_bytes_of_macos()
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0
    return min([free, *find_allowances()])


def _count_free_bytes_of_windows() -> int:
    """`ullAvailPhys` of `GlobalMemoryStatusEx`: the third of the eight-byte numbers after two of four bytes."""
    status = (ctypes.c_ulonglong * 8)(64)  # its first number is the length of all
    try:
        is_known = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined, unused-ignore]
    except (AttributeError, OSError):
        return 0
    return int(status[2]) if is_known else 0


def _count_free_bytes_of_macos() -> int:
    """What `vm_stat` counts as free, or as given back when asked for."""
    import subprocess  # which takes its time, and is for this system alone

    try:
        said = subprocess.run(["vm_stat"], capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    size = re.search(r"page size of (\d+) bytes", said)
    pages = re.findall(r"^Pages (?:free|inactive|speculative):\s+(\d+)", said, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size else 0


def find_allowances(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """What is left of each limit on the memory of this process's control groups (Linux): its own, and those around it."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    left = []
    for number, controllers, name in lines:
        if number == "0":
            root, files = groups, ("memory.max", "memory.current", "inactive_file", "active_file")
        elif controllers == "memory":  # version 1
            root = groups / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file")
        else:
            continue
        group = root / name.lstrip("/")
        left += [_find_allowance(place, *files) for place in (group, *group.parents) if place.is_relative_to(root)]
    return [count for count in left if count is not None]


def _find_allowance(group: Path, limit_name: str, used_name: str, *kept: str) -> int | None:
    """What is left of one limit; what is kept of files that were read counts as used, and goes when room is needed."""
    try:
        limit, used = (group / limit_name).read_text().strip(), int((group / used_name).read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, int(limit) - used + sum(int(counts.get(name, 0)) for name in kept)) if limit.isdigit() else None
    except (OSError, ValueError):
        return None


def count_own_bytes() -> int | None:
    """The memory that only this process holds: pages of mapped files, which the system takes back when it likes, are left out.

    None where the system does not say (it is Linux that does).
    """
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except OSError:
        return None
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def count_peak_bytes() -> int:
    """The most memory that this process has held so far; 0 when the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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
