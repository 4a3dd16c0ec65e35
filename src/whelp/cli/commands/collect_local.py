"""The commands `whelp collect ...` of files that are there already: a dump, a folder, web archives."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

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


class Extract(Enum):
    """What is taken of a page."""

    article = "article"
    page = "page"


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
    from whelp.base.last_event import run_to_end
    from whelp.cli.collect_dump import DumpResult, iter_collect_dump
    from whelp.cli.screens.draw_events import draw_bytes, drawn
    from whelp.cli.screens.show_file_work import show_dump
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
    result = run_to_end(drawn(events, draw_bytes("collect", "document")), DumpResult)
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
    max_document_seconds: Annotated[
        float, typer.Option(metavar="S", min=0.01, help="Leave out, and count, documents that take longer.")
    ] = 300.0,
    as_json: AsJson = False,
) -> None:
    r"""Turn files into clean text: documents (txt, Markdown, code, HTML, DOCX, ODT, EPUB, notebooks), mail, chats, subtitles.

    PDF, too, with `pip install "whelp[pdf]"`. A file is a document; a mailbox (mbox)
    is one for each mail. Headers and quotes of mail, times of chats (WhatsApp,
    Telegram, Discord, Slack, ...) and of subtitles (srt, vtt), menus and scripts of pages, outputs of
    notebooks and contents of books are left out; so are files that are no text,
    counted by reason. Killed at any moment, the same command goes on.

    Example:
      whelp collect folder documents/ --suffix .epub --suffix .docx \
        --out corpus/documents.jsonl
    """
    from whelp.base.config import load_config
    from whelp.base.last_event import run_to_end
    from whelp.cli.collect_folder import FolderResult, iter_collect_folder
    from whelp.cli.screens.draw_events import draw_bytes, drawn
    from whelp.cli.screens.show_file_work import show_folder
    from whelp.collect.folder import FolderConfig

    values = {
        "include_suffixes": include_suffixes,
        "licence": licence,
        "max_file_bytes": max_file_bytes,
        "max_unpacked_bytes": max_unpacked_bytes,
        "max_document_seconds": max_document_seconds,
    }
    config = load_config(FolderConfig, values, "whelp collect folder")
    events = iter_collect_folder(folder, out, config)
    result = run_to_end(drawn(events, draw_bytes("collect", "document")), FolderResult)
    hand_over(result, show_folder, as_json=as_json)


@collect_app.command("web-archive")
def collect_web_archive(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES", help="WARC or WET: files, folders, globs, addresses; or lists of them (.paths, .paths.gz)."
        ),
    ],
    out: Out,
    extract: Annotated[
        Extract,
        typer.Option(help="Of a page its article, or all it shows but menus, forms and footers (a fifth of the time)."),
    ] = Extract.article,
    languages: Annotated[
        list[str] | None,
        typer.Option("--language", metavar="CODE", help="Keep only texts said to be in it: en, deu, ...; repeatable."),
    ] = None,
    domains: Annotated[
        list[str] | None,
        typer.Option("--domain", metavar="HOST", help="Keep only this host and those below it; repeatable."),
    ] = None,
    statuses: Annotated[
        list[int] | None,
        typer.Option("--status", metavar="N", help="Keep only answers of this status; repeatable. Default: 200."),
    ] = None,
    mime_types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Keep only pages of this type; repeatable. Default: HTML and XHTML."),
    ] = None,
    min_characters: Annotated[int, typer.Option(metavar="N", min=1, help="Leave out, and count, shorter texts.")] = 1,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the text may be used for. Default: what a page says of itself.")
    ] = None,
    max_record_bytes: Annotated[
        int, typer.Option(metavar="N", min=1024, help="Leave out, and count, larger records, packed or not.")
    ] = 64 << 20,
    max_page_seconds: Annotated[
        float, typer.Option(metavar="S", min=0.01, help="Leave out, and count, pages that take longer.")
    ] = 60.0,
    chosen: Annotated[
        str | None, typer.Option("--files", metavar="FIRST:STOP", help="Only some of the archives, in their order: 0:10.")
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the paths of a list are that do not lie beside it. Default: Common Crawl."),
    ] = None,
    keep_fetched: Annotated[
        bool, typer.Option("--keep-fetched", help="Keep fetched archives in the cache folder; else they go once they are read.")
    ] = False,
    workers: Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes. Default: one for each core.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn web archives into clean text: pages as servers sent them (WARC), or the text that a crawler took out (WET).

    Every record is counted: kept, or why not. Broken ones cost themselves alone. Memory stays flat; killed at any moment, the same
    command goes on.

    Example:
      whelp collect web-archive crawl/*.warc.gz --out corpus/pages.jsonl

    Another:
      whelp collect web-archive wet.paths.gz --files 0:10 --language en \\
        --out corpus/english.jsonl
    """
    from whelp.base.config import load_config
    from whelp.base.last_event import run_to_end
    from whelp.cli.collect_web_archive import WebArchiveResult, iter_collect_web_archive
    from whelp.cli.screens.draw_events import draw_bytes, drawn
    from whelp.cli.screens.show_file_work import show_web_archive
    from whelp.collect.web_archive import WebArchiveConfig
    from whelp.corpus.path_list import COMMON_CRAWL

    values: dict[str, object] = {
        "extract": extract.value,
        "languages": languages,
        "domains": domains,
        "min_characters": min_characters,
        "licence": licence,
        "max_record_bytes": max_record_bytes,
        "max_page_seconds": max_page_seconds,
    }
    values |= {"statuses": statuses} if statuses else {}
    values |= {"mime_types": mime_types} if mime_types else {}
    config = load_config(WebArchiveConfig, values, "whelp collect web-archive")
    events = iter_collect_web_archive(
        files, out, config, chosen=chosen, base_url=base_url or COMMON_CRAWL, keep_fetched=keep_fetched, workers=workers
    )
    result = run_to_end(drawn(events, draw_bytes("collect", "document")), WebArchiveResult)
    hand_over(result, show_web_archive, as_json=as_json)
