"""What a long piece of work ends with, for callers who want that and not the events on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Result = TypeVar("Result")


def run_to_end(events: Iterable[object], kind: type[Result]) -> Result:
    """Let the work behind `events` happen; the last event of this kind."""
    result = None
    for event in events:
        if isinstance(event, kind):
            result = event
    assert result is not None, f"the work ends with a {kind.__name__}"
    return result
