"""The commands `whelp collect ...` of what is on this machine already: a dump, a folder."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from whelp.base.counts import say_count
from whelp.cli.commands.collect import collect_app as collect_app  # with the commands of this file
from whelp.cli.commands.options import AsJson
from whelp.cli.commands.shared import hand_over

Out = Annotated[Path, typer.Option(metavar="FILE", help="The JSON lines; a text is one line with where it is from.")]


class HeadingStyle(Enum):
    """How headings look."""

    plain = "plain"
    wiki = "wiki"
    markdown = "markdown"
    none = "none"


class TableStyle(Enum):
    """What becomes of tables."""

    drop = "drop"
    rows = "rows"


@collect_app.command("wikipedia-dump")
def collect_wikipedia_dump(
    file: Annotated[Path, typer.Argument(metavar="DUMP", help="pages-articles XML: .xml, .xml.bz2, .xml.gz or .xml.xz.")],
    out: Out,
    namespaces: Annotated[
        list[int] | None,
        typer.Option("--namespace", metavar="N", help="A namespace to keep; may be repeated. Default: 0, the articles."),
    ] = None,
    headings: Annotated[
        HeadingStyle, typer.Option(help="plain: Title, wiki: == Title ==, markdown: ## Title; or none of them.")
    ] = HeadingStyle.plain,
    disambiguation: Annotated[bool, typer.Option("--disambiguation", help="Keep pages that only tell names apart.")] = False,
    formulas: Annotated[bool, typer.Option(help="Keep formulas, as TeX between dollar signs.")] = True,
    tables: Annotated[
        TableStyle, typer.Option(help="Leave tables out, or make each a paragraph with a line for each row: cell | cell.")
    ] = TableStyle.drop,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="What the text may be used for. Default: CC BY-SA 4.0 for Wikipedia and its sisters."
        ),
    ] = None,
    max_page_bytes: Annotated[
        int, typer.Option(metavar="N", min=1024, help="Leave out, and count, pages larger than this.")
    ] = 64 << 20,
    workers: Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes. Default: one for each core.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a MediaWiki dump into clean text: templates, tables, references and files out; sections, lists, formulas kept.

    Redirects and other namespaces are counted and left out. Memory stays flat; killed at any moment, the same command goes on.
    Multistream dumps are read in parallel and need no index file.

    Example:
      whelp collect wikipedia-dump simplewiki.xml.bz2 --out corpus/simple.jsonl

    Then:
      whelp prepare cook data.source=corpus/ --out store
    """
    from whelp.base.config import load_config
    from whelp.cli.collect_dump import DumpResult, iter_collect_dump
    from whelp.cli.show_file_work import run_with_bar, show_dump
    from whelp.collect.dump import DumpConfig

    values = {
        "namespaces": namespaces or [0],
        "headings": headings.value,
        "disambiguation": disambiguation,
        "formulas": formulas,
        "tables": tables.value,
        "licence": licence,
        "max_page_bytes": max_page_bytes,
    }
    config = load_config(DumpConfig, values, "whelp collect wikipedia-dump")
    events = iter_collect_dump(file, out, config, workers=workers)
    result = run_with_bar("collect", events, DumpResult, lambda event: say_count(event.documents, "document"))
    hand_over(result, show_dump, as_json=as_json)


@collect_app.command("folder")
def collect_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Read with all folders below; what is hidden is not.")],
    out: Out,
    include_suffixes: Annotated[
        list[str] | None,
        typer.Option("--suffix", metavar=".EXT", help="Read only files that end like this; may be repeated."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the text may be used for. Default: what a file says of itself.")
    ] = None,
    max_file_bytes: Annotated[int, typer.Option(metavar="N", min=1, help="Leave out, and count, larger files.")] = 256 << 20,
    max_unpacked_bytes: Annotated[
        int, typer.Option(metavar="N", min=1, help="Leave out, and count, files that unpack to more.")
    ] = 256 << 20,
    as_json: AsJson = False,
) -> None:
    r"""Turn files into clean text: txt, Markdown, code, HTML, DOCX, EPUB, notebooks; PDF with `pip install "whelp\[pdf]"`.

    A file is a document. Menus and scripts of pages, outputs of notebooks and contents of books are left out; so are files
    that are no text, counted by reason. Killed at any moment, the same command goes on.

    Example:
      whelp collect folder documents/ --suffix .epub --suffix .docx \
        --out corpus/documents.jsonl
    """
    from whelp.base.config import load_config
    from whelp.cli.collect_folder import FolderResult, iter_collect_folder
    from whelp.cli.show_file_work import run_with_bar, show_folder
    from whelp.collect.folder import FolderConfig

    values = {
        "include_suffixes": include_suffixes,
        "licence": licence,
        "max_file_bytes": max_file_bytes,
        "max_unpacked_bytes": max_unpacked_bytes,
    }
    config = load_config(FolderConfig, values, "whelp collect folder")
    events = iter_collect_folder(folder, out, config)
    result = run_with_bar("collect", events, FolderResult, lambda event: say_count(event.documents, "document"))
    hand_over(result, show_folder, as_json=as_json)
