"""The first row of CSV files and of spreadsheets, which names the columns: what is chosen by it, and whether it is one at all."""

from __future__ import annotations

import pyarrow as pa

from whelp.corpus.columns import ColumnsFound, Selection, select_of_texts
from whelp.corpus.encodings import BadFile
from whelp.corpus.rows import Reading

_MOST_SHOWN = 60
_LEAST_SPACES = 5  # in a name that is taken for a text
_NO_HEADER = "If there is no header, set data.column_names to the names of all columns"


def select_by_header(reading: Reading, schema: pa.Schema, otherwise: str = "") -> Selection:
    """The columns to read, of a file where every value is text: `schema` has the names, and what the values look like.

    Args:
        otherwise: What else can be done where there is no header.

    Raises:
        BadFile: When there is no such column, or where the names look like a text, which would be lost.
    """
    advice = f"{_NO_HEADER}{otherwise}."
    try:
        selection = select_of_texts(reading.shape, reading.asked, schema)
    except ColumnsFound:
        raise
    except BadFile as error:
        if reading.column_names or not any(map(is_no_name, schema.names)):
            raise
        raise BadFile(error.kind, error.reason, f"{error.next_step} {advice}") from None
    chosen = selection.schema.names[0]
    if selection.is_text and reading.asked is None and not reading.column_names and is_no_name(chosen):
        reason = f"its first row looks like a text, not like the names of columns ({chosen[:_MOST_SHOWN]!r})"
        raise BadFile("no header", reason, f"{advice} If it is a header, name the column in data.custom_text_key.")
    return selection


def is_no_name(name: str) -> bool:
    """Whether what should be the name of a column looks like a value: a sentence, or a number.

    >>> [is_no_name(name) for name in ("review text", "id_2", "The cat sat on the mat.", "Hello!", "3.50")]
    [False, False, True, True, True]
    """
    is_number = name.strip().lstrip("-").replace(".", "").replace(",", "").isdigit()
    return is_number or name.rstrip().endswith((".", "!", "?", "…", "。")) or name.count(" ") >= _LEAST_SPACES
