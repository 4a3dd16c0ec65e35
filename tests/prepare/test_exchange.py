"""Streams of ids cut into documents, whatever the pieces they come in; and files read in pieces, in flat memory."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whelp.prepare.exchange import documents as shared
from whelp.prepare.exchange import flat, megatron, parquet
from whelp.prepare.exchange.documents import Documents, cut_documents, divide_long, iter_stored

from .fakes import make_split

END = 0


def to_lists(some: Documents) -> list[list[int]]:
    """The documents as Python lists."""
    return [some.ids[first:stop].tolist() for first, stop in zip(some.offsets[:-1], some.offsets[1:], strict=True)]


def cut_slowly(ids: list[int]) -> list[list[int]]:
    """Documents that end with the end-of-text id, or begin with it where the stream does."""
    if ids[:1] == [END]:
        found: list[list[int]] = []
        for token in ids:
            if token == END:
                found.append([])
            found[-1].append(token)
        return found
    found = [[]]
    for token in ids:
        found[-1].append(token)
        if token == END:
            found.append([])
    return [document for document in found if document]


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_documents_do_not_depend_on_pieces(ids: list[int], cuts: list[int]) -> None:
    """Wherever the stream is cut into pieces, also empty ones, its documents are those of the whole; so are their masks."""
    bounds = [0, *sorted(min(cut, len(ids)) for cut in cuts), len(ids)]
    array = np.array(ids, np.uint16)
    mask = (np.arange(len(ids)) % 2).astype(np.uint8)
    pieces = [(array[first:stop], mask[first:stop]) for first, stop in itertools.pairwise(bounds)]
    found = list(cut_documents(pieces, END))
    assert [document for some in found for document in to_lists(some)] == cut_slowly(ids)
    masks = [some.mask for some in found if some.mask is not None]
    assert [number for some in masks for number in some.tolist()] == mask.tolist()


def test_a_stream_without_any_end_is_divided() -> None:
    """No more than the longest document is held; the pieces after are counted as divided."""
    pieces = [(np.full(4, 7, np.uint16), None)] * 5
    found = list(cut_documents(pieces, END, longest=8))
    assert [len(some.ids) for some in found] == [8, 8, 4]
    assert sum(some.num_divided for some in found) == 2


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 5))
def test_long_documents_are_divided(lengths: list[int], longest: int) -> None:
    """No document is longer, no token is lost, short ones stay whole, and what was divided is counted."""
    offsets = np.cumsum([0, *lengths])
    ids = np.arange(offsets[-1])
    found = list(divide_long(Documents(ids=ids, offsets=offsets, mask=ids.astype(np.uint8)), longest))
    documents = [document for some in found for document in to_lists(some)]
    assert [token for document in documents for token in document] == ids.tolist()
    assert max(map(len, documents)) <= longest
    assert len(documents) == len(lengths) + sum(some.num_divided for some in found)
    expected = sum(-(-length // longest) if length else 1 for length in lengths)
    assert len(documents) == expected
    assert all(some.mask is not None and some.mask.tolist() == some.ids.tolist() for some in found)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few tokens at a time, so that small files are many pieces."""
    for module in (shared, flat, megatron, parquet):
        monkeypatch.setattr(module, "PIECE_TOKENS", 8)
    monkeypatch.setattr(megatron, "_STEP", 3)


def test_files_of_many_pieces(small_pieces: None, tmp_path: Path) -> None:
    """Each format gives back what was written, also where documents, batches and pieces end at different places."""
    lengths = [3, 9, 1, 20, 2, 2, 2, 7, 1, 1]
    split = make_split(tmp_path, lengths)
    expected = [document for some in iter_stored(split) for document in to_lists(some)]
    assert [len(document) for document in expected] == lengths
    megatron.write_megatron(tmp_path / "a", split, 60_000)
    flat.write_nanogpt(tmp_path / "a.flat", split, 60_000, None)
    parquet.write_documents(tmp_path / "documents.parquet", split, [f"file {number}" for number in range(10)])
    parquet.write_packed(tmp_path / "packed.parquet", split, 5, 0, {})
    stream = [token for document in expected for token in document]
    read: dict[str, Any] = {
        "megatron": megatron.read_megatron(tmp_path / "a"),
        "parquet": parquet.open_parquet(tmp_path / "documents.parquet", "input_ids").read("auto", None),
    }
    for name, found in read.items():
        assert [document for some in found for document in to_lists(some)] == expected, name
    joined: dict[str, Any] = {
        "flat": flat.read_nanogpt(tmp_path / "a.flat", None),
        "packed": parquet.open_parquet(tmp_path / "packed.parquet", "input_ids").read("auto", None),
    }
    for name, found in joined.items():
        assert [token for some in found for token in some.ids.tolist()] == stream, name
    assert pq.read_table(tmp_path / "packed.parquet")["loss_mask"].to_pylist()[-1] == [1, 1, 1, 0, 0]


def test_a_footer_that_says_nothing_of_us(tmp_path: Path) -> None:
    """Metadata of others is left alone, and a fixed length of lists is no packed row of ours."""
    table = pa.table({"input_ids": pa.array([[1, 0], [2, 0]], pa.list_(pa.int32(), 2))})
    pq.write_table(table.replace_schema_metadata({"pandas": "{}"}), tmp_path / "a.parquet")
    opened = parquet.open_parquet(tmp_path / "a.parquet", "input_ids")
    assert opened.about == {}
    assert [to_lists(some) for some in opened.read("auto", 0)] == [[[1, 0], [2, 0]]]


@pytest.mark.parametrize("format", ["flat", "megatron", "parquet"])
def test_memory_stays_flat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, format: str) -> None:
    """Reading a file of 8 MB in pieces of 64 kB takes far less than the file."""
    for module in (shared, flat, megatron, parquet):
        monkeypatch.setattr(module, "PIECE_TOKENS", 1 << 15)
    ids = (np.arange(1 << 22) % 1000).astype("<u2")
    if format == "flat":
        ids.tofile(tmp_path / "a.bin")
        read = flat.read_nanogpt(tmp_path / "a.bin", END)
    elif format == "megatron":
        count = len(ids) // 100
        head = megatron.MAGIC + np.array([1], "<u8").tobytes() + b"\x08" + np.array([count, count + 1], "<u8").tobytes()
        tables = np.full(count, 100, "<i4"), np.arange(count, dtype="<i8") * 200, np.arange(count + 1, dtype="<i8")
        (tmp_path / "a.idx").write_bytes(head + b"".join(table.tobytes() for table in tables))
        ids[: count * 100].tofile(tmp_path / "a.bin")
        read = megatron.read_megatron(tmp_path / "a")
    else:
        lists = pa.ListArray.from_arrays(np.arange(0, len(ids) + 1, 1024, dtype=np.int32), pa.array(ids))
        pq.write_table(pa.table({"input_ids": lists}), tmp_path / "a.parquet", row_group_size=256)
        read = parquet.open_parquet(tmp_path / "a.parquet", "input_ids").read("documents", None)
    del ids
    tracemalloc.start()
    arrow_before, num_tokens, most_arrow = pa.total_allocated_bytes(), 0, 0
    for some in read:
        num_tokens += len(some.ids)
        most_arrow = max(most_arrow, pa.total_allocated_bytes() - arrow_before)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_tokens > 4_000_000
    assert peak + most_arrow < 3 << 20, (peak, most_arrow)
