"""What a file that gives no document says."""

from __future__ import annotations


class Unreadable(Exception):
    """A file that is left out: `kind` to count by, `reason` for people."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason
