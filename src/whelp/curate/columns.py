"""Which columns of rows are text, what the text of a row is, and how every text in it is changed.

A column of text is one of strings, or of lists of turns, each a struct of strings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.join_texts import join_columns

PLACES = ("file_index", "line")
WRITTEN = ("origin", "line", "rule", "reason", "duplicate_of", "similarity")  # what rows get when they are written

ReadTexts = Callable[[pa.RecordBatch], pa.LargeStringArray]


@dataclass(frozen=True)
class TextColumns:
    """The columns of text of rows: all but those that say where rows are from, and `kept` ones beside the text.

    `join` says what the text of each row is, where there are several columns, or turns; without it, all columns of strings.
    """

    kept: Sequence[str] = ()
    join: ReadTexts | None = None

    def list_names(self, schema: pa.Schema) -> list[str]:
        """The columns of text, in order."""
        return [name for name in schema.names if name not in {*PLACES, *WRITTEN, *self.kept}]

    def find_single(self, schema: pa.Schema) -> str | None:
        """The column that is all the text there is, if it is of strings: its lines and paragraphs may be taken out."""
        names = self.list_names(schema)
        is_single = len(names) == 1 and pa.types.is_large_string(schema.field(names[0]).type)
        return names[0] if is_single else None

    def read(self, batch: pa.RecordBatch) -> pa.LargeStringArray:
        """The text of every row, by which it is judged."""
        single = self.find_single(batch.schema)
        names = self.list_names(batch.schema)
        if single is None and self.join is not None and names:
            return self.join(batch)
        columns = [batch.column(name) for name in names if pa.types.is_large_string(batch.schema.field(name).type)]
        return join_columns(columns or [pa.array([""] * batch.num_rows, pa.large_string())])


def map_texts(column: pa.Array, change: Callable[[pa.LargeStringArray], pa.LargeStringArray]) -> pa.Array:
    """A column with every string in it changed, in turns too; null stays null."""
    if pa.types.is_large_string(column.type):
        changed = change(column)
        return pc.if_else(column.is_null(), pa.scalar(None, pa.large_string()), changed) if column.null_count else changed
    offsets = column.offsets
    turns = column.values.slice(offsets[0].as_py(), offsets[-1].as_py() - offsets[0].as_py())
    fields = [map_texts(turns.field(number), change) for number in range(turns.type.num_fields)]
    whole = pa.StructArray.from_arrays(fields, fields=list(turns.type))
    return pa.LargeListArray.from_arrays(pc.subtract(offsets, offsets[0]), whole, type=column.type, mask=column.is_null())


def add_reasons(rows: pa.RecordBatch, pairs: Sequence[tuple[str, str]], numbers: pa.Array) -> pa.RecordBatch:
    """Rows with the columns `rule` and `reason`: of each row the pair of its number."""
    for place, name in enumerate(("rule", "reason")):
        words = pa.array([pair[place] for pair in pairs], pa.large_string())
        rows = rows.append_column(pa.field(name, pa.large_string()), words.take(numbers))
    return rows


def set_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """A batch with other values in a column."""
    place = batch.schema.get_field_index(name)
    return batch.set_column(place, batch.schema.field(place), values)
