"""One HTML file about training rows: what all of them come to, then row by row, token by token."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from whelp.base.counts import say_count
from whelp.base.visible_text import make_visible
from whelp.report._fates import FATES_STYLE, draw_fates, draw_shares
from whelp.report._page import NUM_COLORS, draw_values, make_page, write_number

Report = Mapping[str, Any]

_BAR_WIDTH, _BAR_HEIGHT, _BARS_TOP, _BARS_FOOT = 44, 120, 18, 34
_CLASSES = {"trained": "t", "masked": "m", "opening": "o"}
_STYLE = """
h2 { margin: 2.2rem 0 .5rem; } h3 { margin: 2rem 0 .3rem; } h3 + p { margin: 0; }
.text { font: .92em/1.75 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0 .9rem; }
.text span { border-radius: .2em; padding: .08em 0; }
.text span:hover { outline: 2px solid; }
.piece { border-left: 4px solid; padding-left: .7rem; margin-top: .7rem; }
.legend { position: sticky; top: 0; background: Canvas; padding: .4rem 0 .1rem; z-index: 1; }
.bar { fill: var(--c0); }
@media (max-width: 40rem) { .text { font-size: .85em; } }
"""


def make_rows_report(report: Report) -> str:
    """Draw rows as they are trained.

    Args:
        report: Plain values: `summary` of `whelp.cli.row_report.RowsSummary`, `rows` of its `ShownRow`.
    """
    summary = report["summary"]
    body = [
        _draw_summary(summary),
        f"<h2>Where the tokens go</h2>{draw_fates(summary['ledger'])}",
        _draw_lengths(summary["lengths"], summary["split"]),
        "<h2>Rows</h2><p>Opens: nothing before it in this row predicts it. → predicted, but not in this row. ⏎ is a line end. "
        "Rest on a token for its id, its place in the row and its mask.</p>",
        '<div class="legend"><span class="key t">trained</span><span class="key m">masked</span><span class="key o">opens</span>'
        '<span class="key p">padding</span></div>',
        *(_draw_row(row, summary["ledger"]["rows"]) for row in report["rows"]),
    ]
    return make_page(f"Rows of {summary['store']}, {summary['split']}", "".join(body), FATES_STYLE + _STYLE)


def _draw_summary(summary: Report) -> str:
    ledger = summary["ledger"]
    return draw_values(
        {
            "plan": f"{summary['plan']}, {say_count(summary['context_tokens'], 'token')} a row",
            "rows": ledger["rows"],
            "tokens": ledger["tokens"],
            "documents": f"{ledger['documents']:,}, {ledger['cut_documents']:,} of them not whole in one row",
            "files": summary["num_files"],
            "vocabulary": summary["vocabulary"],
        }
    )


def _draw_lengths(lengths: Sequence[tuple[int, int, int]], split: str) -> str:
    """A bar for each doubling of the length."""
    if not lengths:
        return ""
    most = max(count for _, _, count in lengths)
    width, height = len(lengths) * _BAR_WIDTH, _BARS_TOP + _BAR_HEIGHT + _BARS_FOOT
    bars = ""
    for number, (low, high, count) in enumerate(lengths):
        tall = count / most * _BAR_HEIGHT
        left, top, middle = number * _BAR_WIDTH, _BARS_TOP + _BAR_HEIGHT - tall, (number + 0.5) * _BAR_WIDTH
        bars += (
            f'<rect class="bar" x="{left + 4}" y="{top:.1f}" width="{_BAR_WIDTH - 8}" height="{tall:.1f}" rx="2">'
            f"<title>{say_count(count, 'document')} of {low:,} to {say_count(high, 'token')}</title></rect>"
            f'<text x="{middle}" y="{top - 4:.1f}" text-anchor="middle">{_shorten(count)}</text>'
            f'<text x="{middle}" y="{_BARS_TOP + _BAR_HEIGHT + 16}" text-anchor="middle">{_shorten(low)}</text>'
        )
    title = f"Documents of {html.escape(split)} by their tokens; each bar begins at the number below it"
    return (
        f'<h2>How long documents are</h2><figure><figcaption>{title}</figcaption><svg viewBox="0 0 {width} {height}" '
        f'width="{width}" role="img" aria-label="{title}">{bars}</svg></figure>'
    )


def _shorten(count: int) -> str:
    """1234 -> '1.2k'"""
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.2g}{unit}" if count < 10 * size else f"{count / size:.0f}{unit}"
    return str(count)


def _draw_row(row: Report, num_rows: int) -> str:
    counts = [
        ("trained", "t", row["num_trained"]),
        ("masked", "m", row["num_masked"]),
        ("without a target", "o", row["num_without_target"]),
        ("padding", "p", row["num_padding"]),
    ]
    said = ", ".join(f"{count:,} {name}" for name, _, count in counts if count or name == "trained")
    origin = f" ({html.escape(row['source'])})" if row.get("source") else ""
    bar = draw_shares((style, count / row["num_positions"], name) for name, style, count in counts)
    pieces = "".join(_draw_piece(piece, number) for number, piece in enumerate(row["pieces"]))
    pads = f'<p><span class="key p">{say_count(row["num_padding"], "pad")}</span></p>' if row["num_padding"] else ""
    return (
        f'<h3 id="row-{row["row"]}">Row {row["row"]:,} of {num_rows:,}{origin}</h3>'
        f'<p class="dim">{say_count(row["num_positions"], "position")}: {said}</p>{bar}{pieces}{pads}'
    )


def _draw_piece(piece: Report, number: int) -> str:
    """The tokens of one document, below where they are from."""
    stop = piece["start"] + piece["length"]
    is_whole = piece["length"] == piece["document_tokens"]
    part = "all" if is_whole else f"tokens {piece['start']:,} to {stop - 1:,} of"
    place = f"<b>{html.escape(make_visible(piece['file']).replace('␣', ' '))}</b>, line {piece['line']:,}"
    text = "".join(_draw_run(run, piece) for run in piece["runs"])
    following = piece["next"]
    if following is not None:
        title = f"id {following['id']}, predicted from position {following['position'] - 1}, {following['role']}"
        text += (
            f' <span class="dim">→</span> <span class="{_CLASSES[following["role"]]}" title="{title}">'
            f"{html.escape(make_visible(following['spelled']))}</span>"
        )
    return (
        f'<div class="piece" style="border-color:var(--c{number % NUM_COLORS})"><div>{place} <span class="dim">'
        f"document {piece['document']:,}, {part} {write_number(piece['document_tokens'])} tokens</span></div>"
        f'<div class="text" dir="auto">{text}</div></div>'
    )


def _draw_run(run: Report, piece: Report) -> str:
    """The text of some tokens that make whole characters; what each of them is shows when the pointer rests on it."""
    title = "\n".join(
        f"{make_visible(token['spelled'])}  id {token['id']}, position {token['position']}, {token['role']}"
        for token in run["tokens"]
    )
    return f'<span class="{_CLASSES[run["role"]]}" title="{html.escape(title)}">{html.escape(_show(run["text"]))}</span>'


def _show(text: str) -> str:
    """Text with its line ends as signs, too, and what cannot be seen made visible; spaces and tabs stay."""
    return "".join("⏎\n" if sign == "\n" else sign if sign in " \t" else make_visible(sign) for sign in text)
