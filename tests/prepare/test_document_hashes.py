"""Numbers of documents: equal for equal ids, and for no others."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from whelp.artifacts.token_store import make_batch, make_schema, read_split, write_split
from whelp.prepare import document_hashes


def test_as_equal_as_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared pair by pair with the ids themselves; also where a block ends within the split, or a document is empty."""
    documents = [[1, 2, 3], [3, 2, 1], [1, 2, 3], [1, 2], [], [0], [0, 0], [], [1, 2, 3, 0], list(range(50)), [0]]
    offsets = np.concatenate(([0], np.cumsum([len(ids) for ids in documents])))
    schema, count = make_schema(100), len(documents)
    flat = np.array(list(itertools.chain(*documents)))
    batch = make_batch(schema, flat, offsets, pa.array([0] * count, pa.int32()), pa.array(range(count), pa.int64()))
    write_split(tmp_path / "train", schema, [batch.slice(0, 4), batch.slice(4)])
    expected = document_hashes.hash_ids(flat, offsets)
    for block in (1, 7, 1 << 20):
        monkeypatch.setattr(document_hashes, "_BLOCK_TOKENS", block)
        assert document_hashes.hash_documents(read_split(tmp_path / "train")).tolist() == expected.tolist()
    for (one, ids), (other, others) in itertools.combinations(zip(expected, documents, strict=True), 2):
        assert (one == other) == (ids == others), (ids, others)
