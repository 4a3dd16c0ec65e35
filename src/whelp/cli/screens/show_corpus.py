"""What is in a corpus, for the terminal: on standard output, for these are results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from whelp.base.counts import say_count
from whelp.base.visible_text import cut_short
from whelp.cli.screens.result_tables import open_output, print_blocks
from whelp.cli.screens.show import megabytes, printable, sparkline

if TYPE_CHECKING:
    from whelp.cli.corpus_report import CorpusReport

_NUM_GROUPS, _NUM_LISTED, _NUM_WORDS = 15, 8, 12
_MOST_SIGNS = 60
_LEAST_TEXT = 10  # columns below which a column of text is not worth reading
_GAP = 3  # columns between two columns of a table
_WORDS_WIDTH = 76  # columns that lists of words need to stand side by side


def show_corpus_report(report: CorpusReport) -> None:
    """Print a report as tables."""
    console = open_output()
    total, source = report.total, report.source
    console.print(
        f"[bold]{escape(source['name'])}[/]: {say_count(source['num_files'], 'file')}, {megabytes(source['num_file_bytes'])}\n"
        f"{say_count(total['num_documents'], 'document')} (each a {escape(source['document'])}), {megabytes(total['num_bytes'])} of text, "
        f"{say_count(total['num_characters'], 'character')}, {say_count(total['num_words'], 'word')} "
        f"({report.words['num_distinct']:,} distinct), "
        f"{total['num_lines']:,} lines"
    )
    for title, counts in (("left out", report.skipped), ("changed on the way", report.changed)):
        if counts:
            console.print(f"{title}: {escape(', '.join(f'{reason} {count:,}' for reason, count in counts.items()))}")
    console.print()
    _print_groups(console, report)
    _print_languages(console, report.languages)
    _print_lengths(console, report.lengths)
    _print_repeats(console, report)
    _print_words(console, report)
    if report.vocabulary is not None:
        _print_vocabulary(console, report.vocabulary)
    _print_rights(console, report)
    for note in report.notes:
        console.print(f"[yellow]note[/] {escape(note)}")


def _print_groups(console: Console, report: CorpusReport) -> None:
    shown = report.groups[:_NUM_GROUPS]
    rows = (
        [
            _cut(group["name"]),
            f"{group['num_bytes'] / max(report.total['num_bytes'], 1):.1%}",
            megabytes(group["num_bytes"]),
            *(f"{group[name]:,}" for name in ("num_documents", "num_words", "num_lines")),
        ]
        for group in shown
    )
    _print_table(console, "where it is from", [report.by, "-share", "-text", "-documents", "-words", "-lines"], rows)
    if report.num_groups > len(shown):
        console.print(f"[dim]and {report.num_groups - len(shown):,} smaller ones, in --json and --html[/]\n")


def _print_languages(console: Console, languages: Sequence[dict[str, Any]] | None) -> None:
    if not languages:
        return
    rows = (
        [entry["language"], f"{entry['share']:.1%}", f"{entry['num_pieces']:,}", _cut(entry["example"])]
        for entry in languages[:_NUM_LISTED]
    )
    title = "languages, told from pieces of the text (und: cannot be told)"
    _print_table(console, title, ["language", "-share", "-pieces", "the first piece"], rows)
    if len(languages) > _NUM_LISTED:
        console.print(f"[dim]and {len(languages) - _NUM_LISTED:,} with fewer pieces[/]\n")


def _print_lengths(console: Console, lengths: dict[str, Any]) -> None:
    counts = [float(count) for _, count in lengths["histogram"]]
    quantiles = ", ".join(f"{name} {value:,}" for name, value in lengths["quantiles"].items())
    console.print(
        f"[italic]characters in a document[/]: {lengths['shortest']:,} {sparkline(counts) if len(counts) > 1 else '-'} "
        f"{lengths['longest']:,}, on average {lengths['mean']:,.0f}; so many are shorter: {quantiles}\n"
    )


def _print_repeats(console: Console, report: CorpusReport) -> None:
    duplicates, lines = report.duplicates, report.lines
    about = "" if duplicates["sampled_every"] == 1 else f", told from one in {duplicates['sampled_every']:,}"
    console.print(
        f"[italic]exact copies[/]: {duplicates['repeated_share']:.1%} of the documents, "
        f"{duplicates['repeated_bytes_share']:.1%} of their bytes{about}; {lines['repeated_share']:.1%} of the lines\n"
    )
    if duplicates["most"]:
        rows = (
            [f"{entry['count']:,}", _cut(entry["text"]), _cut(f"{entry['file']}, line {entry['line']:,}")]
            for entry in duplicates["most"][:_NUM_LISTED]
        )
        _print_table(console, "documents that are there more than once", ["-times", "document", "the first"], rows)
    rows = ([f"{entry['count']:,}", _cut(entry["text"])] for entry in lines["most"][:_NUM_LISTED])
    _print_table(console, f"most frequent lines{_missing(lines)}", ["-times", "line"], rows)


def _missing(counted: dict[str, Any]) -> str:
    return f" (counts may be too low by {counted['num_missing']:,} at most)" if counted["num_missing"] else ""


def _print_words(console: Console, report: CorpusReport) -> None:
    lists = [("words", report.words["most"])] + [(f"{one['size']} words", one["most"]) for one in report.ngrams]
    if console.width < _WORDS_WIDTH:
        for name, entries in lists:
            counted = ([_cut(entry["text"]), f"{entry['count']:,}"] for entry in entries[:_NUM_WORDS])
            _print_table(console, f"most frequent {name}", [name, "-times"], counted)
        return
    rows = [
        [
            cell
            for _, entries in lists
            for cell in ((_cut(entries[row]["text"]), f"{entries[row]['count']:,}") if row < len(entries) else ("", ""))
        ]
        for row in range(min(_NUM_WORDS, max(len(entries) for _, entries in lists)))
    ]
    heads = [head for name, _ in lists for head in (name, "-times")]
    _print_table(console, "most frequent", heads, rows)


def _print_vocabulary(console: Console, vocabulary: dict[str, Any]) -> None:
    console.print(
        f"[italic]beside[/] [bold]{escape(vocabulary['reference'])}[/]: a divergence of {vocabulary['divergence_bits']:.3f} bits "
        f"(0: the same, 1: no word in common); {vocabulary['unknown_share']:.1%} of the words are unknown there\n"
    )
    for title, name in (("more than there", "more"), ("less than there", "less")):
        rows = (
            [
                _cut(entry["text"]),
                f"{entry['per_million']:,.1f}",
                f"{entry['reference_per_million']:,.1f}",
                _write_ratio(entry["ratio"]),
            ]
            for entry in vocabulary[name][:_NUM_WORDS]
        )
        _print_table(console, title, ["word", "-per million", "-there", "-times as often"], rows)
    for title, name in (("frequent here, unknown there", "unknown"), ("frequent there, never here", "never")):
        words = ", ".join(entry["text"] for entry in vocabulary[name][: 2 * _NUM_WORDS])
        if words:
            console.print(f"[italic]{title}[/]: {escape(printable(words))}\n")
    if vocabulary["heads"]:
        heads = "; ".join(f"{one['num_never']:,} of {one['num_words']:,}" for one in vocabulary["heads"])
        console.print(f"[italic]the reference's most frequent words that never occur[/]: {heads}\n")


def _write_ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _print_rights(console: Console, report: CorpusReport) -> None:
    if report.licences["signs"]:
        rows = ([one["sign"], f"{one['num_documents']:,}", _cut(one["file"])] for one in report.licences["signs"])
        title = f"words of licences and notices; documents with any: {report.licences['num_documents']:,}"
        _print_table(console, title, ["sign", "-documents", "the first in"], rows)
    else:
        console.print("[italic]words of licences and notices[/]: none\n")
    for name, values in report.columns.items():
        rows = ([f"{entry['count']:,}", _cut(entry["text"])] for entry in values["most"][:_NUM_LISTED])
        _print_table(console, f"column {name}: {say_count(values['num_rows'], 'row')}", ["-rows", "value"], rows)


def _print_table(console: Console, title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Cells are markup; a head that begins with - is of numbers, which are never broken: where they do not fit, rows become blocks."""
    rows = list(rows)
    if not rows:
        return
    names = [head.removeprefix("-") for head in heads]
    longest = [
        max(Text.from_markup(cell).cell_len for cell in column) for column in zip(map(escape, names), *rows, strict=True)
    ]
    least = [width if head.startswith("-") else min(width, _LEAST_TEXT) for head, width in zip(heads, longest, strict=True)]
    console.print(f"[italic]{escape(title)}[/]")
    if sum(least) + _GAP * (len(least) - 1) > console.width:
        print_blocks(console, names, rows)
        console.print()
        return
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for head, name in zip(heads, names, strict=True):
        is_number = head.startswith("-")
        table.add_column(escape(name), justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        table.add_row(*row)
    console.print(table, "")


def _cut(text: str) -> str:
    """The beginning of a text on one line, as markup."""
    return escape(cut_short(printable(" ".join(text.split())), _MOST_SIGNS))
