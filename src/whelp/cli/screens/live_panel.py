"""The lines that move while a run goes on: a bar and facts, in as many lines as the terminal's width asks for."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.text import Text

from whelp.cli.screens.live_drawing import Panel

_BAR_WIDTH = 24
_INDENT = 11  # as that of all that is said of a run
_GAP = "  "


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
