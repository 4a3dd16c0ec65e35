"""Rows of a table of a SQLite database, for conversion."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from whelp.base.errors import SourceError, say_first_line

SUFFIXES = (".sqlite", ".sqlite3", ".db")
_TEXT_TYPES = ("CHAR", "CLOB", "TEXT")  # what a declared type has in it where its values are kept as text


def iter_sqlite_batches(
    path: Path, table: str | None, batch_rows: int, choose: Callable[[list[str]], list[str]]
) -> Iterator[pa.RecordBatch]:
    """The rows of a table or a view, which is read only; `choose` says which of its columns.

    Args:
        table: Its name; None for the only one.

    Raises:
        SourceError: When it is no database, or has no such table, or several and none is named.
    """
    import sqlite3  # not every Python has it

    if not path.is_file():
        raise SourceError(path, "there is no such file", "", "Check the spelling.")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            name = _choose_table(path, table, database)
            kinds = {str(row[1]): str(row[2]).upper() for row in database.execute(f"PRAGMA table_info({_quote(name)})")}
            names = choose(list(kinds))
            is_text = [any(kind in kinds[column] for kind in _TEXT_TYPES) for column in names]
            rows = database.execute(f"SELECT {', '.join(map(_quote, names))} FROM {_quote(name)}")
            while some := rows.fetchmany(batch_rows):
                columns = zip(*some, strict=True)
                arrays = [_to_array(values, is_text=told) for values, told in zip(columns, is_text, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, names=names)
    except sqlite3.Error as error:
        raise SourceError(
            path, f"cannot be read ({say_first_line(error)})", "a whole SQLite database", "Get it again."
        ) from None


def _choose_table(path: Path, asked: str | None, database: Any) -> str:
    found = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    names = [str(row[0]) for row in database.execute(found)]
    if asked in names:
        return str(asked)
    if asked is not None:
        raise SourceError(path, f"has no table {asked!r}", f"one of {', '.join(names)}", "Choose with --table.")
    if len(names) != 1:
        tables = f"holds {len(names)} tables: {', '.join(names)}" if names else "holds no table"
        raise SourceError(path, tables, "one table", "Choose with --table." if names else "Name another file.")
    return names[0]


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _to_array(values: tuple[Any, ...], *, is_text: bool) -> pa.Array:
    """Values as they are where all are of a kind; as text where they are of several, which SQLite allows."""
    kinds = {type(value) for value in values if value is not None}
    if not is_text and len(kinds) == 1 and kinds <= {int, float, bytes}:
        return pa.array(values)
    if not is_text and not kinds:
        return pa.nulls(len(values))
    return pa.array([None if value is None else _to_text(value) for value in values], pa.string())


def _to_text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
