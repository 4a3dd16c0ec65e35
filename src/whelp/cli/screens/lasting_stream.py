"""Standard error that outlives its reader: a terminal that was closed, a pipe that nobody reads, a log on a full disk.

Training goes on without it, and so does saving what was asked for: what it would have said is in the run folder.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO, cast


class LastingStream:
    """A text stream that turns silent, once and for all, when it can no longer be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or do nothing."""
        try:
            return self._stream.write(text)
        except OSError:
            self._turn_silent()
            return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        try:
            self._stream.flush()
        except OSError:
            self._turn_silent()

    def _turn_silent(self) -> None:
        """Let the descriptor lead nowhere: libraries write to it, too, and what is buffered must go somewhere at the end."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()


def keep_standard_error() -> None:
    """From here on, nothing that is only said to people can end this process."""
    if sys.stderr is not None and not isinstance(sys.stderr, LastingStream):
        sys.stderr = cast("TextIO", LastingStream(sys.stderr))
