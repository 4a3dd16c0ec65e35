"""Test documents that are trained on as well."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from whelp.artifacts.token_store import TokenSplit, make_batch, make_schema, open_store, read_split, write_split
from whelp.prepare.leak import find_leak

from .fakes import make_partitions
from .test_masks import finish


def write(folder: Path, blocks: list[list[list[int]]]) -> TokenSplit:
    """A split with a record batch for each block of documents."""
    schema = make_schema(100)
    batches = []
    for documents in blocks:
        offsets = np.cumsum([0, *map(len, documents)]).astype(np.int64)
        flat = np.array(list(itertools.chain(*documents)), np.uint16)
        count = len(documents)
        batches.append(make_batch(schema, flat, offsets, pa.array([0] * count, pa.int32()), pa.array(range(count), pa.int64())))
    write_split(folder, schema, batches)
    return read_split(folder)


@pytest.mark.parametrize("seed", range(20))
def test_finds_what_a_set_of_documents_finds(tmp_path: Path, seed: int) -> None:
    """Of few different tokens, so that many documents are alike and some the same; in any blocks."""
    draw = random.Random(seed)
    documents = [[draw.randrange(1, 3) for _ in range(draw.randrange(1, 9))] for _ in range(60)]
    train, test = documents[:40], documents[40:]
    leaked = [ids for ids in test if ids in train]
    leak = find_leak(write(tmp_path / "train", [train[:13], train[13:]]), write(tmp_path / "test", [test[:3], test[3:]]))
    assert (leak.num_documents, leak.num_tokens) == (len(leaked), sum(map(len, leaked)))


def test_the_ledger_tells_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Counted, and warned of where it is much; without copies nothing is said."""
    same, other = [f"document {number}" for number in range(30)], [f"text {number}" for number in range(30)]
    finish(tmp_path / "a", make_partitions(same + same), test_split=20, test_split_shuffle=False)
    assert open_store(tmp_path / "a").ledger["notes"] == {"test documents that stand in train, too, word for word": 20}
    assert "100 % of the test tokens are of documents that stand in train, too" in caplog.text
    caplog.clear()
    finish(tmp_path / "b", make_partitions(same + other), test_split=20, test_split_shuffle=False)
    assert open_store(tmp_path / "b").ledger["notes"] == {}
    assert not caplog.text
