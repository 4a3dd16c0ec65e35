"""Waiting until something is so: no longer than it takes, and as long as a machine may take that is slow and busy."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 120.0  # nothing in these tests takes longer, on the slowest machine


def wait_until(is_so: Callable[[], object], *, every_seconds: float = 0.005) -> None:
    """Look again and again; fail when it never comes to be so."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(every_seconds)
