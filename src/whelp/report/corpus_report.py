"""One HTML file about a corpus: how much it is, of what, what repeats in it, and how its words differ from others'."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from whelp.base.counts import say_count
from whelp.report._page import Series, draw_chart, draw_table, make_page, write_number, write_share

Report = Mapping[str, Any]

_MOST_GROUPS, _MOST_LISTED, _MOST_LANGUAGES = 100, 25, 30
_LONG = 24  # characters of a text that may be broken into lines
_STYLE = """
.columns { display: flex; flex-wrap: wrap; gap: 0 2.5rem; align-items: flex-start; } .columns > div { max-width: 100%; }
th { font-weight: 600; }
tr:hover td { background: #8881; }
.bar { height: .6rem; min-width: 1px; border-radius: .2rem; background: var(--c0); } .bars { width: 10rem; }
.text { white-space: pre-wrap; max-width: 42rem; } .long { display: block; min-width: 14rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) { .bars { width: 3rem; } }
.note { border-left: .25rem solid var(--c1); padding-left: .7rem; }
"""


def make_corpus_report(report: Report) -> str:
    """Draw what is in a corpus.

    Args:
        report: Plain values of `whelp.cli.corpus_report.CorpusReport`.
    """
    body = [
        _draw_head(report),
        "<h2>Where it is from</h2>" + _draw_groups(report),
        _draw_languages(report["languages"]),
        "<h2>How long documents are</h2>" + _draw_lengths(report["lengths"]),
        "<h2>What repeats</h2>" + _draw_duplicates(report["duplicates"]) + _draw_lines(report["lines"]),
        "<h2>Words</h2>" + _draw_words(report),
        _draw_vocabulary(report["vocabulary"]),
        "<h2>Rights and origins</h2>" + _draw_licences(report["licences"]) + _draw_columns(report["columns"]),
    ]
    return make_page(f"Corpus: {report['source']['name']}", "".join(body), _STYLE)


def _draw_head(report: Report) -> str:
    source, total = report["source"], report["total"]
    rows = [
        ("documents", total["num_documents"]),
        ("bytes of text (UTF-8)", total["num_bytes"]),
        ("characters", total["num_characters"]),
        ("words", total["num_words"]),
        ("distinct words", report["words"]["num_distinct"]),
        ("lines that are not blank", total["num_lines"]),
        ("files", source["num_files"]),
        ("bytes on disk", source["num_file_bytes"]),
    ]
    facts = draw_table(["", "-"], ([name, write_number(value)] for name, value in rows))
    splits = ", ".join(f"{name} {count:,}" for name, count in source["splits"].items())
    text = f"<p>A document is a {html.escape(source['document'])}. Documents in each split: {html.escape(splits)}.</p>"
    for title, counts in (("Left out", report["skipped"]), ("Changed on the way", report["changed"])):
        if counts:
            listed = "; ".join(f"{html.escape(reason)}: {count:,}" for reason, count in counts.items())
            text += f"<p>{title}: {listed}.</p>"
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in report["notes"])
    return facts + text + notes


def _draw_groups(report: Report) -> str:
    groups, total = report["groups"], max(report["total"]["num_bytes"], 1)
    shown = groups[:_MOST_GROUPS]
    rows = (
        [
            _text(group["name"]),
            _bar(group["num_bytes"] / total),
            write_share(group["num_bytes"] / total),
            *(write_number(group[name]) for name in ("num_bytes", "num_documents", "num_words", "num_lines")),
        ]
        for group in shown
    )
    num_more = report["num_groups"] - len(shown)
    more = f'<p class="dim">and {num_more:,} smaller ones</p>' if num_more else ""
    return draw_table([html.escape(report["by"]), "", "-share", "-bytes", "-documents", "-words", "-lines"], rows) + more


def _draw_languages(languages: Sequence[Report] | None) -> str:
    if languages is None:
        return ""
    rows = (
        [
            html.escape(entry["language"]),
            _bar(entry["share"]),
            f"{entry['share']:.1%}",
            write_number(entry["num_pieces"]),
            _text(entry["example"]),
        ]
        for entry in languages[:_MOST_LANGUAGES]
    )
    pieces = sum(entry["num_pieces"] for entry in languages)
    return (
        f"<h2>Languages</h2><p>Told from {pieces:,} pieces of 400 bytes, evenly spread over the text. und: cannot be told, as of "
        "code, tables and names. A language with a few pieces may be a mistake: look at its example.</p>"
        + draw_table(["language", "", "-share", "-pieces", "the first piece"], rows)
    )


def _draw_lengths(lengths: Report) -> str:
    histogram = lengths["histogram"]
    most = max((count for _, count in histogram), default=1)
    rows = ([f"{low:,} - {2 * low - 1:,}", _bar(count / most), write_number(count)] for low, count in histogram)
    quantiles = ", ".join(f"{name} than {value:,}" for name, value in lengths["quantiles"].items())
    return (
        f"<p>In characters: from {lengths['shortest']:,} to {lengths['longest']:,}, on average {lengths['mean']:,.0f}. "
        f"So many are shorter (within 9 %): {quantiles}.</p>" + draw_table(["-characters", "", "-documents"], rows)
    )


def _draw_duplicates(duplicates: Report) -> str:
    rows = (
        [write_number(entry["count"]), _text(entry["text"]), html.escape(f"{entry['file']}, line {entry['line']:,}")]
        for entry in duplicates["most"][:_MOST_LISTED]
    )
    return (
        f"<h3>Documents</h3><p>{duplicates['repeated_share']:.1%} of the documents, {duplicates['repeated_bytes_share']:.1%} of "
        f"the bytes, are an exact copy of one before: {duplicates['num_distinct']:,} of {duplicates['num_all']:,} are distinct"
        f"{_about(duplicates)}.</p>" + draw_table(["-times", "document", "the first"], rows)
    )


def _draw_lines(lines: Report) -> str:
    rows = ([write_number(entry["count"]), _text(entry["text"])] for entry in lines["most"][:_MOST_LISTED])
    return (
        f"<h3>Lines</h3><p>{lines['repeated_share']:.1%} of {lines['num_all']:,} lines are an exact copy of one before"
        f"{_about(lines)}. {_missing(lines)}</p>" + draw_table(["-times", "line"], rows)
    )


def _about(counted: Report) -> str:
    return "" if counted["sampled_every"] == 1 else f" (told from one in {counted['sampled_every']:,})"


def _missing(counted: Report) -> str:
    missing = counted["num_missing"]
    return f"Counts may be too low by {missing:,} at most." if missing else ""


def _draw_words(report: Report) -> str:
    lists = [("words", report["words"]["most"], "")]
    lists += [(f"{one['size']} words", one["most"], _missing(one)) for one in report["ngrams"]]
    columns = "".join(
        "<div>"
        + draw_table(
            ["-times", html.escape(name)],
            ([write_number(entry["count"]), _text(entry["text"])] for entry in entries[:_MOST_LISTED]),
        )
        + (f'<p class="dim">{note}</p>' if note else "")
        + "</div>"
        for name, entries, note in lists
        if entries
    )
    other = report["words"]["num_other"]
    curve = Series(points=report["words"]["rank_frequency"])
    chart = draw_chart("Occurrences of a word, by its rank", [curve], x_name="rank", log_x=True, log_y=True)
    return (
        "<p>A word is a run of letters, marks, digits and apostrophes, in lower case. In writing without spaces it goes from "
        "sign to sign. Runs of words reach over punctuation"
        + (f"; {other:,} occurrences are of words that found no room in the table" if other else "")
        + f'.</p><div class="columns">{columns}</div>{chart}'
    )


def _draw_vocabulary(vocabulary: Report | None) -> str:
    if vocabulary is None:
        return ""
    heads = "; ".join(
        f"{one['num_never']:,} of the {one['num_words']:,} most frequent ({one['num_never'] / one['num_words']:.0%})"
        for one in vocabulary["heads"]
    )
    columns: list[tuple[str, Callable[[Report], str]]] = [
        ("word", lambda entry: _text(entry["text"])),
        ("-per million", lambda entry: write_number(entry["per_million"])),
        ("-there", lambda entry: write_number(entry["reference_per_million"])),
        ("-times as often", lambda entry: "" if entry["ratio"] is None else write_number(entry["ratio"])),
    ]
    lists = ""
    for title, name in (("More than there", "more"), ("Less than there", "less"), ("Not there at all", "unknown")):
        if vocabulary[name]:
            rows = ([write(entry) for _, write in columns] for entry in vocabulary[name][:_MOST_LISTED])
            lists += f"<div><h3>{title}</h3>{draw_table([name for name, _ in columns], rows)}</div>"
    never = ", ".join(html.escape(entry["text"]) for entry in vocabulary["never"])
    dots = Series(points=[(there, here) for here, there in vocabulary["common"]], has_dots=True)
    chart = draw_chart(
        "Each dot a word: occurrences per million, here and there", [dots], x_name="there", log_x=True, log_y=True
    )
    return (
        f"<h2>Beside {html.escape(vocabulary['reference'])}</h2>"
        f"<p>The reference has {say_count(vocabulary['num_reference_words'], 'word')}. {vocabulary['unknown_share']:.1%} of the words here are "
        f"not among them. The divergence is {vocabulary['divergence_bits']:.3f} bits (Jensen-Shannon: 0 for equal frequencies, 1 "
        f"where no word is shared). Listed first is what is most surprising, given the reference.</p>{chart}"
        f'<div class="columns">{lists}</div>'
        + (f"<h3>Never here</h3><p>Of the reference's words: {heads}.</p>" if heads else "")
        + (f'<p class="text">The most frequent of them: {never}.</p>' if never else "")
    )


def _draw_licences(licences: Report) -> str:
    if not licences["signs"]:
        return "<p>No document has one of the words that licences and notices are known by.</p>"
    rows = ([html.escape(one["sign"]), write_number(one["num_documents"]), _text(one["file"])] for one in licences["signs"])
    return (
        f"<p>Documents with words that licences and notices are known by: {licences['num_documents']:,}. That is a hint where to "
        "read, and no legal advice.</p>" + draw_table(["sign", "-documents", "the first in"], rows)
    )


def _draw_columns(columns: Mapping[str, Report]) -> str:
    drawn = ""
    for name, values in columns.items():
        rows = ([write_number(entry["count"]), _text(entry["text"])] for entry in values["most"][:_MOST_LISTED])
        title = f"Column {html.escape(name)}"
        drawn += f"<div><h3>{title}</h3><p>{say_count(values['num_rows'], 'row')} with it.</p>{draw_table(['-rows', 'value'], rows)}</div>"
    return f'<div class="columns">{drawn}</div>' if drawn else ""


def _bar(share: float) -> str:
    return f'<div class="bars"><div class="bar" style="width:{share:.1%}"></div></div>'


def _text(text: str) -> str:
    """Text of a corpus. Long ones have some width on a phone, too, where the table is moved sideways."""
    text = text.strip()
    kind = "text long" if len(text) > _LONG else "text"
    return f'<span class="{kind}">{html.escape(text)}</span>'
