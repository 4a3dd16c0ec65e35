"""Training rows in the terminal: as text or token by token, in colours or with marks; on standard output, for rows are results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.pager import SystemPager
from rich.table import Table
from rich.text import Text

from whelp.base.counts import say_count
from whelp.base.visible_text import make_visible
from whelp.cli.inspect import OpenedRows
from whelp.cli.row_report import Role, ShownPiece, ShownRow, ShownToken
from whelp.cli.screens.result_tables import open_output
from whelp.cli.screens.show import printable

_MOST_CELLS = 24  # of a spelled token
_STYLES: dict[Role, str] = {"trained": "green", "masked": "magenta", "opening": "bold cyan"}
_BRACKETS: dict[Role, tuple[str, str]] = {"trained": ("", ""), "masked": ("⟦", "⟧"), "opening": ("⟨", "⟩")}
_SIGNS: dict[Role, str] = {"trained": "+", "masked": "-", "opening": "^"}
_MEANINGS: dict[Role, str] = {"trained": "trained", "masked": "masked", "opening": "nothing before it here predicts it"}


def print_rows(rows: Iterable[ShownRow], opened: OpenedRows, *, as_tokens: bool = False, find: str | None = None) -> None:
    """Print rows, on a terminal with a pager where they do not fit it.

    Args:
        as_tokens: Ids and spelled tokens in columns instead of text.
        find: A text to mark where it occurs.
    """
    console = open_output()
    with _paging(console):
        draw_rows(console, rows, opened, as_tokens=as_tokens, find=find)


def draw_rows(
    console: Console, rows: Iterable[ShownRow], opened: OpenedRows, *, as_tokens: bool = False, find: str | None = None
) -> None:
    """Print rows and a legend on this console: in colours where it has them, else with marks."""
    packed, config = opened.packed, opened.config
    _print(
        console,
        Text(
            f"{opened.store.folder}, {packed.split.name}: {say_count(len(packed), 'row')} of {say_count(config.context_tokens, 'token')}, "
            f"plan {config.plan}",
            "bold",
        ),
    )
    _print(console, _make_legend(console, as_tokens))
    for row in rows:
        _print(console, Text(_title_row(row, len(packed)), "bold"))
        for piece in row.pieces:
            _print(console, Text(_title_piece(piece), "dim" if _has_colors(console) else ""))
            if as_tokens:
                console.print(_tabulate(piece, console.width))
            else:
                _print(console, _write_text(piece, find, has_marks=not _has_colors(console)))
        if row.num_padding:
            _print(console, Text(f"({say_count(row.num_padding, 'pad')})", "dim"))


@contextmanager
def _paging(console: Console) -> Iterator[None]:
    """Hold back what is printed for a pager; without a terminal print it as it comes."""
    if not console.is_terminal:
        yield
        return
    os.environ.setdefault("LESS", "-FRX")  # colours, and no pager at all for what fits the screen
    with console.pager(SystemPager(), styles=True):
        yield


def _has_colors(console: Console) -> bool:
    return console.color_system is not None and not console.no_color


def _print(console: Console, text: Text) -> None:
    """Long lines are folded on a terminal alone: elsewhere they belong to whoever reads on, whole."""
    if console.is_terminal:
        console.print(text, overflow="fold")
    else:
        console.print(text, soft_wrap=True)  # with an overflow of one's own it would cut them


def _make_legend(console: Console, as_tokens: bool) -> Text:
    legend = Text()
    for role, meaning in _MEANINGS.items():
        before, after = _BRACKETS[role] if not _has_colors(console) else ("", "")
        sign = f"{_SIGNS[role]} " if as_tokens else ""
        legend.append(f"{sign}{before if not as_tokens else ''}{meaning}{after if not as_tokens else ''}", _STYLES[role])
        legend.append("   ")
    return legend.append("→ predicted, but not in this row", "dim")


def _title_row(row: ShownRow, num_rows: int) -> str:
    counts = {
        "trained": row.num_trained,
        "masked": row.num_masked,
        "without a target": row.num_without_target,
        "padding": row.num_padding,
    }
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count or name == "trained")
    origin = "" if row.source is None else f" ({row.source})"
    return f"\n=== row {row.row} of {num_rows:,}{origin}: {say_count(row.num_positions, 'position')}, {said}"


def _title_piece(piece: ShownPiece) -> str:
    """Where a piece is from, and which part of its document it is."""
    stop = piece.start + piece.length
    is_whole = piece.length == piece.document_tokens
    part = "all" if is_whole else f"tokens {piece.start:,} to {stop - 1:,} of"
    place = f"{printable(piece.file)}, line {piece.line:,}"
    return f"--- document {piece.document:,}: {place} ({part} {piece.document_tokens:,}{' tokens' * is_whole})"


def _write_text(piece: ShownPiece, find: str | None, *, has_marks: bool) -> Text:
    text = Text()
    for role, runs in groupby(piece.runs, key=lambda run: run.role):
        before, after = _BRACKETS[role] if has_marks else ("", "")
        text.append(before + printable("".join(run.text for run in runs)) + after, _STYLES[role])
    if find is not None:
        text.highlight_words([find], "reverse")
    if piece.next is not None:
        before, after = _BRACKETS[piece.next.role] if has_marks else ("", "")
        text.append(" → ", "dim").append(f"{before}{make_visible(piece.next.spelled)}{after}", _STYLES[piece.next.role])
    return text


def _tabulate(piece: ShownPiece, width: int) -> Table:
    """Position, id, sign and spelling of each token, downwards in as many columns as there is room for."""
    tokens = [token for run in piece.runs for token in run.tokens]
    lines = [_spell(token, "") for token in tokens]
    if piece.next is not None:
        lines.append(_spell(piece.next, "→"))
    widths = [max(cell_len(line[column]) for line in lines) for column in range(3)]
    num_columns = max(1, min(width // (sum(widths) + 5), -(-len(lines) // 8)))
    height = -(-len(lines) // num_columns)
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0), pad_edge=False)
    for _ in range(num_columns):
        table.add_column(no_wrap=True)
    cells = [
        Text().append(f"{place:>{widths[0]}} {number:>{widths[1]}} ", "dim").append(sign_and_piece, style)
        for place, number, sign_and_piece, style in lines
    ]
    for row in range(height):
        table.add_row(*(cells[place] if (place := row + column * height) < len(cells) else "" for column in range(num_columns)))
    return table


def _spell(token: ShownToken, place: str) -> tuple[str, str, str, str]:
    spelled = make_visible(token.spelled)
    if cell_len(spelled) > _MOST_CELLS:
        spelled = set_cell_size(spelled, _MOST_CELLS - 1).rstrip() + "…"
    return place or str(token.position), str(token.id), f"{_SIGNS[token.role]} {spelled}", _STYLES[token.role]
