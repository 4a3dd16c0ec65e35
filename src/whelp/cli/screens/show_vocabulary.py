"""Tables about vocabularies: side by side, on standard output, for these are results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from whelp.base.counts import say_count
from whelp.base.visible_text import cut_short, make_visible
from whelp.cli.screens.result_tables import open_output
from whelp.cli.screens.show import megabytes, sparkline
from whelp.report import list_facts

if TYPE_CHECKING:
    from whelp.cli.tokenizer_report import TokenizerGuide, TokenizerReport, VocabularyReport
    from whelp.cli.tokenizer_show import VocabularyView

_MOST_GROUPS = 48
_NUM_TOKENS = 6
_MOST_SIGNS = 32
_SAMPLES_IN_A_LINE = 6
_COLORS = ("cyan", "magenta", "green", "yellow", "blue")


def show_tokenizer_report(report: TokenizerReport) -> None:
    """Print a report as tables with one column for each vocabulary."""
    console = open_output()
    corpus = report.corpus
    console.print(
        f"[bold]{escape(corpus['name'])}[/]: {say_count(corpus['num_documents'], 'document')}, {megabytes(corpus['num_bytes'])}, "
        f"{say_count(corpus['num_words'], 'word')}, {corpus['num_distinct_words']:,} of them distinct\n"
    )
    vocabularies = report.vocabularies
    names = [vocabulary.name for vocabulary in vocabularies]
    _print_table(console, "vocabularies", "", names, _list_facts(vocabularies))
    if vocabularies[0].texts:
        _print_table(console, "texts", "", names, _list_texts(vocabularies))
    if len(vocabularies[0].use["groups"]) > 1:
        _print_groups(console, report)
    _print_table(console, "numbers", "text", names, _list_numbers(vocabularies))
    _print_table(
        console, "indentation: tokens of a run (what it adds to a line of code)", "run", names, _list_indents(vocabularies)
    )
    _print_table(console, "keywords that are one token, alone (after a space)", "", names, _list_keywords(vocabularies))
    if report.split_words:
        rows = [
            (
                f"{escape(make_visible(entry['word']))}  [dim]{entry['count']:,}[/]",
                [_paint(tokens) for tokens in entry["tokens"]],
            )
            for entry in report.split_words
        ]
        _print_table(console, "the most frequent words that are split", "word", names, rows)
    for title, lists in (
        ("longest tokens that occur, and their bytes", [one.use["longest"][:_NUM_TOKENS] for one in vocabularies]),
        ("first ids: in most vocabularies, learned first", [one.first[:_NUM_TOKENS] for one in vocabularies]),
        ("last ids: in most vocabularies, learned last", [one.last[-_NUM_TOKENS:] for one in vocabularies]),
    ):
        _print_table(console, title, "", names, _list_tokens(lists))
    for number, shown in enumerate(vocabularies[0].texts):
        _print_text(console, shown["text"], number, vocabularies)


def print_vocabulary(view: VocabularyView) -> None:
    """Print what a vocabulary is, fact by fact, some of its tokens, and a text cut by it."""
    console = open_output()
    exact = "each id stands for fixed bytes" if view.is_byte_exact else "ids stand for text, not for fixed bytes"
    holes = f", {view.vocab_size - view.num_tokens:,} of them unused" if view.num_tokens < view.vocab_size else ""
    facts = [
        ("kind", f"{view.kind}; {exact}"),
        ("size", f"{view.vocab_size:,} ids{holes}; {view.id_bits} bits each in a token store"),
        ("cuts text by", view.cutting or "nothing"),
        ("changes text by", view.normalizer or "nothing"),
        ("chat template", "yes" if view.has_chat_template else "none"),
        ("in GGUF files", view.gguf_name or "it cannot be said: `whelp export --format gguf` refuses it"),
        ("fingerprint", view.fingerprint),
        ("found at", view.found_at),
    ]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(f"[bold]{name}[/]", escape(value))
    for number, entry in enumerate(view.special):
        roles = f"  [dim]{escape(', '.join(entry['roles']))}[/]" if entry["roles"] else ""
        table.add_row("" if number else "[bold]control tokens[/]", f"{entry['id']:>6}  {escape(entry['token'])}{roles}")
    if not view.special:
        table.add_row("[bold]control tokens[/]", "none")
    for number in range(0, len(view.sample), _SAMPLES_IN_A_LINE):
        shown = view.sample[number : number + _SAMPLES_IN_A_LINE]
        line = "  ".join(f"[dim]{entry['id']}[/] [{_COLORS[0]}]{_cut(entry['text'])}[/]" for entry in shown)
        table.add_row("" if number else "[bold]some tokens[/]", line)
    console.print(table)
    if view.text is not None:
        tokens = view.text["tokens"]
        lost = "" if view.text["is_kept"] else ", [red]does not come back exactly[/]"
        console.print(f"\n[bold]{_cut(view.text['text'])}[/]: {say_count(len(tokens), 'token')}{lost}")
        console.print("  tokens  " + _paint([token["text"] for token in tokens]))
        console.print("  ids     [dim]" + " ".join(str(token["id"]) for token in tokens) + "[/]")


def show_tokenizer_guide(guide: TokenizerGuide) -> None:
    """Print a guide as one table, a row for each size."""
    console = open_output()
    model = guide.model
    console.print(
        f"[bold]{escape(guide.corpus['name'])}[/]: {megabytes(guide.corpus['num_bytes'])}; a {model['family']} of "
        f"{model['n_layer']} layers, {model['n_embd']} wide: {model['body_parameters']:,} parameters beside its embedding\n"
    )
    table = _make_table()
    columns = (
        "ids",
        "bytes a token",
        "tokens",
        "embedding",
        "share",
        "untied",
        "share",
        "softmax a token",
        "compute a byte",
        "rare ids",
    )
    for column in columns:
        table.add_column(column, justify="right")
    least = min(row.flops_per_byte for row in guide.rows)
    for row in guide.rows:
        is_cheapest = row.vocab_size == guide.cheapest_vocab_size
        table.add_row(
            f"{row.vocab_size:,}",
            f"{row.bytes_per_token:.2f}",
            f"{row.num_tokens:,}",
            f"{row.embedding_parameters:,}",
            f"{row.embedding_share:.0%}",
            f"{row.untied_parameters:,}",
            f"{row.untied_share:.0%}",
            f"{row.softmax_flops / 1e6:,.2f} MFLOP",
            "[green]least[/]" if is_cheapest else f"+{row.flops_per_byte / least - 1:.0%}",
            f"{row.num_rare_ids:,}",
        )
    console.print(table, "")
    if len(guide.rows) > 1:
        curves = (
            ("bytes a token", "bytes_per_token"),
            ("compute a byte", "flops_per_byte"),
            ("share of the model", "embedding_share"),
        )
        drawn = (f"{name} {sparkline([getattr(row, field) for row in guide.rows])}" for name, field in curves)
        console.print(f"from {guide.rows[0].vocab_size:,} to {guide.rows[-1].vocab_size:,} ids: {', '.join(drawn)}\n")
    console.print(
        "embedding: parameters where the output layer shares them, and their share of the model; untied: where it does not.\n"
        "softmax: forward computation of the output layer. compute a byte: of the whole model, for a byte of text, above the "
        "least.\nrare ids: less than 100 occurrences here to learn from."
    )


def _print_table(console: Console, title: str, first: str, names: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> None:
    """Rows of (name, cells), where cells are markup."""
    table = _make_table()
    table.add_column(first, overflow="fold")
    for name in names:
        table.add_column(escape(name), overflow="fold")
    for row, cells in rows:
        table.add_row(row, *cells)
    console.print(f"[italic]{escape(title)}[/]")
    console.print(table, "")


def _make_table() -> Table:
    return Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)


def _list_facts(vocabularies: Sequence[VocabularyReport]) -> list[tuple[str, list[str]]]:
    """The numbers over the whole corpus; the best of a row is green."""
    facts = list_facts([vars(one) for one in vocabularies])
    return [
        (name, [f"[green]{cell}[/]" if number == best else cell for number, cell in enumerate(cells)])
        for name, cells, best in facts
    ]


def _print_groups(console: Console, report: TokenizerReport) -> None:
    vocabularies = report.vocabularies
    groups = vocabularies[0].use["groups"]
    largest = sorted(range(len(groups)), key=lambda number: -groups[number]["num_bytes"])[:_MOST_GROUPS]
    rows = []
    for number in sorted(largest):
        shown = [one.use["groups"][number] for one in vocabularies]
        cells = [
            f"{one['bytes_per_token']:5.2f} {one['tokens_per_word']:5.2f} {one['continued_words_share']:4.0%}"
            + (f" [yellow]{one['unknown_share']:.1%} unknown[/]" if one["num_unknown"] else "")
            for one in shown
        ]
        rows.append((escape(groups[number]["name"]), [megabytes(groups[number]["num_bytes"]), *cells]))
    title = f"by {report.corpus['by']}: bytes a token, tokens a word, words continued"
    _print_table(console, title, "", ["text", *(one.name for one in vocabularies)], rows)
    if len(groups) > len(largest):
        console.print(f"[dim]and {len(groups) - len(largest):,} smaller ones, in --json and --html[/]")


def _list_texts(vocabularies: Sequence[VocabularyReport]) -> list[tuple[str, list[str]]]:
    return [
        (_cut(text["text"]), [_paint([token["text"] for token in one.texts[row]["tokens"]]) for one in vocabularies])
        for row, text in enumerate(vocabularies[0].texts)
    ]


def _list_numbers(vocabularies: Sequence[VocabularyReport]) -> list[tuple[str, list[str]]]:
    return [
        (entry["text"], [_paint(one.numbers[row]["tokens"]) for one in vocabularies])
        for row, entry in enumerate(vocabularies[0].numbers)
    ]


def _list_indents(vocabularies: Sequence[VocabularyReport]) -> list[tuple[str, list[str]]]:
    rows = []
    for kind, lengths in (("spaces", (1, 2, 3, 4, 8, 12, 16)), ("tabs", (1, 2, 3, 4))):
        for length in lengths:
            cells = []
            for one in vocabularies:
                in_code = one.indents[f"{kind}_in_code"][length - 1]
                added = "[red]lost[/]" if in_code is None else f"{in_code:+d}"
                cells.append(f"{one.indents[kind][length - 1]} ({added})")
            rows.append((f"{length} {kind if length > 1 else kind[:-1]}", cells))
    return rows


def _list_keywords(vocabularies: Sequence[VocabularyReport]) -> list[tuple[str, list[str]]]:
    rows = []
    for name, first in vocabularies[0].keywords.items():
        found = [one.keywords[name] for one in vocabularies]
        rows.append((f"{name} [dim]{first['num_words']}[/]", [f"{one['alone']} ({one['after_space']})" for one in found]))
        if name == "Python keywords":
            rows.append(("[dim]  neither[/]", [f"[dim]{', '.join(one['missing']) or '-'}[/]" for one in found]))
    return rows


def _print_text(console: Console, text: str, number: int, vocabularies: Sequence[VocabularyReport]) -> None:
    """One text of the user's, cut by each vocabulary, and the stages that it passes."""
    console.print(f"\n[bold]{_cut(text)}[/], stage by stage")
    for one in vocabularies:
        shown = one.texts[number]
        notes = f"{len(shown['tokens'])} token{'s' if len(shown['tokens']) != 1 else ''}"
        notes += f", [yellow]{shown['num_unknown']} unknown[/]" if shown["num_unknown"] else ""
        notes += "" if shown["is_kept"] else ", [red]does not come back exactly[/]"
        console.print(f"{escape(one.name)}: {notes}")
        console.print("  tokens  " + _paint([token["text"] for token in shown["tokens"]]))
        console.print("  bytes   [dim]" + " ".join(f"{token['start']}-{token['end']}" for token in shown["tokens"]) + "[/]")
        console.print("  ids     [dim]" + " ".join(str(token["id"]) for token in shown["tokens"]) + "[/]")
        for stage in shown["stages"]:
            pieces = _paint([piece["text"] for piece in stage["pieces"]]) if stage["is_changed"] else "[dim]changes nothing[/]"
            console.print(f"  [dim]{stage['stage']} {escape(stage['name'])}:[/] {pieces}")


def _paint(tokens: Sequence[str]) -> str:
    """Tokens in turning colours, with a bar between them for those who cannot see colours."""
    colored = [f"[{_COLORS[number % len(_COLORS)]}]{escape(make_visible(token))}[/]" for number, token in enumerate(tokens)]
    return "[dim]|[/]".join(colored)


def _list_tokens(lists: Sequence[Sequence[dict[str, Any]]]) -> list[tuple[str, list[str]]]:
    """Lists of tokens as the columns of a table."""
    columns = [[_shorten(token) for token in tokens] for tokens in lists]
    longest = max(map(len, columns))
    return [(str(row + 1), [column[row] if row < len(column) else "" for column in columns]) for row in range(longest)]


def _shorten(token: dict[str, Any]) -> str:
    return f"[{_COLORS[0]}]{_cut(token['text'])}[/] [dim]{token['bytes']}[/]"


def _cut(text: str) -> str:
    """The beginning of a text, as markup."""
    return escape(cut_short(make_visible(text), _MOST_SIGNS))
