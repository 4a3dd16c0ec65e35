"""What a long piece of work ends with, where the events on the way are only told, or not wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_to_end(events: Iterable[object], kind: type[Result], tell: Callable[[Any], object] = lambda event: None) -> Result:
    """Let the work behind `events` happen; the last event of this kind. `tell` is called with each of them as it comes.

    >>> run_to_end(["begun", 1, 2], int, print)
    begun
    1
    2
    2
    """
    result = None
    for event in events:
        tell(event)
        if isinstance(event, kind):
            result = event
    assert result is not None, f"the work ends with a {kind.__name__}"
    return result
