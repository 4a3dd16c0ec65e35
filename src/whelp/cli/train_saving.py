"""A checkpoint that is being written: by a thread while training goes on, or at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Writing:
    """The work of this process on a checkpoint. It owns what it writes: training may change the weights meanwhile."""

    def __init__(
        self, step: int, path: Path, write: Callable[[], None] | None, counts: dict[str, Any], *, in_background: bool
    ) -> None:
        """Begin; without a thread, end as well.

        Args:
            write: What this process writes; None: nothing.
            counts: For the manifest, where that is written once all have written.
        """
        self.step, self.path, self.counts = step, path, counts
        self._write = write
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        if write is not None and in_background:
            self._thread = threading.Thread(target=self._run, name=f"write {path.name}", daemon=True)
            self._thread.start()
        elif write is not None:
            write()

    def _run(self) -> None:
        assert self._write is not None, "there is something to write"
        try:
            self._write()
        except BaseException as error:
            self._error = error
        self._write = None  # and the copies that it holds

    @property
    def is_going(self) -> bool:
        """Whether this process still writes."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Wait until it is written; raises what went wrong."""
        self.abandon()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Wait until the thread has ended, whatever it ended in."""
        if self._thread is not None:
            self._thread.join()
