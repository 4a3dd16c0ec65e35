"""Why a record gives no document."""

from __future__ import annotations


class LeftOut(Exception):
    """A record that is left out: `reason` in a few words, the same for all of their kind, since they are counted by it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
