"""The commands that turn files into other files: `whelp convert`, `append`, `split`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from whelp.cli.commands.options import AsJson
from whelp.cli.commands.shared import hand_over

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Files in this order; folders and globs give theirs by name.")
]


class Border(Enum):
    """Where a file may be cut."""

    auto = "auto"
    line = "line"
    blank_line = "blank_line"


def convert(
    files: Files,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Its ending says the format: .jsonl, .csv, .tsv or .txt.")],
    columns: Annotated[
        list[str] | None, typer.Option("--column", metavar="NAME", help="A column to write; may be repeated. Default: all.")
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help=r"Text: what ends each row's text; \n is a line feed. Default: a blank line."),
    ] = None,
    encoding: Annotated[
        str, typer.Option(metavar="NAME", help="Of CSV and XML: auto, or a name such as cp1251, where it cannot be found.")
    ] = "auto",
    delimiter: Annotated[
        str | None,
        typer.Option(
            metavar="SIGN",
            help=r"Of CSV: what stands between fields, such as ; or the word tab. Default: what the header shows.",
        ),
    ] = None,
    sheet: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a spreadsheet: which sheet. Default: the only one that holds anything."),
    ] = None,
    element: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of XML: which elements are a row each. Default: those below the root.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a SQLite database: which table or view. Default: the only one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write rows as JSON lines, CSV, TSV or text, with the columns of your choice.

    Reads what data.source reads (JSON, CSV, spreadsheets, Parquet, Arrow, WET, packed or not), XML and SQLite databases.

    All files go into one, in a stated order, and must have the same columns. Text takes one column: no header, no ids.
    Of a database with several tables --table says which.

    Example:
      whelp convert cosmopedia/*.parquet --column text --out cosmopedia.txt
    """
    from whelp.base.last_event import run_to_end
    from whelp.cli.convert import ConvertResult, iter_convert
    from whelp.cli.screens.draw_events import draw_bytes, drawn
    from whelp.cli.screens.show_file_work import show_convert

    given = "\n\n" if separator is None else separator.replace("\\n", "\n").replace("\\t", "\t")
    events = iter_convert(
        list(files),
        out,
        columns=columns,
        separator=given,
        encoding=encoding,
        delimiter=delimiter,
        sheet=sheet,
        element=element,
        table=table,
    )
    result = run_to_end(drawn(events, draw_bytes("convert", "row")), ConvertResult)
    hand_over(result, show_convert, as_json=as_json)


def append(
    files: Files,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The one file; .jsonl for JSON lines.")],
    separator: Annotated[
        str | None, typer.Option(metavar="TEXT", help=r"Text: what stands between two files. Default: \n, a blank line.")
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Refuse to make a larger file than 2.5GB, 700MB, ...")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make one file of many: text, or JSON lines. Nothing is lost, documents keep their borders, the order is shown.

    Packed files are unpacked; text in other encodings becomes UTF-8. Run again, a finished file is left as it is.

    Example:
      whelp append books/*.txt --out corpus/books.txt
    """
    from whelp.base.last_event import run_to_end
    from whelp.cli.append import AppendResult, iter_append
    from whelp.cli.screens.draw_events import draw_bytes, drawn
    from whelp.cli.screens.show_file_work import show_append
    from whelp.cli.sizes import parse_size

    given = "\n" if separator is None else separator.replace("\\n", "\n").replace("\\t", "\t")
    most = parse_size(max_bytes) if max_bytes is not None else None
    events = iter_append(list(files), out, separator=given, max_bytes=most)
    result = run_to_end(drawn(events, draw_bytes("append", "line")), AppendResult)
    hand_over(result, show_append, as_json=as_json)


def split(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Text or JSON lines; may be packed.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Gets the parts, named after the file, and a manifest.")],
    max_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="No part is larger: 2.5GB (the default), 700MB, a number of bytes.")
    ] = None,
    parts: Annotated[int | None, typer.Option(metavar="N", min=1, help="Or so many parts of about one size.")] = None,
    document: Annotated[
        Border, typer.Option(help="Where to cut. auto: after lines of .jsonl, after blank lines of text.")
    ] = Border.auto,
    as_json: AsJson = False,
) -> None:
    """Cut a large file between its documents. The parts, laid end to end, are the file, to the byte.

    Example:
      whelp split corpus/wiki.jsonl --max-bytes 2.5GB --out corpus/parts
    """
    from whelp.base.last_event import run_to_end
    from whelp.cli.screens.draw_events import draw_bytes, drawn
    from whelp.cli.screens.show_file_work import show_split
    from whelp.cli.sizes import parse_size
    from whelp.cli.split import SplitResult, iter_split

    most = parse_size(max_bytes) if max_bytes is not None else None
    events = iter_split(file, out, max_bytes=most, parts=parts, document=document.value)
    result = run_to_end(drawn(events, draw_bytes("split")), SplitResult)
    hand_over(result, show_split, as_json=as_json)
