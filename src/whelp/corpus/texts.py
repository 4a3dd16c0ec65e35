"""The texts of a source alone: what a vocabulary is learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import to_arrow, to_numpy
from whelp.corpus.columns import iter_leaves
from whelp.corpus.source import Source


def iter_texts(
    source: Source,
    max_bytes: int | None = None,
    *,
    read: Callable[[pa.RecordBatch], Iterable[pa.LargeStringArray]] | None = None,
) -> Iterator[pa.LargeStringArray]:
    """Yield the texts alone, as Arrow arrays; of rows of several columns, the values of each. Rows held out give none.

    `read` makes other texts of the rows.

    With `max_bytes`, take every k-th document, so that the texts come from all over the source, and cut the last one
    where the bytes end. The same source gives the same texts.
    """
    step = 1 if max_bytes is None else max(1, -(-source.num_bytes // max(1, max_bytes)))
    left = max_bytes
    num_seen = 0
    for partition in source.iter_partitions():
        if partition.split != "train":
            return
        batch = partition.batch.drop_columns(["file_index", "line"])
        chosen = np.arange(-num_seen % step, batch.num_rows, step)
        num_seen += batch.num_rows
        if step > 1:
            batch = batch.take(to_arrow(chosen))
        for texts in _iter_values(batch) if read is None else read(batch):
            texts = texts.drop_null() if texts.null_count else texts
            if left is not None:
                texts, left = _cut(texts, left)
            if len(texts):
                yield texts
            if left == 0:
                return


def _iter_values(batch: pa.RecordBatch) -> Iterator[pa.LargeStringArray]:
    return (texts for texts, _ in iter_leaves(batch))


def _cut(texts: pa.LargeStringArray, max_bytes: int) -> tuple[pa.LargeStringArray, int]:
    """The first `max_bytes` of the texts, and how many bytes are left then."""
    ends = np.cumsum(to_numpy(pc.binary_length(texts)))
    num_whole = int(np.searchsorted(ends, max_bytes, side="right"))
    if num_whole == len(texts):
        return texts, max_bytes - (int(ends[-1]) if len(ends) else 0)
    num_bytes = max_bytes - int(ends[num_whole - 1]) if num_whole else max_bytes
    cut = texts[num_whole].as_buffer()[:num_bytes].to_pybytes().decode(errors="ignore")
    last = pa.array([cut] if cut else [], pa.large_string())
    return pa.concat_arrays([texts[:num_whole], last]), 0
