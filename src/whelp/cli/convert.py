"""`whelp convert`: Parquet, Arrow and CSV files and SQLite databases to JSON lines, CSV or text with the columns of one's choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from whelp.artifacts.growing_file import GrowingFile
from whelp.base.as_list import as_list
from whelp.base.errors import ConfigError
from whelp.base.last_event import run_to_end
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.given_files import FileProgress, describe_given, list_given
from whelp.cli.screens.draw_events import draw_bytes, watch

if TYPE_CHECKING:
    from whelp.corpus.convert_rows import Format

_VERSION = 1
_CSV_VERSION = 2  # of how CSV files are cut into batches, which a stopped conversion counts
_VERSION_TO_CSV = 3  # of how values are written as CSV
_FORMATS = ("jsonl", "csv", "tsv", "txt")
_WARN = {
    "empty_texts": "rows without text were left out",
    "texts_with_blank_lines": "texts hold blank lines, as stand between texts: give a --separator, and cut there by data.document: regex",
    "numbers_without_json": "rows hold numbers that JSON has none for (NaN, infinity): null stands there",
}


@dataclass(frozen=True, kw_only=True)
class ConvertResult(ResultRepr):
    """What `whelp convert` made.

    Attributes:
        files: The files that were read, in that order.
        num_rows: Rows read; `notes` counts what was met on the way, such as rows without text.
        is_reused: The file was there already, whole, of the same files and options.
    """

    file: str
    files: list[str]
    num_rows: int
    num_bytes: int
    columns: list[str] | None
    notes: dict[str, int]
    is_reused: bool


def convert(
    files: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    columns: str | Sequence[str] | None = None,
    separator: str = "\n\n",
    encoding: str = "auto",
    delimiter: str | None = None,
    sheet: str | None = None,
    element: str | None = None,
    table: str | None = None,
) -> ConvertResult:
    """Write the rows of files that a source reads, XML and SQLite databases as JSON lines, CSV, TSV or text: the ending of `out` says which.

    Stopped or killed, the same call goes on; a finished file of the same files and options is left as it is.

    Args:
        files: Files, or folders whose files are taken in the order of their names.
        columns: Which columns, in which order; None for all. Text takes one. Fields of objects in JSON are named with dots.
        separator: Text: what stands after each row's text; by default a blank line.
        encoding: Of CSV and XML files: `auto` finds UTF-8, Windows-1252, and what a byte order mark or XML says; or a name that Python
            knows.
        delimiter: What stands between the fields of CSV files; None for what the header shows.
        sheet: Which sheet of spreadsheets; None for the only one that holds anything.
        element: Which elements of XML files are a row each; None for those below the root.
        table: Which table, or view, of SQLite databases; None for the only one.

    Raises:
        ConfigError: When `out` ends in none of .jsonl, .csv, .tsv, .txt.
        SourceError: When a file cannot be read, has no such column, or the format cannot hold it.
        ArtifactError: When something else stands at `out`.
    """
    events = iter_convert(
        files,
        as_path(out),
        columns=columns,
        separator=separator,
        encoding=encoding,
        delimiter=delimiter,
        sheet=sheet,
        element=element,
        table=table,
    )
    return run_to_end(watch(events, draw_bytes("convert", "row")), ConvertResult)


def iter_convert(
    files: str | Path | Sequence[str | Path],
    out: Path,
    *,
    columns: str | Sequence[str] | None,
    separator: str,
    encoding: str = "auto",
    delimiter: str | None = None,
    sheet: str | None = None,
    element: str | None = None,
    table: str | None = None,
) -> Iterator[FileProgress | ConvertResult]:
    """As `convert`, saying how far it is; the result comes last."""
    from whelp.corpus.compressed import split_name
    from whelp.corpus.config import SourceConfig
    from whelp.corpus.convert_rows import READABLE, Counts, Writer, iter_batches
    from whelp.corpus.convert_sqlite import SUFFIXES
    from whelp.corpus.convert_texts import ReadingOptions
    from whelp.corpus.convert_xml import SUFFIX as XML_SUFFIX
    from whelp.corpus.rows import SHEET, find_format

    suffix = out.suffix.lower().removeprefix(".")
    if suffix not in _FORMATS:
        raise ConfigError("--out", [f"{out} ends in none of .{', .'.join(_FORMATS)}"], "The ending says what is written.")
    if suffix == "txt" and not separator:
        raise ConfigError("--separator", ["it is empty, so texts could not be told apart"], "Leave it out for a blank line.")
    checked = SourceConfig(encoding=encoding, delimiter=delimiter)
    options = ReadingOptions(checked.encoding, checked.csv_delimiter, sheet, element)
    paths = list_given(files, out, READABLE)
    if table is not None and not any(path.suffix.lower() in SUFFIXES for path in paths):
        raise ConfigError("--table", [f"is {table}, but no file is a SQLite database ({', '.join(SUFFIXES)})"], "Leave it out.")
    if sheet is not None and not any(find_format(path) == SHEET for path in paths):
        raise ConfigError("--sheet", [f"is {sheet}, but no file is a spreadsheet"], "Leave it out.")
    if element is not None and not any(split_name(path)[0] == XML_SUFFIX for path in paths):
        raise ConfigError("--element", [f"is {element}, but no file is XML"], "Leave it out.")
    chosen = as_list(columns) if columns else None
    request = {
        "made_by": "convert",
        "version": _choose_version(suffix, paths),
        "files": describe_given(paths),
        "columns": chosen,
        "separator": separator if suffix == "txt" else None,
        **{name: value for name, value in asdict(options).items() if value != getattr(ReadingOptions(), name)},
        **({} if table is None else {"table": table}),
    }
    growing = GrowingFile(out, request)
    finished = growing.find_finished()
    if finished is not None:
        yield _describe(out, paths, finished.counts, finished.files[out.name]["bytes"], chosen, is_reused=True)
        return
    progress = growing.open() or {"file": 0, "batches": 0, "counts": asdict(Counts())}
    first_file, num_done = int(progress["file"]), int(progress["batches"])
    writer = Writer(cast("Format", suffix), separator)
    writer.counts = Counts(**progress["counts"])
    is_first = not writer.counts.rows
    total, position = sum(path.stat().st_size for path in paths), sum(path.stat().st_size for path in paths[:first_file])
    try:
        for index, path in enumerate(paths[first_file:], first_file):
            for number, batch in enumerate(iter_batches(path, chosen, options, table), 1):
                if index == first_file and number <= num_done:
                    continue
                data = writer.write(batch, path, is_first=is_first)
                is_first = False
                growing.add(data, {"file": index, "batches": number, "counts": asdict(writer.counts)})
                yield FileProgress(position, total, writer.counts.rows)
            position += path.stat().st_size
            yield FileProgress(position, total, writer.counts.rows)
        counts = asdict(writer.counts)
        manifest = growing.finish(counts)
    finally:
        growing.close()
    for name, text in _WARN.items():
        is_clear = name == "texts_with_blank_lines" and bool(separator.strip("\n"))
        if counts[name] and not is_clear:
            log.warning("%s: %s %s", out, f"{counts[name]:,}", text)
    yield _describe(out, paths, counts, manifest.files[out.name]["bytes"], chosen, is_reused=False)


def _choose_version(suffix: str, paths: Sequence[Path]) -> int:
    if suffix in ("csv", "tsv"):
        return _VERSION_TO_CSV
    return _CSV_VERSION if any(path.suffix.lower() in (".csv", ".tsv") for path in paths) else _VERSION


def _describe(
    out: Path, paths: list[Path], counts: dict[str, Any], num_bytes: int, columns: list[str] | None, *, is_reused: bool
) -> ConvertResult:
    return ConvertResult(
        file=str(out),
        files=[str(path.absolute()) for path in paths],
        num_rows=counts["rows"],
        num_bytes=num_bytes,
        columns=columns,
        notes={name: count for name, count in counts.items() if name != "rows" and count},
        is_reused=is_reused,
    )
