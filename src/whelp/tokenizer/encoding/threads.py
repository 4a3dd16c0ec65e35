"""How many threads encode at once, and what is begun anew where a process was forked while they did."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from whelp.base.machine import count_cores


def count_threads() -> int:
    """$RAYON_NUM_THREADS, as the encoders written in Rust take it, else one for each core that this process may use."""
    asked = os.environ.get("RAYON_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else count_cores()


class Beginner(Protocol):
    """Has a lock, and what may be half written while it is held."""

    def _begin(self) -> None: ...


_BEGINNERS: weakref.WeakSet[Beginner] = weakref.WeakSet()


def begin_anew_when_forked(beginner: Beginner) -> None:
    """Let it begin now, and again in every process that is forked: the thread that held its lock is not there."""
    beginner._begin()
    _BEGINNERS.add(beginner)


def _begin_all() -> None:
    for beginner in _BEGINNERS:
        beginner._begin()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_all)
