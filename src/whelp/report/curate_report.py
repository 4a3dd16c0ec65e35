"""One HTML file about a curated corpus: where every document went, how long they are, examples of each reason."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from whelp.base.counts import say_count
from whelp.base.visible_text import make_readable
from whelp.report._page import NUM_COLORS, Series, draw_chart, draw_table, draw_values, make_page, write_number

Report = Mapping[str, Any]

_MOST_CELLS = 12
_MOST_OF_A_SOURCE = 3
_KEPT_COLOR = 2
_STYLE = """
h2 { margin: 2.2rem 0 .5rem; } .beside { width: 20rem; }
.share { display: flex; height: 1.4rem; max-width: 60rem; margin: .3rem 0 .5rem; border-radius: .25rem; overflow: hidden; }
.share div { min-width: 1px; } .bar { height: .7rem; border-radius: .2rem; min-width: 1px; }
.text { font: .88em/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0 .9rem;
  background: #8881; padding: .5rem .7rem; }
details { margin: .3rem 0; } summary { cursor: pointer; }
@media (max-width: 40rem) { .rules th, .rules td { display: block; } .rules td { padding-left: 1rem; overflow-wrap: anywhere; }
  .wide { font-size: .8em; } .wide td, .wide th { padding-right: .4rem; } .beside { width: 2.5rem; } .fate { overflow-wrap: anywhere; } }
"""


def make_curate_report(report: Report) -> str:
    """Draw what became of a source.

    Args:
        report: Plain values: `name` of what was curated; `sources`, each with its `name` (None where it is the only one),
            `preset`, and `rules` with their numbers; and the `ledger` of `whelp.curate`.
    """
    ledger = report["ledger"]
    body = [
        _draw_summary(report, ledger),
        _draw_fates(ledger),
        _draw_sources(ledger),
        _draw_sizes(ledger),
        _draw_changes(ledger),
        _draw_examples(ledger),
        _draw_rules(report["sources"]),
    ]
    return make_page(f"What is kept of {report['name']}", "".join(body), _STYLE)


def _draw_summary(report: Report, ledger: Report) -> str:
    values: dict[str, Any] = {
        "preset": ", ".join(dict.fromkeys(source["preset"] for source in report["sources"])),
        "documents": f"{ledger['documents_in']:,} read, {ledger['documents_kept']:,} kept "
        f"({_share(ledger['documents_kept'], ledger['documents_in'])})",
        "text": f"{_size(ledger['bytes_in'])} read, {_size(ledger['bytes_kept'])} kept "
        f"({_share(ledger['bytes_kept'], ledger['bytes_in'])})",
    }
    if ledger["documents_test"]:
        values["test"] = f"{say_count(ledger['documents_test'], 'row')} that the source holds out, as they are"
    return draw_values(values)


def _draw_fates(ledger: Report) -> str:
    """A bar of all documents, and a table: each reason with its share."""
    total = ledger["documents_in"]
    fates = [("kept", ledger["documents_kept"], ledger["bytes_kept"])]
    fates += [(reason, count, ledger["dropped_bytes"][reason]) for reason, count in ledger["dropped"].items()]
    cells = list(fates[:_MOST_CELLS])
    rest = sum(count for _, count, _ in fates[_MOST_CELLS:])
    cells += [("all other reasons", rest, 0)] if rest else []
    bar = "".join(
        f'<div style="width:{count / max(total, 1):.3%};background:{_color(number)}" title="{html.escape(name)}: {count:,}"></div>'
        for number, (name, count, _) in enumerate(cells)
    )
    most = max((count for _, count, _ in fates[1:]), default=1) or 1
    rows = "".join(
        f'<tr><td class="fate">{html.escape(name)}</td><td class="number">{count:,}</td><td class="number">{_share(count, total)}</td>'
        f'<td class="number">{_size(num_bytes)}</td><td class="beside">'
        + (f'<div class="bar" style="width:{count / most:.1%};background:{_color(number)}"></div>' if number else "")
        + "</td></tr>"
        for number, (name, count, num_bytes) in enumerate(fates)
    )
    head = '<tr><th>fate</th><th class="number">documents</th><th class="number">share</th><th class="number">text</th><th></th></tr>'
    return (
        f'<h2>Where the documents went</h2><div class="share">{bar}</div><div class="wide"><table>{head}{rows}</table></div>'
        '<p class="dim">A document is dropped for the first rule that speaks against it; rules run in the order of the table '
        "below. Text is counted as it was read, but of what is kept, and of duplicates, as the rules left it.</p>"
    )


def _draw_sources(ledger: Report) -> str:
    """Of each source of a mixture, what is kept, and what most of the others were dropped for."""
    rows = []
    for name, one in ledger.get("sources", {}).items():
        most = "; ".join(f"{reason} {count:,}" for reason, count in list(one["dropped"].items())[:_MOST_OF_A_SOURCE])
        numbers = (
            f"{one['documents_in']:,}",
            f"{one['documents_kept']:,}",
            _share(one["documents_kept"], one["documents_in"]),
            _size(one["bytes_kept"]),
        )
        rows.append([html.escape(name), *numbers, html.escape(most)])
    table = draw_table(["source", "-read", "-kept", "-share", "-text kept", "dropped most for"], rows)
    return f"<h2>The sources</h2>{table}" if table else ""


def _draw_sizes(ledger: Report) -> str:
    """Two curves over the length of documents."""

    def points(counts: Sequence[int]) -> list[tuple[float, float]]:
        last = max((place for place, count in enumerate(counts) if count), default=-1)
        first = min((place for place, count in enumerate(counts) if count), default=0)
        return [(float(1 << place), float(counts[place])) for place in range(first, last + 1)]

    lines = [Series(points=points(ledger["sizes_in"]), name="read", color=0)]
    lines.append(Series(points=points(ledger["sizes_kept"]), name="kept", color=_KEPT_COLOR))
    chart = draw_chart("Documents by their characters", lines, x_name="characters", log_x=True, from_zero=True)
    return f"<h2>How long they are</h2>{chart}"


def _draw_changes(ledger: Report) -> str:
    parts = []
    for title, name in (("What was changed", "changes"), ("Notes", "notes"), ("Files", "files")):
        if ledger[name]:
            parts.append(f"<h2>{title}</h2>{draw_values(ledger[name])}")
    return "".join(parts)


def _draw_examples(ledger: Report) -> str:
    """A few documents of each reason, folded."""
    groups = []
    for reason, examples in ledger["examples"].items():
        shown = "".join(_draw_example(example) for example in examples)
        count = ledger["dropped"][reason]
        groups.append(
            f"<details><summary>{html.escape(reason)} <span class='dim'>{len(examples)} of {count:,}</span></summary>{shown}</details>"
        )
    if not groups:
        return ""
    return f"<h2>Examples of each reason</h2><p class='dim'>From all over the source.</p>{''.join(groups)}"


def _draw_example(example: Report) -> str:
    where = (
        f"{html.escape(str(example['origin']))}, line {example['line']:,}; {say_count(example['num_characters'], 'character')}"
    )
    if example["duplicate_of"]:
        alike = f" ({example['similarity']:.0%} alike)" if example["similarity"] is not None else ""
        where += f"; repeats {html.escape(example['duplicate_of'])}{alike}"
    dots = " …" if example["num_characters"] > len(example["text"]) else ""
    return f"<div class='dim'>{where}</div><div class='text'>{html.escape(make_readable(example['text']))}{dots}</div>"


def _draw_rules(sources: Sequence[Report]) -> str:
    """The rules of each source; once where they are the same."""
    groups: list[tuple[Report, list[str]]] = []
    for source in sources:
        known = next((names for rules, names in groups if rules == source["rules"]), None)
        if known is None:
            groups.append((source["rules"], known := []))
        known.append(str(source["name"]))
    parts = ["<h2>The rules, in order</h2>"]
    for rules, names in groups:
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>"
            + html.escape("; ".join(f"{key}: {_write(value)}" for key, value in values.items()) or "on")
            + "</td></tr>"
            for name, values in rules.items()
        )
        title = f"<h3>{html.escape(', '.join(names))}</h3>" if len(groups) > 1 else ""
        parts.append(f'{title}<div class="wide"><table class="rules">{rows}</table></div>')
    return "".join(parts)


def _write(value: Any) -> str:
    """A value of an option, about as a recipe has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else write_number(value)


def _color(number: int) -> str:
    """Green is what is kept; reasons take the others in turn."""
    others = [color for color in range(NUM_COLORS) if color != _KEPT_COLOR]
    return f"var(--c{_KEPT_COLOR if number == 0 else others[number % len(others)]})"


def _share(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.1%}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.2f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:,.1f} kB"
