"""`whelp corpus ...`: look at text before anything is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whelp.cli.commands.options import AsJson
from whelp.cli.commands.shared import part_overrides
from whelp.cli.usage import Commands

app = Commands(help="Look at text before anything is made of it.")


@app.callback()
def _group() -> None: ...


@app.command("report")
def corpus_report(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... [data.field=value]...",
            help="What data.source takes: stdlib, files, folders, globs, URLs, datasets of the hub; or a recipe's YAML file. "
            "Options of the source, as in a recipe.",
            show_default=False,
        ),
    ],
    reference: Annotated[
        str,
        typer.Option(
            metavar="REFERENCE",
            help="What words are held against: auto (the word list of the main language), a language (en), a source, or none.",
        ),
    ] = "auto",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP",
            help="language (the first folder, or at the top the file's name), suffix, folder, file, or column:NAME. "
            "Default: file for up to 100 files in one folder, else folder; of a mixture its sources.",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="In files of rows: count the values of this column, too; may be repeated."),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one page with pictures, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is in a corpus: sizes, sources, languages, lengths, copies, frequent lines and words, rights.

    And which words are more or less frequent than elsewhere, or never seen. The text is read once, in flat memory.

    Example:
      whelp corpus report books/ --html corpus.html

    Rows:
      whelp corpus report rows.jsonl data.custom_text_key=body --by column:lang

    Beside another text:
      whelp corpus report mine.txt --reference theirs.txt
    """
    from rich.markup import escape

    from whelp.cli.corpus_report import report_corpus
    from whelp.cli.screens import show

    words, overrides = part_overrides(source)
    if not words:
        raise typer.BadParameter("is needed.", param_hint="'SOURCE'")
    with show.waiting("reading"):
        result = report_corpus(
            words[0] if len(words) == 1 else words,
            overrides=overrides,
            reference=reference,
            by=by,
            columns=column or [],
            html=html,
        )
    if as_json:
        show.print_json(result)
        return
    from whelp.cli.screens.show_corpus import show_corpus_report

    show_corpus_report(result)
    if html is not None:
        show.say(f"page: [bold]{escape(str(html))}[/]")
