"""What a row must look like: its candidate columns, and which rows cannot be used.

A shape is handed over by whoever uses the rows (see `RowShape`); without one, a row is one text (`TextShape`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from whelp.base.arrays import find_valid

NO_TEXT = "null or missing text"
NOT_TEXT = "a value that is not text"
NOT_UTF8 = "text that is not UTF-8"
NOT_AN_OBJECT = "not an object"
NOT_A_LIST = "a value that is not a list"
UNEVEN_LISTS = "lists of different lengths"
NAME_THE_COLUMN = (
    "Name the column in data.custom_text_key, data.multi_column_keys or data.pieces, to have its whole numbers read as text"
)
TEXT = "text"  # the column without a shape, and of files that hold none of a shape's columns


@dataclass(frozen=True)
class BadValue:
    """Why a row cannot be used: `reason` to count by, `found` and `expected` for the error; `remedy`, where there is a special one."""

    reason: str
    found: str
    expected: str
    remedy: str = ""


def too_long(what: str, max_row_bytes: int) -> BadValue:
    """A row, or a document of a text file, that is not taken into memory."""
    return BadValue(
        "too long",
        f"{what} of more than {max_row_bytes:,} bytes",
        f"at most data.max_row_bytes ({max_row_bytes:,})",
        "Cut its text into several, raise data.max_row_bytes (memory grows with it, several times), ",
    )


class BadValueLike(Protocol):
    """A `BadValue`, whoever made it."""

    @property
    def reason(self) -> str: ...
    @property
    def found(self) -> str: ...
    @property
    def expected(self) -> str: ...


class RowShape(Protocol):
    """What rows are wanted."""

    @property
    def schema(self) -> pa.Schema:
        """Candidate columns, in order: each `large_string`, or `large_list(struct([... large_string fields ...]))`; or, of values
        that are not looked at, `any_values.ANY`.
        """
        ...

    @property
    def companions(self) -> Mapping[str, str]:
        """Of some candidates, the one without which they are passed over: in a file that has not that one. None, if nothing is said."""
        return {}

    @property
    def named(self) -> Mapping[str, str]:
        """Candidates that the user calls by name, and the option that does. None, if nothing is said.

        Whole numbers, true and false are read as text in them; in others they are no text.
        """
        return {}

    def find_bad(self, rows: pa.RecordBatch) -> Mapping[int, BadValueLike]:
        """The rows of a batch that cannot be used, by index. The batch has those candidate columns that were found."""
        ...


@dataclass(frozen=True)
class TextShape(RowShape):
    """One text a row: `custom_text_key`, else the column `text`, else the only column that holds text.

    Whatever its name in the file, it is delivered as the column `text`.
    """

    custom_text_key: str | None = None

    @property
    def schema(self) -> pa.Schema:
        """The one column."""
        return pa.schema([(self.custom_text_key or TEXT, pa.large_string())])

    def find_bad(self, rows: pa.RecordBatch) -> dict[int, BadValue]:
        """Rows whose text is null.

        >>> batch = pa.record_batch({"text": pa.array(["a", None], pa.large_string())})
        >>> TextShape().find_bad(batch)[1].found
        "'text' is null"
        """
        column = rows.column(0)
        if not column.null_count:
            return {}
        value = BadValue(NO_TEXT, f"{rows.schema.names[0]!r} is null", "text")
        return {int(index): value for index in np.flatnonzero(~find_valid(column))}


def is_turns(kind: pa.DataType) -> bool:
    """Whether a candidate column holds the turns of a conversation: a list of objects."""
    return bool(pa.types.is_large_list(kind))
