"""What a long piece of work ends with, for callers who want that and not the events on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Result = TypeVar("Result")


def run_to_end(events: Iterable[object], kind: type[Result]) -> Result:
    """Let the work behind `events` happen; the last event of this kind."""
    result = None
    try:
        for event in events:
            if isinstance(event, kind):
                result = event
    finally:  # interrupted between two events, it lets go at once of what it holds: folders, signals
        close = getattr(events, "close", None)
        if close is not None:
            close()
    assert result is not None, f"the work ends with a {kind.__name__}"
    return result
