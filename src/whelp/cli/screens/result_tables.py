"""Results as tables on standard output: as wide as the terminal, and never folded where a file or a program reads."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from typing import TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from whelp.base.result_repr import make_pre

_FILE_WIDTH = 140  # columns where no terminal says how many it has
_GAP = 2


Result = TypeVar("Result")
_recorded: ContextVar[Console | None] = ContextVar("recorded", default=None)


def open_output(file_width: int = _FILE_WIDTH) -> Console:
    """Standard output, for results."""
    width = None if sys.stdout.isatty() else file_width
    return _recorded.get() or Console(file=sys.stdout, highlight=False, emoji=False, width=width)


def make_html(show: Callable[[Result], None], result: Result) -> str:
    """What `show` prints of a result with `open_output`, as a piece of HTML for a notebook."""
    console = Console(file=io.StringIO(), record=True, highlight=False, emoji=False, width=_FILE_WIDTH, force_jupyter=False)
    before = _recorded.set(console)
    try:
        show(result)
    finally:
        _recorded.reset(before)
    return console.export_html(inline_styles=True, code_format=make_pre("{code}", wraps=False))


def print_records(
    output: Console, columns: Sequence[str], records: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> None:
    """A line for each record; where lines do not fit, a block for each, headed by its first cell: no cell is ever broken.

    Args:
        right: Columns of numbers, whose last digits stand below each other.
    """
    widths = [max(map(cell_len, cells)) for cells in zip(columns, *records, strict=True)]
    if sum(widths) + _GAP * (len(widths) - 1) <= output.width:
        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
        for column in columns:
            table.add_column(column, no_wrap=True, justify="right" if column in right else "left")
        for record in records:
            table.add_row(*map(escape, record))
        output.print(table)
        return
    print_blocks(output, columns, [[escape(cell) for cell in record] for record in records])


def print_blocks(output: Console, columns: Sequence[str], records: Sequence[Sequence[str]]) -> None:
    """A block for each record, headed by its first cell; cells are markup."""
    longest = max(map(cell_len, columns[1:]))
    for first, *others in records:
        output.print(f"[bold]{first}[/]", soft_wrap=True)
        for column, cell in zip(columns[1:], others, strict=True):
            output.print(f"  {column:<{longest}}  {cell}", soft_wrap=True)
