"""Token stores to and from Megatron's, nanoGPT's, llm.c's and Parquet files, checked against who else reads and writes them."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whelp import export_store, import_store
from whelp.artifacts.manifest import read_manifest
from whelp.artifacts.token_store import open_store
from whelp.base.errors import ArtifactError

from .helpers import Project, Whelp, snapshot
from .stores import (
    END,
    LARGE,
    SMALL,
    SMALL_SPLITS,
    Documents,
    error_of,
    make_store,
    make_vocabulary,
)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    """No progress bars of other packages."""
    datasets.disable_progress_bars()


def read(store: Path, name: str = "train", column: str = "input_ids") -> Documents:
    """The documents of a split, as `datasets` reads them."""
    return [list(row) for row in datasets.load_from_disk(str(store))[name][column]]


def flatten(documents: Documents) -> list[int]:
    """All documents laid end to end."""
    return [token for document in documents for token in document]


FILES = {
    "megatron": ("train", "test"),
    "nanogpt": ("train.bin", "val.bin"),
    "llmc": ("train.bin", "val.bin"),
    "parquet": ("train.parquet", "test.parquet"),
}


@pytest.mark.parametrize(("format", "context_tokens"), [*((format, None) for format in FILES), ("parquet", 16)])
def test_there_and_back(small_store: Path, tmp_path: Path, format: str, context_tokens: int | None) -> None:
    """A store written in any format and read again has the same documents, and a ledger that adds up."""
    exported = export_store(small_store, format=format, out=tmp_path / "out", context_tokens=context_tokens)
    train, test = (tmp_path / "out" / name for name in FILES[format])
    made = import_store(train, test=test, format=format, tokenizer=small_store, out=tmp_path / "store")
    assert made.splits == exported.splits
    for name, documents in SMALL_SPLITS.items():
        assert read(tmp_path / "store", name) == documents
    ledger = made.ledger
    assert ledger["documents"] == {"train": 40, "test": 7}
    assert ledger["tokens"] == {name: len(flatten(documents)) for name, documents in SMALL_SPLITS.items()}
    assert ledger["tokens_in"] == sum(ledger["tokens"].values())
    assert ledger["files"] == {"read": 2}
    store = open_store(tmp_path / "store")
    assert store.sources == [str(train), str(test)]
    assert store.split("test").document(3)["file_index"] == 1
    assert store.split("test").document(3)["line"] == 4
    assert store.manifest.inputs["tokenizer"] == read_manifest(small_store, "token_store").inputs["tokenizer"]


@pytest.mark.parametrize("context_tokens", [None, 16])
def test_masks_there_and_back(large_store: Path, tmp_path: Path, context_tokens: int | None) -> None:
    """Parquet keeps the loss mask, and ids of more than 16 bits; in a packed row pads are masked."""
    export_store(large_store, format="parquet", out=tmp_path / "out", context_tokens=context_tokens, splits=["train"])
    import_store(tmp_path / "out" / "train.parquet", format="parquet", tokenizer=large_store, out=tmp_path / "store")
    for column in ("input_ids", "loss_mask"):
        assert read(tmp_path / "store", column=column) == read(large_store, column=column)


@pytest.mark.parametrize("format", ["megatron", "llmc"])
def test_wide_ids_there_and_back(large_store: Path, tmp_path: Path, format: str) -> None:
    """Ids of more than 16 bits; that the mask is left out is said."""
    exported = export_store(large_store, format=format, out=tmp_path / "out", splits=["train"])
    assert exported.notes == ["train: the loss mask is left out, for the format has none"]
    file = tmp_path / "out" / FILES[format][0]
    import_store(file, format=format, tokenizer=large_store, out=tmp_path / "store")
    assert read(tmp_path / "store") == read(large_store)
    assert not open_store(tmp_path / "store").split("train").has_mask


@pytest.mark.parametrize(("size", "code", "dtype"), [(SMALL, 8, "H"), (LARGE, 4, "i")])
def test_every_byte_of_a_megatron_file(tmp_path: Path, size: int, code: int, dtype: str) -> None:
    """Both files are what the layout says, packed here by hand."""
    documents = [[5, 1, size - 1, END], [END], [7, END]]
    store = make_store(tmp_path / "store", size, {"train": documents})
    assert export_store(store, format="megatron", out=tmp_path / "out").files == ["train.bin", "train.idx"]
    width = struct.calcsize(f"<{dtype}")
    index = b"MMIDIDX\x00\x00" + struct.pack("<Q", 1) + struct.pack("<B", code) + struct.pack("<QQ", 3, 4)
    index += struct.pack("<3i", 4, 1, 2) + struct.pack("<3q", 0, 4 * width, 5 * width) + struct.pack("<4q", 0, 1, 2, 3)
    assert (tmp_path / "out" / "train.idx").read_bytes() == index
    assert (tmp_path / "out" / "train.bin").read_bytes() == struct.pack(f"<7{dtype}", *flatten(documents))


MEGATRON = """
import json, sys
import torch
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder
import numpy
read, write, documents = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
dataset = IndexedDataset(read)
found = [dataset[number].tolist() for number in range(len(dataset))]
builder = IndexedDatasetBuilder(write + ".bin", dtype=numpy.int32)
for document in documents:
    for sequence in document:
        builder.add_item(torch.tensor(sequence, dtype=torch.int32))
    builder.end_document()
builder.finalize(write + ".idx")
print(json.dumps([found, dataset.document_indices.tolist()]))
"""


@pytest.mark.skipif(not importlib.util.find_spec("megatron"), reason="no megatron-core: pip install megatron-core")
def test_megatron_itself(small_store: Path, tmp_path: Path) -> None:
    """Megatron-LM's own code reads what we write, and we what it writes: documents of several sequences, joined."""
    export_store(small_store, format="megatron", out=tmp_path / "out")
    theirs = [[[1, 2, 3], [4, END]], [[5, END]], [[SMALL - 1], [6], [END]]]
    arguments = [str(tmp_path / "out" / "train"), str(tmp_path / "theirs"), json.dumps(theirs)]
    done = subprocess.run([sys.executable, "-c", MEGATRON, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [SMALL_SPLITS["train"], list(range(41))]
    import_store(tmp_path / "theirs.bin", format="megatron", tokenizer=small_store, out=tmp_path / "store")
    assert read(tmp_path / "store") == [flatten(document) for document in theirs]


def write_megatron(
    prefix: Path, documents: list[Documents], *, code: int = 4, dtype: str = "<i4", order: list[int] | None = None
) -> None:
    """Megatron's two files, the slow way; `order` is that in which the sequences lie in the `.bin`."""
    sequences = [sequence for document in documents for sequence in document]
    starts, data = {}, b""
    for number in order if order is not None else range(len(sequences)):
        starts[number] = len(data)
        data += np.array(sequences[number], dtype).tobytes()
    prefix.with_suffix(".bin").write_bytes(data)
    bounds = np.cumsum([0, *map(len, documents)])
    index = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(sequences), len(bounds))
    index += np.array([len(sequence) for sequence in sequences], "<i4").tobytes()
    index += np.array([starts[number] for number in range(len(sequences))], "<i8").tobytes()
    prefix.with_suffix(".idx").write_bytes(index + bounds.astype("<i8").tobytes())


@pytest.mark.parametrize(("code", "dtype"), [(1, "<u1"), (2, "<i1"), (3, "<i2"), (4, "<i4"), (5, "<i8"), (8, "<u2")])
@pytest.mark.parametrize("order", [None, [2, 0, 1, 3]])
def test_megatron_files_of_any_dtype_and_order(
    small_store: Path, tmp_path: Path, code: int, dtype: str, order: list[int] | None
) -> None:
    """Every dtype of whole numbers; sequences that do not lie in order; a path without the suffix, as RWKV gives it."""
    documents = [[[1, 2], [3, END]], [[4, 5, 6, END]], [[120, END]]]
    write_megatron(tmp_path / "their", documents, code=code, dtype=dtype, order=order)
    if order is not None:  # an index that says of what kind each sequence is, too
        with open(tmp_path / "their.idx", "ab") as file:
            file.write(bytes(4))
    import_store(tmp_path / "their", format="megatron", tokenizer=small_store, out=tmp_path / "store")
    assert read(tmp_path / "store") == [flatten(document) for document in documents]


def test_numpy_opens_the_nanogpt_file(small_store: Path, tmp_path: Path) -> None:
    """The flat files are what nanoGPT's own `np.memmap(..., dtype=np.uint16)` expects; its test split is `val`."""
    export_store(small_store, format="nanogpt", out=tmp_path / "out")
    for name, file in (("train", "train.bin"), ("test", "val.bin")):
        assert np.memmap(tmp_path / "out" / file, np.uint16, "r").tolist() == flatten(SMALL_SPLITS[name])


@pytest.mark.parametrize(("size", "magic", "version", "dtype"), [(SMALL, 20240520, 1, "<u2"), (LARGE, 20240801, 7, "<u4")])
def test_every_byte_of_an_llmc_file(tmp_path: Path, size: int, magic: int, version: int, dtype: str) -> None:
    """256 numbers of 32 bits, then the ids."""
    documents = [[5, size - 1, END], [7, END]]
    export_store(make_store(tmp_path / "store", size, {"train": documents}), format="llmc", out=tmp_path / "out")
    head = struct.pack("<256i", magic, version, 5, *[0] * 253)
    assert (tmp_path / "out" / "train.bin").read_bytes() == head + np.array(flatten(documents), dtype).tobytes()


def test_documents_that_begin_with_the_end_of_text(small_store: Path, tmp_path: Path) -> None:
    """llm.c puts the id before each document; then documents are cut before it."""
    (tmp_path / "a.bin").write_bytes(np.array([END, 1, 2, END, 3, END, END, 4], "<u2").tobytes())
    import_store(tmp_path / "a.bin", format="nanogpt", tokenizer=small_store, out=tmp_path / "store")
    assert read(tmp_path / "store") == [[END, 1, 2], [END, 3], [END], [END, 4]]


@pytest.mark.parametrize("has_end", [True, False])
def test_a_flat_file_without_ends(tmp_path: Path, has_end: bool) -> None:
    """A file in which no text ends, and a vocabulary that has no such id: one document."""
    make_vocabulary(tmp_path / "tokenizer", 50, has_end=has_end)
    (tmp_path / "a.bin").write_bytes(np.array([3, 1, 2], "<u2").tobytes())
    import_store(tmp_path / "a.bin", format="nanogpt", tokenizer=tmp_path / "tokenizer", out=tmp_path / "store")
    assert read(tmp_path / "store") == [[3, 1, 2]]


def test_ends_that_are_lost_are_said(tmp_path: Path) -> None:
    """Documents that do not end with the end-of-text id, and such ids within: flat files cannot tell where they end."""
    store = make_store(tmp_path / "store", 50, {"train": [[1, 2], [3, END, 4, END], [5, END]]})
    for format in ("nanogpt", "llmc"):
        exported = export_store(store, format=format, out=tmp_path / format)
        note = "train: 2 ends of 3 documents cannot be found again: they are not the end-of-text id"
        assert exported.notes == [note]
    assert export_store(store, format="megatron", out=tmp_path / "megatron").notes == []


def test_parquet_opens_elsewhere(large_store: Path, tmp_path: Path) -> None:
    """`datasets` and pyarrow read documents, with their places, and packed rows, all of the same length."""
    export_store(large_store, format="parquet", out=tmp_path / "documents")
    path = str(tmp_path / "documents" / "train.parquet")
    rows = datasets.load_dataset("parquet", data_files=path, cache_dir=str(tmp_path / "cache"))["train"]
    assert [list(ids) for ids in rows["input_ids"]] == read(large_store)
    assert [list(mask) for mask in rows["loss_mask"]] == read(large_store, column="loss_mask")
    assert (rows[3]["file"], rows[3]["line"]) == ("odd.txt", 3)

    exported = export_store(large_store, format="parquet", out=tmp_path / "packed", context_tokens=16, splits=["train"])
    table = pq.read_table(tmp_path / "packed" / "train.parquet")
    stream, mask = flatten(read(large_store)), flatten(read(large_store, column="loss_mask"))
    num_pads = -len(stream) % 16
    assert exported.notes == [f"train: the last row is filled with {num_pads} pads, masked"]
    assert {len(row) for row in table["input_ids"].to_pylist()} == {16}
    assert flatten(table["input_ids"].to_pylist()) == stream + [END] * num_pads
    assert flatten(table["loss_mask"].to_pylist()) == mask + [0] * num_pads
    about = json.loads(table.schema.metadata[b"whelp"])
    assert (about["rows"], about["context_tokens"], about["tokens"], about["vocab_size"]) == ("packed", 16, len(stream), LARGE)


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.large_list(pa.uint64()), pa.list_(pa.int16(), 4)])
def test_parquet_of_others(small_store: Path, tmp_path: Path, kind: pa.DataType) -> None:
    """Lists of any kind, a column of another name; packed rows are cut at the end of a text when that is asked for."""
    rows = [[1, 2, 3, END], [4, 5, END, 6], [7, END, 8, 9]]
    pq.write_table(pa.table({"tokens": pa.array(rows, kind), "id": ["a", "b", "c"]}), tmp_path / "a.parquet")
    options: dict[str, Any] = {"format": "parquet", "tokenizer": small_store, "column": "tokens"}
    import_store(tmp_path / "a.parquet", out=tmp_path / "rows", **options)
    assert read(tmp_path / "rows") == rows
    import_store(tmp_path / "a.parquet", out=tmp_path / "packed", rows="packed", **options)
    assert read(tmp_path / "packed") == [[1, 2, 3, END], [4, 5, END], [6, 7, END], [8, 9]]


def test_a_file_without_a_mask_beside_one_with(large_store: Path, tmp_path: Path) -> None:
    """Where one file has a mask and another has none, all tokens of the other are trained."""
    pq.write_table(pa.table({"input_ids": [[1, 2]]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"input_ids": [[3, 4]], "loss_mask": [[False, True]]}), tmp_path / "b.parquet")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    import_store(files, format="parquet", tokenizer=large_store, out=tmp_path / "store")
    assert read(tmp_path / "store", column="loss_mask") == [[1, 1], [0, 1]]


def test_held_out_documents(small_store: Path, tmp_path: Path) -> None:
    """A share of the documents goes to test, whole; each keeps its number in its file; another seed draws others."""
    export_store(small_store, format="megatron", out=tmp_path / "out", splits=["train"])
    found = []
    for seed in (0, 1):
        options: dict[str, Any] = {"format": "megatron", "tokenizer": small_store, "test_split": 0.25, "seed": seed}
        made = import_store(tmp_path / "out" / "train", out=tmp_path / f"store-{seed}", **options)
        assert {name: counts["documents"] for name, counts in made.splits.items()} == {"train": 30, "test": 10}
        rows = datasets.load_from_disk(str(tmp_path / f"store-{seed}"))
        for name in ("train", "test"):
            assert all(list(row["input_ids"]) == SMALL_SPLITS["train"][row["line"] - 1] for row in rows[name])
        assert sorted([*rows["train"]["line"], *rows["test"]["line"]]) == list(range(1, 41))
        found.append(list(rows["test"]["line"]))
    assert found[0] != found[1]


def test_an_import_is_made_again_only_when_it_must_be(small_store: Path, tmp_path: Path) -> None:
    """Untouched files, and files with another time only, leave the store as it is; other bytes or options make it again."""
    ids = np.array([1, 2, END, 3, END], "<u2")
    file, store = tmp_path / "a.bin", tmp_path / "store"
    file.write_bytes(ids.tobytes())

    def again(**options: Any) -> bool:
        return import_store(file, format="nanogpt", tokenizer=small_store, out=store, **options).is_reused

    assert [again(), again()] == [False, True]
    os.utime(file, ns=(1, 1))
    assert again()
    file.write_bytes((ids + 1).astype("<u2").tobytes())
    assert [again(), again()] == [False, True]
    assert read(store) == [[2, 3, 1, 4, 1]]
    (store / "train" / "data-00000-of-00001.arrow").unlink()  # damaged
    assert [again(), again()] == [False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "store"]


@pytest.mark.parametrize("given", [[], ["--format", "hf"]])
def test_a_store_needs_a_format_of_ids(whelp: Whelp, small_store: Path, given: list[str]) -> None:
    """Without a format, none that nobody typed is complained of; the formats of stores are named."""
    outcome = whelp("export", small_store, *given, "--out", "out")
    said = " ".join(outcome.said.split())
    assert outcome.code == 1
    assert "Choose one of megatron, nanogpt, llmc, parquet." in said
    assert ("'hf' is no format of token ids" if given else "is a token store, and no --format is given") in said
    assert ("hf" in said) == bool(given)
    assert not Path("out").exists()


def test_an_imported_store_is_trained_and_inspected(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """From a prepared store over Megatron's files to a run, as the terminal does it; the source is said not to be compared."""
    exported = whelp("export", made.store, "--format", "megatron", "--out", "out", "--json").json
    assert exported["files"] == ["test.bin", "test.idx", "train.bin", "train.idx"]
    assert sorted(os.listdir("out")) == sorted(["manifest.json", *exported["files"], "tokenizer"])
    given = ("import", "out/train", "--test", "out/test", "--format", "megatron", "--tokenizer", "out/tokenizer")
    imported = whelp(*given, "--out", "store", "--json").json
    assert imported["splits"] == exported["splits"]
    assert imported["ledger"]["text_bytes"] == open_store(made.store).ledger["text_bytes"]
    assert whelp(*given, "--out", "store").said.endswith("next whelp train project --store store --out run")
    before = snapshot(tmp_path / "store")
    outcome = whelp("train", made.recipe, "--store", "store", "--out", "run", "--json")
    assert outcome.json["is_finished"]
    assert "store was imported: it is not compared with the recipe's source" in outcome.said
    assert outcome.json["nats_per_token"] == pytest.approx(
        whelp("evaluate", made.run, "--store", made.store, "--json").json["nats_per_token"]
    )
    row = whelp("inspect", "store", "--rows", "0", "--json").json["rows"][0]
    assert row["documents"][0].items() >= {"document": 0, "file": "out/train", "line": 1}.items()
    assert row["text"] == whelp("inspect", made.store, "--rows", "0", "--json").json["rows"][0]["text"]
    assert snapshot(tmp_path / "store") == before
    shown = whelp(*given, "--out", "store")
    assert shown.stdout == b""
    assert "the store is finished and up to date" in shown.said


def test_what_stands_at_the_place_is_kept(whelp: Whelp, made: Project, small_store: Path, tmp_path: Path) -> None:
    """Neither command writes over something else; prepare does not write over an import; an export replaces an export."""
    export_store(small_store, format="nanogpt", out=tmp_path / "out")
    export_store(small_store, format="megatron", out=tmp_path / "out")
    assert not (tmp_path / "out" / "val.bin").exists()
    import_store(tmp_path / "out" / "train", format="megatron", tokenizer=small_store, out=tmp_path / "imported")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    before = snapshot(tmp_path)
    for out in ("other", "imported"):
        message = error_of(ArtifactError, lambda out=out: export_store(small_store, format="megatron", out=tmp_path / out))
        assert "something else stands there, but expected an empty place or an export" in message
    for inside in (small_store, small_store / "train" / "out"):
        message = error_of(ArtifactError, lambda out=inside: export_store(small_store, format="megatron", out=out))
        assert "lies in the store itself, but expected another place" in message
    given: dict[str, Any] = {"format": "megatron", "tokenizer": small_store}
    message = error_of(ArtifactError, lambda: import_store(tmp_path / "out" / "train", out=tmp_path / "other", **given))
    assert "something else stands there, but expected an empty place or an imported store" in message
    message = error_of(ArtifactError, lambda: import_store(tmp_path / "out" / "train", out=made.store, **given))
    assert "holds a token store that was prepared from text" in message
    outcome = whelp("prepare", made.recipe, "--out", "imported")
    assert (outcome.code, outcome.stdout) == (1, b"")
    assert "imported: holds an imported store, but expected an empty folder or a store prepared from text" in outcome.said
    assert snapshot(tmp_path) == before


def test_other_folders_are_no_stores(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """A run, a checkpoint and a missing folder cannot be exported as a store."""
    for folder, words in (
        (made.run, "run: is not a token store"),
        (made.run / "checkpoints" / "last", "last: is a checkpoint, not a token store"),
        (tmp_path / "nowhere", "nowhere: there is no such folder"),
    ):
        outcome = whelp("export", folder, "--format", "megatron", "--out", "out")
        assert outcome.code == 1
        assert words in outcome.said
        assert not (tmp_path / "out").exists()
