"""Files that grow, stopped on their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from whelp.artifacts.growing_file import GrowingFile

Result = TypeVar("Result")
_MOST_STOPS = 1000


def finish_with_stops(make: Callable[[], Result], monkeypatch: pytest.MonkeyPatch, *, every: int) -> tuple[Result, int]:
    """Call until it is done what Ctrl-C ends at every so many writes, each of them saved; the result, and how often it was stopped."""
    monkeypatch.setattr("whelp.artifacts.growing_file._SAVE_SECONDS", 0.0)
    add, count = GrowingFile.add, 0

    def add_some(self: GrowingFile, data: bytes, progress: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if count % every == 0:
            raise KeyboardInterrupt
        add(self, data, progress)

    monkeypatch.setattr(GrowingFile, "add", add_some)
    for num_stops in range(_MOST_STOPS):
        try:
            return make(), num_stops
        except KeyboardInterrupt:
            continue
    raise AssertionError(f"it is not done after {_MOST_STOPS} stops")
