"""What moves in a notebook: an output of a cell that changes in place, by no clock of its own; no widgets are needed."""

from __future__ import annotations

import io
import time
from html import escape
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import ProgressColumn, SpinnerColumn, TaskID

from whelp.base.result_repr import make_pre
from whelp.cli.screens.live_drawing import Bars

_PANEL_WIDTH = 100  # columns of text
_BARS_WIDTH = 300  # more than a line of bars has: it would be cut off, and a notebook wraps what is too long for its window
_LEAST_SECONDS = 0.5  # between two pictures


class NotebookLive:
    """Draws something as one output, which stays as it was drawn last."""

    def __init__(self, drawn: RenderableType, width: int = _PANEL_WIDTH) -> None:
        self._drawn = drawn
        self._width = width
        self._output: Any = None
        self._is_over = False
        self._last = 0.0

    def start(self) -> None:
        """Make the output."""
        self.touch()

    def touch(self) -> None:
        """What is drawn has changed: draw it, unless that was done just now; the first time, make the output."""
        now = time.monotonic()
        if self._is_over or (self._output is not None and now - self._last < _LEAST_SECONDS):
            return
        self._last = now
        if self._output is None:
            from IPython.display import display

            self._output = display(self, display_id=True)
        else:
            self._output.update(self)

    def stop(self) -> None:
        """Draw for the last time."""
        if self._output is not None and not self._is_over:
            self._output.update(self)
        self._is_over = True

    def __repr__(self) -> str:
        console = Console(file=io.StringIO(), width=self._width, force_jupyter=False, color_system=None)
        with console.capture() as capture:
            console.print(self._drawn)
        return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))

    def _repr_html_(self) -> str:
        return make_pre(escape(repr(self)))


class NotebookBars(Bars):
    """Bars, a line for each, from the first that is counted; without what would only turn."""

    def __init__(self, *columns: str | ProgressColumn, console: Console) -> None:
        still = (column for column in columns if not isinstance(column, SpinnerColumn))
        super().__init__(*still, console=console, auto_refresh=False)
        self._output = NotebookLive(self, _BARS_WIDTH)

    def start(self, *_: Any) -> None:
        """Draw nothing yet: lines that come before what is counted stand above it."""

    def refresh(self) -> None:
        """Draw nothing: that is done when a bar changes."""

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a bar, and draw all, unless that was done just now."""
        super().update(task_id, **changes)
        self._output.touch()

    def stop(self) -> None:
        """Draw for the last time."""
        self._output.stop()
