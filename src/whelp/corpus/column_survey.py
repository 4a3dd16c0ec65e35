"""Which columns the files of a source have, for people whose files do not have the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from whelp.base.errors import SourceError
from whelp.corpus.columns import ColumnsFound, ListingShape, list_candidates, select_columns
from whelp.corpus.encodings import BadFile
from whelp.corpus.nested import TEXT_ITSELF, Holding
from whelp.corpus.open_file import BLOCK_BYTES
from whelp.corpus.reader import Reader
from whelp.corpus.row_window import Window

_MOST_FILES = 200  # looked into, so that an error does not take as long as the work
_MOST_KINDS = 12
_MOST_NAMES = 3  # files of a kind that are named
_MOST_COLUMNS = 8

Columns = tuple[str, ...]


def list_columns(reader: Reader) -> dict[Columns, list[str]]:
    """The files of rows by the columns of text that they have: the first 200 files, in order; unreadable ones are passed over."""
    kinds: dict[Columns, list[str]] = {}
    for label, columns in _iter_columns(reader):
        names = tuple(
            name if held.is_text else f"{name} ({held.say_inside()})"
            for name, held in columns.items()
            if held.is_text or held.fields
        )
        kinds.setdefault(names, []).append(label)
    return kinds


def _iter_columns(reader: Reader) -> Iterator[tuple[str, dict[str, Holding]]]:
    """Of each file what its columns hold."""
    listing = replace(reader, shape=ListingShape(), config=replace(reader.config, custom_text_key=None))
    for file in [file for file in listing.files if file.format is not None][:_MOST_FILES]:
        try:
            for _ in listing.iter_rows(file, listing.make_bad_rows(file, stops=False), BLOCK_BYTES, Window()):
                break
        except ColumnsFound as found:
            if found.columns:
                yield file.label, found.columns
        except (BadFile, SourceError):
            continue


def check_html_columns(name: str, reader: Reader, wanted: Sequence[str]) -> None:
    """Look for the columns that are said to hold HTML among those that the text is made of.

    Raises:
        SourceError: When the text of no file is made of one of them.
    """
    asked = reader.config.custom_text_key
    used: dict[str, None] = {}
    for _, columns in _iter_columns(reader):
        inside = {f"{column}.{path}" for column, held in columns.items() if not held.is_list for path in held.fields}
        fields = dict.fromkeys(inside.intersection(list_candidates(reader.shape, asked)), TEXT_ITSELF)
        try:
            used |= dict.fromkeys(select_columns(reader.shape, asked, {**columns, **fields}).schema.names)
        except BadFile:  # reading it says what is wrong
            continue
        if set(wanted) <= set(used):
            return
    missing = [column for column in wanted if column not in used]
    if used:
        found = f"names {', '.join(missing)}, of which no text of {name} is made"
        raise SourceError(
            "data.html_columns", found, f"columns of the text ({', '.join(used)})", "Correct it, or leave it out."
        )


def say_columns(kinds: dict[Columns, list[str]]) -> Iterable[str]:
    """A line for each kind of file: its columns, and the names of some."""
    for columns, labels in list(kinds.items())[:_MOST_KINDS]:
        more = f" and {len(labels) - _MOST_NAMES:,} more" if len(labels) > _MOST_NAMES else ""
        yield f"{', '.join(labels[:_MOST_NAMES])}{more}: {_join(columns)}"
    if len(kinds) > _MOST_KINDS:
        yield f"... and {len(kinds) - _MOST_KINDS:,} other kinds of files"


def explain_columns(error: SourceError, reader: Reader) -> SourceError:
    """The error of a row that has no text where it is looked for, with the columns of all files where those differ."""
    if sum(file.format is not None for file in reader.files) < 2:
        return error
    kinds = list_columns(reader)
    if len(kinds) < 2:
        return error
    lines = "".join(f"\n  {line}" for line in say_columns(kinds))
    advice = (
        "Name those that are alike in data.source (a glob, or a list), and their columns in data.multi_column_keys or "
        "data.custom_text_key; or make an entry of data.mixture for each kind."
    )
    next_step = f"{error.next_step}\nThe files of this source have different columns of text:{lines}\n{advice}"
    return SourceError(error.where, error.found, error.expected, next_step)


def _join(columns: Columns) -> str:
    more = f" and {len(columns) - _MOST_COLUMNS} more" if len(columns) > _MOST_COLUMNS else ""
    return (", ".join(columns[:_MOST_COLUMNS]) or "none") + more
