"""A checkpoint that is being written: by a thread while training goes on, or at once."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint_parts import finish_parts, unfinished_folder
from whelp.base.errors import LostProcessError

if TYPE_CHECKING:
    from whelp.train.process_group import ProcessGroup


class Writing:
    """The work of this process on a checkpoint. It owns what it writes: training may change the weights meanwhile."""

    def __init__(
        self, step: int, path: Path, write: Callable[[], None] | None, counts: dict[str, Any], *, in_background: bool
    ) -> None:
        """Begin; without a thread, end as well. What goes wrong is raised by `wait`.

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
            self._run()

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


def finish_together(writing: Writing, processes: ProcessGroup) -> None:
    """Declare a divided checkpoint whole once all processes have written their parts; if one could not, leave nothing of it."""
    problem: Exception | None = None
    try:
        writing.wait()
    except Exception as error:
        problem = error
    is_whole = not any(processes.largest([problem is not None]))
    try:
        if is_whole and processes.is_first:
            finish_parts(writing.path, writing.counts)
    finally:
        if processes.is_first:
            shutil.rmtree(unfinished_folder(writing.path), ignore_errors=True)  # nothing, where it is whole
    if problem is not None:
        raise problem
    if not is_whole:
        found = "another process could not write its part of a checkpoint"
        raise LostProcessError(f"process {processes.rank + 1} of {processes.size}", found, "", "See what that one said.")
