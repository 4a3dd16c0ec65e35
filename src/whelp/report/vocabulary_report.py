"""One HTML file about vocabularies, side by side; and one about the choice of a vocabulary's size."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from whelp.base.counts import say_count
from whelp.base.visible_text import cut_short, make_visible
from whelp.report._page import NUM_COLORS, Series, draw_chart, draw_table, make_page, write_number, write_share

Report = Mapping[str, Any]

_MOST_GROUPS = 300
_MOST_SIGNS = 24
_STYLE = """
th { font-weight: 600; }
tr:hover td { background: #8881; }
.best { font-weight: 700; } .lost { color: var(--c3); font-weight: 600; }
.tokens { font-family: ui-monospace, monospace; font-size: .9em; line-height: 1.6; overflow-wrap: anywhere; }
table.grid th { white-space: nowrap; }
.t { display: inline-block; max-width: 100%; line-height: 1.4; padding: 0 .15em; border-radius: .25em; margin: .1em 1px .1em 0; }
.list { white-space: nowrap; }
td > .tokens { display: inline-block; min-width: 7rem; }
.t0 { background: #2563eb33; } .t1 { background: #d9770638; } .t2 { background: #05966933; }
.t3 { background: #db277733; } .t4 { background: #7c3aed33; } .t5 { background: #0891b233; }
.bar { height: .45rem; border-radius: .2rem; min-width: 1px; }
.cell { min-width: 9rem; }
table.grid td, table.grid th.number { text-align: right; padding: .1rem .4rem; font-variant-numeric: tabular-nums; }
details { margin: .3rem 0 1rem; } summary { cursor: pointer; }
"""


def make_vocabulary_report(report: Report) -> str:
    """Draw a comparison of vocabularies.

    Args:
        report: Plain values of `whelp.cli.tokenizer_report.TokenizerReport`.
    """
    vocabularies, corpus = report["vocabularies"], report["corpus"]
    names = [one["name"] for one in vocabularies]
    body = [
        f"<p>Measured on <b>{html.escape(corpus['name'])}</b>: {say_count(corpus['num_documents'], 'document')}, "
        f"{say_count(corpus['num_bytes'], 'byte')}, "
        f"{say_count(corpus['num_words'], 'word')}, {corpus['num_distinct_words']:,} of them distinct. A word is a run of letters, marks, "
        "digits and underscores, with the space before it; one that takes several tokens is continued. In writing without "
        "spaces a word goes from sign to sign. ␣ is a space, ⏎ a line end, ⇥ a tab.</p>",
        _draw_facts(vocabularies),
        _draw_texts(vocabularies),
        _draw_groups(vocabularies, corpus["by"]),
        "<h2>Use of the ids</h2>" + _draw_curves(vocabularies),
        "<h2>Numbers</h2>" + _draw_numbers(vocabularies),
        "<h2>Indentation</h2>" + _draw_indents(vocabularies),
        "<h2>Keywords</h2>" + _draw_keywords(vocabularies),
        _draw_split_words(report["split_words"], names),
        "<h2>Tokens</h2>" + _draw_token_lists(vocabularies),
        *(_draw_text(number, vocabularies) for number in range(len(vocabularies[0]["texts"]))),
    ]
    return make_page(f"Vocabularies: {', '.join(names)}", "".join(body), _STYLE)


def make_vocabulary_guide(guide: Report) -> str:
    """Draw what vocabularies of several sizes cost and buy.

    Args:
        guide: Plain values of `whelp.cli.tokenizer_report.TokenizerGuide`.
    """
    rows, model, corpus = guide["rows"], guide["model"], guide["corpus"]

    def curve(title: str, *lines: tuple[str, str], **options: Any) -> str:
        series = [
            Series(points=[(row["vocab_size"], row[field]) for row in rows], name=name if len(lines) > 1 else "", color=color)
            for color, (name, field) in enumerate(lines)
        ]
        return draw_chart(title, series, x_name="ids", log_x=True, x_ticks=[row["vocab_size"] for row in rows], **options)

    columns: list[tuple[str, Callable[[Report], str]]] = [
        ("ids", lambda row: f"{row['vocab_size']:,}"),
        ("bytes a token", lambda row: f"{row['bytes_per_token']:.2f}"),
        ("tokens", lambda row: f"{row['num_tokens']:,}"),
        ("embedding", lambda row: f"{row['embedding_parameters']:,}"),
        ("share", lambda row: write_share(row["embedding_share"])),
        ("untied", lambda row: f"{row['untied_parameters']:,}"),
        ("share", lambda row: write_share(row["untied_share"])),
        ("softmax, MFLOP a token", lambda row: f"{row['softmax_flops'] / 1e6:,.2f}"),
        ("compute, MFLOP a byte", lambda row: f"{row['flops_per_byte'] / 1e6:,.2f}"),
        ("rare ids", lambda row: f"{row['num_rare_ids']:,}"),
    ]
    head = "".join(f'<th class="number">{name}</th>' for name, _ in columns)
    lines = ""
    for row in rows:
        mark = ' class="best"' if row["vocab_size"] == guide["cheapest_vocab_size"] else ""
        lines += f"<tr{mark}>" + "".join(f'<td class="number">{write(row)}</td>' for _, write in columns) + "</tr>"
    body = (
        f"<p>A {html.escape(model['family'])} of {model['n_layer']} layers, {model['n_embd']} wide, has {model['body_parameters']:,} "
        f"parameters beside its embedding. Vocabularies were learned from and measured on <b>{html.escape(corpus['name'])}</b>, "
        f"{say_count(corpus['num_bytes'], 'byte')}. In bold: the least computation for a byte of text.</p>"
        f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'
        "<p>Embedding: parameters where the output layer shares them, and their share of the model; untied: where it does not. "
        "Softmax: forward computation of the output layer. Rare ids: those with less than 100 occurrences to learn from.</p>"
        + curve("Bytes a token", ("", "bytes_per_token"))
        + curve("Forward computation for a byte of text, FLOP", ("", "flops_per_byte"), from_zero=True)
        + curve(
            "Share of the model's parameters",
            ("tied", "embedding_share"),
            ("untied", "untied_share"),
            from_zero=True,
            write_y=write_share,
        )
        + curve("Ids with less than 100 occurrences", ("", "num_rare_ids"), from_zero=True)
    )
    return make_page("Choosing the size of a vocabulary", body, _STYLE)


def list_facts(vocabularies: Sequence[Report]) -> list[tuple[str, list[str], int | None]]:
    """The numbers over the whole corpus: (name, what each vocabulary has, which one is best, if that can be said)."""
    rows: list[tuple[str, Callable[[Report], Any], str, Callable[..., Any] | None]] = [
        ("kind", lambda one: one["kind"], "", None),
        ("ids", lambda one: one["vocab_size"], ",d", None),
        ("bytes a token", lambda one: one["use"]["total"]["bytes_per_token"], ".2f", max),
        ("characters a token", lambda one: one["use"]["total"]["characters_per_token"], ".2f", max),
        ("tokens", lambda one: one["use"]["total"]["num_tokens"], ",d", min),
        ("tokens a word", lambda one: one["use"]["total"]["tokens_per_word"], ".2f", min),
        ("words continued", lambda one: one["use"]["total"]["continued_words_share"], ".1%", min),
        ("unknown tokens", lambda one: one["use"]["total"]["num_unknown"], ",d", min),
        ("ids never used", lambda one: one["use"]["never_used_share"], ".1%", min),
        ("ids used less than 100 times", lambda one: one["use"]["rarely_used_share"], ".1%", min),
        ("ids for 90 % of the tokens", lambda one: one["use"]["ids_for_share"].get("90.0%", 0), ",d", None),
        ("texts that come back exactly", lambda one: f"{one['use']['num_kept']} of {one['use']['num_sampled']}", "", None),
    ]
    facts = []
    for name, read, form, best in rows:
        values = [read(one) for one in vocabularies]
        is_close = best is None or len(set(values)) == 1
        facts.append(
            (name, [format(value, form) for value in values], None if is_close or best is None else values.index(best(values)))
        )
    return facts


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return draw_table(heads, rows, has_names=True)


def _names(vocabularies: Sequence[Report]) -> list[str]:
    return [html.escape(one["name"]) for one in vocabularies]


def _draw_facts(vocabularies: Sequence[Report]) -> str:
    rows = [
        [name, *(f'<span class="best">{cell}</span>' if number == best else cell for number, cell in enumerate(cells))]
        for name, cells, best in list_facts(vocabularies)
    ]
    return _table(["", *_names(vocabularies)], rows)


def _draw_texts(vocabularies: Sequence[Report]) -> str:
    """The texts of the user's, side by side."""
    texts = vocabularies[0]["texts"]
    rows = [
        [html.escape(_shorten(text["text"])), *(_paint_pieces(one["texts"][number]["tokens"], "bytes") for one in vocabularies)]
        for number, text in enumerate(texts)
    ]
    return "<h2>Texts</h2>" + _table(["", *_names(vocabularies)], rows) if rows else ""


def _draw_groups(vocabularies: Sequence[Report], by: str) -> str:
    groups = vocabularies[0]["use"]["groups"]
    if len(groups) < 2:
        return ""
    largest = sorted(sorted(range(len(groups)), key=lambda number: -groups[number]["num_bytes"])[:_MOST_GROUPS])
    top = max(one["use"]["groups"][number]["bytes_per_token"] for one in vocabularies for number in largest) or 1.0
    rows = []
    for number in largest:
        cells = []
        for color, one in enumerate(vocabularies):
            group = one["use"]["groups"][number]
            unknown = f', <span class="lost">{group["unknown_share"]:.1%} unknown</span>' if group["num_unknown"] else ""
            tokens = say_count(group["num_tokens"], "token")
            cells.append(
                f'<div class="cell" title="{group["characters_per_token"]:.2f} characters a token, {tokens}">'
                f'<div class="bar" style="width:{group["bytes_per_token"] / top:.1%};'
                f'background:var(--c{color % NUM_COLORS})"></div>{group["bytes_per_token"]:.2f} '
                f'<span class="dim">{group["tokens_per_word"]:.2f}, {group["continued_words_share"]:.0%}{unknown}</span></div>'
            )
        rows.append([html.escape(groups[number]["name"]), write_number(groups[number]["num_bytes"]), *cells])
    left_out = f"<p>The {len(largest)} largest of {len(groups):,} groups.</p>" if len(groups) > len(largest) else ""
    about = (
        '<p>The bar and the first number: bytes a token. Then <span class="dim">tokens a word, words continued</span>. Scripts '
        "differ in bytes a letter: characters a token are told when the pointer rests on a bar.</p>"
    )
    return f"<h2>By {html.escape(by)}</h2>{about}{_table(['', 'bytes', *_names(vocabularies)], rows)}{left_out}"


def _draw_curves(vocabularies: Sequence[Report]) -> str:
    def lines(field: str) -> list[Series]:
        return [Series(points=one["use"][field], name=one["name"], color=color) for color, one in enumerate(vocabularies)]

    return draw_chart(
        "How often the k-th most frequent id occurs", lines("rank_frequency"), x_name="k", log_x=True, log_y=True
    ) + draw_chart(
        "Share of all tokens that the k most frequent ids make up",
        lines("coverage"),
        x_name="k",
        log_x=True,
        from_zero=True,
        write_y=write_share,
    )


def _draw_numbers(vocabularies: Sequence[Report]) -> str:
    rows = [
        [html.escape(entry["text"]), *(_paint(one["numbers"][row]["tokens"]) for one in vocabularies)]
        for row, entry in enumerate(vocabularies[0]["numbers"])
    ]
    return _table(["", *_names(vocabularies)], rows)


def _draw_indents(vocabularies: Sequence[Report]) -> str:
    lines = [
        Series(
            points=[(length, count) for length, count in enumerate(one["indents"]["spaces"], 1)], name=one["name"], color=color
        )
        for color, one in enumerate(vocabularies)
    ]
    chart = draw_chart("Tokens of a run of spaces", lines, x_name="spaces", from_zero=True)
    longest = len(vocabularies[0]["indents"]["spaces"])
    head = "<tr><th></th><th></th>" + "".join(f'<th class="number">{length}</th>' for length in range(1, longest + 1)) + "</tr>"
    body = ""
    for one in vocabularies:
        for title, field in (
            ("spaces", "spaces"),
            ("spaces in code", "spaces_in_code"),
            ("tabs", "tabs"),
            ("tabs in code", "tabs_in_code"),
        ):
            cells = "".join(
                f"<td>{'<span class=lost>lost</span>' if count is None else count}</td>" for count in one["indents"][field]
            )
            body += f"<tr><th>{html.escape(one['name'])}</th><th>{title}</th>{cells}</tr>"
    about = (
        "<p>Tokens of a run of so many spaces or tabs; in code: what the run adds to two lines when it stands before the second. "
        "Lost: the run does not come back when the ids are decoded.</p>"
    )
    return f'{chart}{about}<div class="wide"><table class="grid">{head}{body}</table></div>'


def _draw_keywords(vocabularies: Sequence[Report]) -> str:
    rows = []
    for name, first in vocabularies[0]["keywords"].items():
        cells = []
        for color, one in enumerate(vocabularies):
            found = one["keywords"][name]
            lists = "".join(
                f"<p>{title}: {html.escape(', '.join(found[field]) or '-')}</p>"
                for title, field in (("Split alone", "missing_alone"), ("Split after a space", "missing_after_space"))
            )
            details = f"<details><summary>neither: {len(found['missing'])}</summary>{lists}</details>"
            cells.append(
                f'<div class="cell"><div class="bar" style="width:{1 - len(found["missing"]) / found["num_words"]:.0%};'
                f'background:var(--c{color % NUM_COLORS})"></div>{found["alone"]} alone, {found["after_space"]} after a space{details}</div>'
            )
        rows.append([f'{html.escape(name)} <span class="dim">{first["num_words"]}</span>', *cells])
    return "<p>How many are one token.</p>" + _table(["", *_names(vocabularies)], rows)


def _draw_split_words(words: Sequence[Report], names: Sequence[str]) -> str:
    if not words:
        return ""
    rows = [
        [
            f'{html.escape(make_visible(entry["word"]))} <span class="dim">{entry["count"]:,}</span>',
            *(_paint(tokens) for tokens in entry["tokens"]),
        ]
        for entry in words
    ]
    return "<h2>The most frequent words that are split</h2>" + _table(["", *(html.escape(name) for name in names)], rows)


def _draw_token_lists(vocabularies: Sequence[Report]) -> str:
    rows = []
    for title, lists in (
        ("longest that occur, and their bytes", [one["use"]["longest"] for one in vocabularies]),
        ("first ids: in most vocabularies, learned first", [one["first"] for one in vocabularies]),
        ("last ids: in most vocabularies, learned last", [one["last"] for one in vocabularies]),
    ):
        rows.append([title, *("".join(map(_draw_token, tokens)) for tokens in lists)])
    return _table(["", *_names(vocabularies)], rows)


def _draw_token(token: Report) -> str:
    count = f", {say_count(token['count'], 'time')}" if "count" in token else ""
    title = f"id {token['id']}, {token['bytes']} bytes{count}"
    shown = html.escape(_shorten(token["text"]))
    return (
        f'<div class="list"><span class="tokens"><span class="t t0" title="{title}">{shown}</span></span> '
        f'<span class="dim">{token["bytes"]}</span></div>'
    )


def _shorten(text: str) -> str:
    return cut_short(make_visible(text), _MOST_SIGNS)


def _draw_text(number: int, vocabularies: Sequence[Report]) -> str:
    """One text of the user's, coloured by token, and what each stage makes of it."""
    text = vocabularies[0]["texts"][number]["text"]
    body = f"<h2>{html.escape(_shorten(text))}, stage by stage</h2>"
    for one in vocabularies:
        shown = one["texts"][number]
        notes = f"{len(shown['tokens'])} token{'s' if len(shown['tokens']) != 1 else ''}"
        notes += f', <span class="lost">{shown["num_unknown"]} unknown</span>' if shown["num_unknown"] else ""
        notes += "" if shown["is_kept"] else ', <span class="lost">does not come back exactly</span>'
        stages = []
        for stage in shown["stages"]:
            pieces = _paint_pieces(stage["pieces"], "characters") if "id" not in (stage["pieces"] or [{}])[0] else ""
            pieces = pieces or _paint_pieces(stage["pieces"], "bytes")
            stages.append(
                [stage["stage"], html.escape(stage["name"]), pieces if stage["is_changed"] else '<span class="dim">-</span>']
            )
        body += (
            f"<h3>{html.escape(one['name'])}: {notes}</h3><p>{_paint_pieces(shown['tokens'], 'bytes')}</p>"
            f"<details><summary>Stages and ids</summary>{_table(['stage', 'kind', 'gives'], stages)}"
            + _table(
                ["token", "id", "bytes"],
                (
                    [
                        f'<span class="tokens">{html.escape(make_visible(token["text"]))}</span>',
                        str(token["id"]),
                        f"{token['start']}-{token['end']}",
                    ]
                    for token in shown["tokens"]
                ),
            )
            + "</details>"
        )
    return body


def _paint_pieces(pieces: Sequence[Report], unit: str) -> str:
    """Pieces in turning colours; where each one lies is told when the pointer rests on it."""
    titles = [(f"id {piece['id']}, " if "id" in piece else "") + f"{unit} {piece['start']}-{piece['end']}" for piece in pieces]
    return _paint([piece["text"] for piece in pieces], titles)


def _paint(texts: Sequence[str], titles: Sequence[str] | None = None) -> str:
    spans = ""
    for number, text in enumerate(texts):
        title = f' title="{html.escape(titles[number])}"' if titles else ""
        spans += f'<span class="t t{number % NUM_COLORS}"{title}>{html.escape(make_visible(text))}</span>'
    return f'<span class="tokens">{spans}</span>'
