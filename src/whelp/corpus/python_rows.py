"""Rows handed over from Python: frames, tables, datasets, and any iterable of dictionaries or of texts."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from whelp.base.errors import SourceError
from whelp.corpus.arrow_rows import BATCH_ROWS
from whelp.corpus.find_files import FoundFile, SkippedFile
from whelp.corpus.nested import list_roots
from whelp.corpus.row_shape import TEXT
from whelp.corpus.splits import choose_splits, skip_others

_EXPECTED = "a pandas frame, a pyarrow table, a datasets.Dataset, or an iterable of dictionaries or of texts"


@dataclass(frozen=True)
class ArrowTable:
    """A table in memory."""

    table: pa.Table

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""
        return self.table.schema

    @property
    def num_bytes(self) -> int:
        """What it takes in memory."""
        return int(self.table.nbytes)

    def iter_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Its rows, so many at a time, however it is cut into chunks."""
        chosen = self.table.select(columns)
        for start in range(0, chosen.num_rows, BATCH_ROWS):
            yield from chosen.slice(start, BATCH_ROWS).combine_chunks().to_batches()


@dataclass(frozen=True)
class DatasetTable:
    """A `datasets.Dataset`; its rows stay where they are on disk."""

    dataset: Any
    candidates: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""
        return self.dataset.features.arrow_schema

    @property
    def num_bytes(self) -> int:
        """What the wanted columns take, about."""
        table = self.dataset.data
        names = [name for name in list_roots(table.schema, self.candidates) if name in table.column_names] or table.column_names
        num_bytes = sum(table.column(name).nbytes for name in names)
        return int(num_bytes * len(self.dataset) / max(table.num_rows, 1))  # some of its rows may be chosen

    def iter_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Its rows, so many at a time."""
        chosen = self.dataset.select_columns(columns).with_format("arrow")
        for table in chosen.iter(BATCH_ROWS):
            yield from table.combine_chunks().to_batches()


class Spool:
    """A temporary file of rows that can be read again and again; it goes when nobody holds it."""

    def __init__(self, rows: Iterable[Any]) -> None:
        handle, name = tempfile.mkstemp(prefix="whelp-", suffix=".jsonl")
        self.path = Path(name)
        weakref.finalize(self, self.path.unlink, missing_ok=True)
        self.num_rows = 0
        with os.fdopen(handle, "wb") as file:
            for row in rows:
                file.write(to_json_line(row))
                self.num_rows += 1


def find_given(rows: Any, candidates: list[str], asked_split: str) -> tuple[list[FoundFile], list[SkippedFile], str]:
    """Rows from Python as files of a source, the splits that are not in use, and what they are called.

    Raises:
        SourceError: When they are nothing that can be read, or empty.
    """
    if isinstance(rows, Mapping):
        if not rows or not all(isinstance(name, str) for name in rows):
            raise _refuse(rows)
        are_lists = all(isinstance(values, list) and values and not isinstance(values[0], Mapping) for values in rows.values())
        if are_lists and asked_split not in rows:  # columns
            raise _refuse(rows)
        files = [
            replace(_find_one(rows[name], f"rows[{name}]", split, candidates), split_name=name)
            for name, split in choose_splits("rows", rows, asked_split)
        ]
        return files, skip_others("rows", rows, asked_split), f"rows ({', '.join(rows)})"
    name = f"rows of a {type(rows).__name__}"
    return [_find_one(rows, "rows", "train", candidates)], [], name


def _find_one(rows: Any, label: str, split: str, candidates: list[str]) -> FoundFile:
    home = type(rows).__module__.partition(".")[0]
    if home == "polars" and hasattr(rows, "collect"):  # a LazyFrame
        rows = rows.collect()
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if isinstance(rows, pa.Array | pa.ChunkedArray):
        rows = pa.table({_name_texts(candidates): rows})
    elif home in ("pandas", "polars") and hasattr(rows, "to_frame"):  # a column of texts
        rows = rows.to_frame(_name_texts(candidates))
    if home == "pandas" and hasattr(rows, "columns"):
        table = _from_pandas(rows, candidates)
        rows = _iter_frame(rows) if table is None else table
    if isinstance(rows, pa.Table):
        _check_length(rows.num_rows, label)
        return FoundFile(Path(label), is_named=True, label=label, format="table", split=split, table=ArrowTable(rows))
    if home == "datasets" and hasattr(rows, "features") and hasattr(rows, "select"):
        _check_length(len(rows), label)
        return make_dataset_file(rows, label, split, candidates)
    if hasattr(rows, "__arrow_c_stream__"):  # whatever gives Arrow: frames of other packages, readers
        return _find_one(pa.RecordBatchReader.from_stream(rows).read_all(), label, split, candidates)
    if not isinstance(rows, Iterable) or isinstance(rows, (str, bytes, Mapping)):
        raise _refuse(rows)
    spool = Spool(_iter_rows(rows, label, _name_texts(candidates)))
    _check_length(spool.num_rows, label)
    return FoundFile(spool.path, is_named=True, label=label, format="jsonl", split=split, keep=spool)


def _name_texts(candidates: list[str]) -> str:
    """The column that texts are, which come without one."""
    return candidates[0] if len(candidates) == 1 else TEXT


def _iter_rows(rows: Iterable[Any], label: str, text_name: str) -> Iterator[Any]:
    """Rows as JSON has them; texts, where the first row is one. What else it has is left to whoever reads it, who says what is wrong.

    Raises:
        SourceError: At an object of a kind that JSON has not.
    """
    are_texts = False
    for number, row in enumerate(rows, 1):
        are_texts = are_texts or (number == 1 and isinstance(row, str))
        if are_texts and (row is None or isinstance(row, str)):
            yield {text_name: row}
        elif isinstance(row, Mapping):
            yield dict(row)
        elif row is None or isinstance(row, str | int | float | list | tuple | np.generic):
            yield row
        else:
            expected, next_step = "a dictionary or a text", "Make a dictionary of it: `dataclasses.asdict(row)`, `vars(row)`."
            raise SourceError(f"{label}, row {number:,}", f"is a {type(row).__name__}", expected, next_step)


def make_dataset_file(dataset: Any, label: str, split: str, candidates: Iterable[str] = ()) -> FoundFile:
    """A `datasets.Dataset` as a file of a source."""
    table = DatasetTable(dataset, tuple(candidates))
    return FoundFile(Path(label), is_named=True, label=label, format="table", split=split, table=table)


def to_json_line(row: Any) -> bytes:
    """A row as a line of JSON. Whole numbers, true and false of NumPy are plain ones; what else JSON has not becomes an object."""
    return json.dumps(row, default=_to_plain, skipkeys=True).encode() + b"\n"


def _to_plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.integer | np.bool_) else {}


def _check_length(num_rows: int, label: str) -> None:
    if num_rows == 0:
        raise SourceError(label, "has no rows", "rows", "Hand over some.")


def _refuse(rows: Any) -> SourceError:
    next_step = "Convert it, for example to a list of dictionaries."
    if isinstance(rows, str | os.PathLike):
        next_step = "A file or a folder is data.source of the recipe."
    elif callable(rows):
        next_step = "Call it, and hand over the rows that it gives."
    return SourceError("rows", f"is a {type(rows).__name__}", _EXPECTED, next_step)


def _from_pandas(frame: Any, candidates: list[str]) -> pa.Table | None:
    """A frame as a table; None when a wanted column holds values of several kinds."""
    columns = []
    names = [str(name) for name in frame.columns]
    for place, name in enumerate(names):
        series = frame.iloc[:, place]
        try:
            values = pa.array(series, from_pandas=True)
            columns.append(values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values]))
        except (pa.ArrowException, TypeError, ValueError):
            if any(name in (candidate, candidate.partition(".")[0]) for candidate in candidates):
                return None
            columns.append(pa.chunked_array([pa.nulls(len(series))]))
    return pa.Table.from_arrays(columns, names=names)


def _iter_frame(frame: Any) -> Iterator[dict[str, Any]]:
    names = [str(name) for name in frame.columns]
    whole = frame.astype(object).where(frame.notna(), None)
    for values in whole.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))
