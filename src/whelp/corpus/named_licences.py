"""What rows name as their licence, as collectors and datasets do: read at the beginnings of files, which takes no time.

The values of all rows are counted by `whelp corpus report`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from whelp.corpus.encodings import BadFile
from whelp.corpus.open_file import SourceFile, iter_blocks

_COLUMNS = ("licence", "license")
_MOST_FILES = 100
_BEGINNING_BYTES = 1 << 18
_BEGINNING_ROWS = 1000


def find_named_licences(files: Iterable[SourceFile]) -> list[str]:
    """The licences that the first rows of the first files name, each once; of a dataset also what it says of itself."""
    found = dict[str, None]()
    for file in islice(files, _MOST_FILES):
        with contextlib.suppress(BadFile):  # reading the documents says so
            found |= dict.fromkeys(name.strip() for name in _iter_named(file) if isinstance(name, str))
    return [name for name in found if name]


def _iter_named(file: SourceFile) -> Iterator[Any]:
    if file.table is not None:
        yield getattr(getattr(getattr(file.table, "dataset", None), "info", None), "license", None)
        for column in _find_columns(file.table.schema.names):
            yield from next((batch.column(0).to_pylist() for batch in file.table.iter_batches([column])), [])
    elif file.format == "jsonl":
        beginning = next(iter_blocks(file, _BEGINNING_BYTES), b"")
        for line in beginning.splitlines()[:_BEGINNING_ROWS]:
            with contextlib.suppress(ValueError):  # it is cut off, or a bad row
                row = json.loads(line)
                yield from (row.get(column) for column in _COLUMNS if isinstance(row, dict))
    elif file.format == "parquet":
        yield from _iter_parquet(file)


def _iter_parquet(file: SourceFile) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.is_packed:
        return
    try:
        with pq.ParquetFile(file.path) as opened:
            for column in _find_columns(opened.schema_arrow.names):
                for batch in islice(opened.iter_batches(_BEGINNING_ROWS, columns=[column]), 1):
                    yield from batch.column(0).to_pylist()
    except (pa.ArrowException, OSError):
        return


def _find_columns(names: Iterable[str]) -> list[str]:
    present = set(names)
    return [name for name in _COLUMNS if name in present]
