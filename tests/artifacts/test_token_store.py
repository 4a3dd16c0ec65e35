"""The token store: what is written is read again, by us and by `datasets`."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from whelp.artifacts.manifest import Manifest, describe_files, write_manifest
from whelp.artifacts.token_store import (
    LEDGER_FILE,
    SOURCES_FILE,
    TokenSplit,
    iter_batches,
    make_batch,
    make_schema,
    name_data_file,
    open_store,
    read_split,
    write_split,
    write_splits,
)
from whelp.base.errors import ArtifactError
from whelp.base.files import write_json

# documents, batch by batch: lengths 0 and 1, a batch of nothing, a batch of empty documents
BATCHES = [[[1, 2, 3], [4]], [], [[], []], [[5, 6], [], [7, 8, 9, 10]], [[11]]]
FLAT = list(range(1, 12))


def write(folder: Path, batches: list[list[list[int]]], vocab_size: int = 100) -> tuple[int, int]:
    """Write a split batch by batch; rows say the number of their batch and of their document in it."""
    schema = make_schema(vocab_size)

    def make(number: int, documents: list[list[int]]) -> pa.RecordBatch:
        offsets = np.cumsum([0, *map(len, documents)])
        ids = np.array([token for document in documents for token in document], dtype=np.int64)
        return make_batch(
            schema, ids, offsets, pa.array([number] * len(documents), pa.int64()), pa.array(range(len(documents)))
        )

    return write_split(folder, schema, (make(number, documents) for number, documents in enumerate(batches)))


def open_split(folder: Path) -> TokenSplit:
    """Open a split by its folder."""
    return read_split(folder)


@pytest.fixture
def split(tmp_path: Path) -> TokenSplit:
    """The split of BATCHES."""
    write(tmp_path / "train", BATCHES)
    return open_split(tmp_path / "train")


@pytest.mark.parametrize(("vocab_size", "dtype"), [(100, "uint16"), (1 << 16, "uint16"), ((1 << 16) + 1, "uint32")])
def test_ids_are_as_narrow_as_the_vocabulary(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    """16 bits as long as the largest id fits; the largest id survives."""
    write(tmp_path / "train", [[[0, vocab_size - 1]]], vocab_size)
    split = open_split(tmp_path / "train")
    assert split.dtype == np.dtype(dtype)
    assert split.document(0)["input_ids"].tolist() == [0, vocab_size - 1]


def test_counts_and_documents(tmp_path: Path, split: TokenSplit) -> None:
    """Every document is there, in order, with where it came from; empty ones too."""
    assert write(tmp_path / "again", BATCHES) == (8, 11)
    assert (split.num_documents, split.num_tokens) == (8, 11)
    expected = [
        {"input_ids": document, "file_index": number, "line": line}
        for number, documents in enumerate(BATCHES)
        for line, document in enumerate(documents)
    ]
    found = [split.document(index) for index in range(split.num_documents)]
    assert [{**document, "input_ids": document["input_ids"].tolist()} for document in found] == expected


def test_document_ends(split: TokenSplit) -> None:
    """Stream positions just after each document, across batches."""
    lengths = [len(document) for documents in BATCHES for document in documents]
    assert split.document_ends.tolist() == np.cumsum(lengths).tolist()
    starts = [0, *split.document_ends.tolist()]
    for index, (start, end) in enumerate(pairwise(starts)):
        assert split.document(index)["input_ids"].tolist() == FLAT[start:end]


def test_read_into_equals_a_slice(split: TokenSplit) -> None:
    """Every start and every length, over chunk borders and past the end, is a slice of the flat stream."""
    for start in range(len(FLAT) + 3):
        for length in range(len(FLAT) + 3):
            out = np.full(length, 99, dtype=np.int64)
            count = split.read_into(start, out)
            expected = FLAT[start : start + length]
            assert count == len(expected)
            assert out.tolist() == expected + [99] * (length - count)


def test_read_into_equals_a_slice_for_random_stores(tmp_path: Path) -> None:
    """The same for stores of random shape."""
    draw = random.Random(0)
    for number in range(10):
        batches = [[[draw.randrange(100)] * draw.randrange(4) for _ in range(draw.randrange(4))] for _ in range(6)]
        flat = [token for documents in batches for document in documents for token in document]
        write(tmp_path / str(number), batches)
        split = open_split(tmp_path / str(number))
        assert split.num_tokens == len(flat)
        assert split.document_ends.tolist() == np.cumsum([len(one) for batch in batches for one in batch]).tolist()
        for _ in range(20):
            start, out = draw.randrange(len(flat) + 2), np.zeros(draw.randrange(12), dtype=split.dtype)
            count = split.read_into(start, out)
            assert out[:count].tolist() == flat[start : start + len(out)]


def test_ids_are_views_of_the_map(split: TokenSplit) -> None:
    """A document's ids cost no copy."""
    assert not split.document(0)["input_ids"].flags.owndata


def test_empty_split(tmp_path: Path) -> None:
    """A split of no document can be opened."""
    assert write(tmp_path / "test", []) == (0, 0)
    split = open_split(tmp_path / "test")
    assert (split.num_documents, split.num_tokens, split.document_ends.tolist()) == (0, 0, [])
    assert split.read_into(0, np.zeros(3)) == 0


def test_batches_come_back(tmp_path: Path) -> None:
    """Batches of rows come back one by one; empty ones are not written."""
    write(tmp_path / "train", BATCHES)
    assert [batch.num_rows for batch in iter_batches(tmp_path / "train" / name_data_file(0, 1))] == [2, 2, 3, 1]


def test_writing_is_deterministic(tmp_path: Path) -> None:
    """The same documents give the same bytes."""
    for name in ("a", "b"):
        write(tmp_path / name / "train", BATCHES)
    files = sorted(path.name for path in (tmp_path / "a" / "train").iterdir())
    assert len(files) == 3
    for name in files:
        assert (tmp_path / "a" / "train" / name).read_bytes() == (tmp_path / "b" / "train" / name).read_bytes()


def write_store(folder: Path) -> Path:
    """A whole store of two splits."""
    splits = {}
    for name, batches in {"train": BATCHES, "test": [[[12, 13]]]}.items():
        documents, tokens = write(folder / name, batches)
        splits[name] = {"documents": documents, "tokens": tokens}
    write_splits(folder, list(splits))
    write_json(folder / SOURCES_FILE, ["a.txt", "b.txt"])
    write_json(folder / LEDGER_FILE, {"documents_in": 9})
    files = describe_files(folder, [f"{name}/{name_data_file(0, 1)}" for name in splits])
    write_manifest(folder, Manifest(kind="token_store", counts={"vocab_size": 100, "splits": splits}, files=files))
    return folder


def test_datasets_opens_it(tmp_path: Path) -> None:
    """`datasets.load_from_disk` opens the store as a DatasetDict with the same ids and types."""
    datasets = pytest.importorskip("datasets", reason="install the extra: pip install 'whelp[hub]'")
    folder = write_store(tmp_path / "store")
    opened = datasets.load_from_disk(str(folder))
    assert isinstance(opened, datasets.DatasetDict)
    assert list(opened) == ["train", "test"]
    train = opened["train"]
    assert train["input_ids"][:] == [document for documents in BATCHES for document in documents]
    assert train["line"][:] == [line for documents in BATCHES for line in range(len(documents))]
    assert train.features["input_ids"].feature.dtype == "uint16"
    assert train.split == "train"
    assert opened["test"][0] == {"input_ids": [12, 13], "file_index": 0, "line": 0}


def test_open_store(tmp_path: Path) -> None:
    """A finished store knows its splits, sources and ledger."""
    store = open_store(write_store(tmp_path / "store"))
    assert store.vocab_size == 100
    assert store.sources == ["a.txt", "b.txt"]
    assert store.ledger == {"documents_in": 9}
    assert store.tokenizer_folder == tmp_path / "store" / "tokenizer"
    assert store.split("test").num_tokens == 2
    with pytest.raises(ArtifactError, match=r"it has no split 'dev', but expected one of train, test\. Choose one of those"):
        store.split("dev")


def test_cut_off_store(tmp_path: Path) -> None:
    """A data file that lost its end is refused when the store is opened."""
    folder = write_store(tmp_path / "store")
    path = folder / "train" / name_data_file(0, 1)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=r"data-00000-of-00001\.arrow: has .* bytes, but expected .*damaged"):
        open_store(folder)


def test_a_mask_travels_beside_the_ids(tmp_path: Path) -> None:
    """One byte for each token, in the same chunks; `datasets` reads it as a list of numbers."""
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install 'whelp[hub]'")
    schema = make_schema(100, has_mask=True)
    batches = []
    for first in (0, 5):
        ids = np.arange(first, first + 5)
        mask = (ids % 2).astype(np.uint8)
        batches.append(make_batch(schema, ids, np.array([0, 2, 5]), pa.array([0, 0]), pa.array([1, 2]), mask))
    write_split(tmp_path / "train", schema, batches)
    split = open_split(tmp_path / "train")
    assert split.has_mask
    out = np.full(12, 9, np.uint8)
    assert split.read_mask_into(1, out) == 9
    assert out.tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1, 9, 9, 9]
    assert split.document(2)["loss_mask"].tolist() == [1, 0]
    rows = datasets.Dataset.load_from_disk(str(tmp_path / "train"))
    assert rows["loss_mask"][3] == [1, 0, 1]


def test_without_a_mask_every_token_is_trained(split: TokenSplit) -> None:
    """Reading the mask of a store without one gives ones, up to the end of the tokens."""
    assert not split.has_mask
    out = np.zeros(9, np.uint8)
    assert split.read_mask_into(5, out) == 6
    assert out.tolist() == [1] * 6 + [0] * 3


@pytest.mark.parametrize("first", range(8))
@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_some_of_the_documents(split: TokenSplit, first: int, count: int) -> None:
    """A range of documents is a split like any other, wherever its batches begin and end; the tokens stay where they are."""
    documents = [document for batch in BATCHES for document in batch]
    part = split.take_documents(first, count, "part")
    wanted = documents[first : first + count]
    assert (part.name, part.num_documents, part.num_tokens) == ("part", len(wanted), sum(map(len, wanted)))
    assert part.document_ends.tolist() == np.cumsum([len(document) for document in wanted]).tolist()
    assert [part.document(index)["input_ids"].tolist() for index in range(len(wanted))] == wanted
    flat = np.zeros(part.num_tokens, np.uint16)
    assert part.read_into(0, flat) == part.num_tokens
    assert flat.tolist() == [token for document in wanted for token in document]
    if part.num_tokens:
        assert any(np.shares_memory(part.ids.chunks[0], chunk) for chunk in split.ids.chunks)
        starts = part.document_starts(np.arange(len(wanted)))
        lengths = np.array([len(document) for document in wanted])
        filled = lengths > 0
        places = (np.cumsum(lengths) - lengths)[filled]
        copied = part.ids.copy_places(part.ids.find_places(starts[filled]), lengths[filled], places, part.num_tokens)
        assert copied.tolist() == flat.tolist()
