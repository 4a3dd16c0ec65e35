"""Why a file, or a record of an archive, gives no document."""

from __future__ import annotations


class LeftOut(Exception):
    """Something that is left out.

    Attributes:
        kind: A few words that are the same for all of its kind: what tables count by.
        reason: For people, where there is more to say of this one; else the kind.
    """

    def __init__(self, kind: str, reason: str | None = None) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason or kind
