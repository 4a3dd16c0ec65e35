"""The lines that move while a run goes on: a bar and facts, in as many lines as the terminal's width asks for."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from html import escape
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.text import Text

from whelp.cli.screens.live_drawing import Panel

_BAR_WIDTH = 24
_INDENT = 11  # as that of all that is said of a run
_GAP = "  "
_NOTEBOOK_WIDTH = 100  # columns of text
_NOTEBOOK_SECONDS = 0.5  # between two pictures in a notebook


class LivePanel:
    """A title, a bar, and facts. No fact is cut off or broken in two while it is narrower than the terminal."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.share_done = 0.0
        self.facts: Sequence[str] = ("starting",)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bar = Text()
        for segment in console.render(ProgressBar(total=1.0, completed=self.share_done, width=_BAR_WIDTH), options):
            bar.append(segment.text, segment.style)
        bar.append(f" {self.share_done:4.0%}")
        line = Text.assemble((self.title.ljust(_INDENT), "bold"), bar)
        for fact in self.facts:
            if line.cell_len + len(_GAP) + cell_len(fact) <= options.max_width:
                line.append(_GAP + fact)
            else:
                yield line
                line = Text(" " * _INDENT + fact, overflow="fold")
        yield line


class TerminalLive(Panel):
    """Draws a panel on a terminal, by a clock of its own."""

    def touch(self) -> None:
        """The panel has changed: it will be drawn."""


class NotebookLive:
    """Draws a panel as one output of a notebook's cell, which changes in place; no widgets are needed."""

    def __init__(self, panel: LivePanel) -> None:
        self._panel = panel
        self._output: Any = None
        self._drawn = 0.0

    def start(self) -> None:
        """Make the output."""
        from IPython.display import display

        self._output = display(self, display_id=True)

    def touch(self) -> None:
        """The panel has changed: draw it, unless it was drawn just now."""
        now = time.monotonic()
        if self._output is not None and now - self._drawn >= _NOTEBOOK_SECONDS:
            self._drawn = now
            self._output.update(self)

    def stop(self) -> None:
        """Draw for the last time; what is drawn stays."""
        if self._output is not None:
            self._output.update(self)
            self._output = None

    def __repr__(self) -> str:
        console = Console(file=io.StringIO(), width=_NOTEBOOK_WIDTH, force_jupyter=False, color_system=None)
        with console.capture() as capture:
            console.print(self._panel)
        return capture.get().rstrip("\n")

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"
