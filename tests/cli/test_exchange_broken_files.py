"""Files of token ids that cannot be imported, and requests that cannot be met: what is said about them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whelp import export_store, import_store
from whelp.artifacts.token_store import open_store
from whelp.base.errors import ArtifactError, ConfigError, PlanError, TokenizerError, WhelpError

from .stores import END, SMALL, error_of, random_documents


@pytest.fixture
def broken(small_store: Path, tmp_path: Path) -> Callable[..., str]:
    """Import one file, or two of Megatron's, and give the message; nothing is left at the place of the store."""

    def import_bytes(format: str, *contents: bytes, **options: Any) -> str:
        names = ("a.bin", "a.idx") if format == "megatron" else ("a.file",)
        for name, content in zip(names, contents, strict=False):
            (tmp_path / name).write_bytes(content)
        given = {"format": format, "tokenizer": small_store, "out": tmp_path / "store", **options}
        message = error_of(WhelpError, lambda: import_store(tmp_path / names[0], **given))
        assert not (tmp_path / "store").exists()
        assert not list(tmp_path.glob(".*"))
        return message

    return import_bytes


def index_bytes(*, version: int = 1, code: int = 8, lengths: list[int], starts: list[int], bounds: list[int]) -> bytes:
    """An index, packed by hand."""
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", version, code, len(lengths), len(bounds))
    return head + b"".join(
        struct.pack(f"<{len(some)}{kind}", *some) for some, kind in ((lengths, "i"), (starts, "q"), (bounds, "q"))
    )


GOOD = {"lengths": [2, 1], "starts": [0, 4], "bounds": [0, 1, 2]}


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"", "a.idx: begins with b''"),
        (b"MMIDIDX", "a.idx: begins with b'MMIDIDX'"),
        (b"MMIDIDX\x00\x00\x01", "a.idx: has 10 bytes, but expected a header of 34"),
        (b"TNTIDX\x00\x00" + bytes(99), "a.idx: begins with b'TNTIDX"),
        (index_bytes(**GOOD, version=2), "a.idx: is of version 2, but expected version 1"),
        (index_bytes(**GOOD, code=7), "a.idx: says that ids have the dtype number 7, but expected a whole number's"),
        (index_bytes(**GOOD)[:-1], "a.idx: has 81 bytes, but expected 82 for 2 sequences"),
        (index_bytes(**GOOD) + b"\x00", "a.idx: has 83 bytes, but expected 82 for 2 sequences"),
        (index_bytes(lengths=[], starts=[], bounds=[0]), "a.idx: names no document, but expected at least one"),
        (index_bytes(**{**GOOD, "bounds": [0, 1, 1]}), "a.idx: its documents go from sequence 0 to 1, but expected 0 to 2"),
        (index_bytes(**{**GOOD, "bounds": [0, 3, 2]}), "a.idx: points outside of its ids, near document 1"),
        (index_bytes(**{**GOOD, "starts": [0, 6]}), "a.idx: points outside of its ids, near document 1"),
        (index_bytes(**{**GOOD, "starts": [0, 3]}), "a.idx: points outside of its ids, near document 1"),
        (index_bytes(**{**GOOD, "lengths": [4, -1]}), "a.idx: points outside of its ids, near document 1"),
        (index_bytes(**{**GOOD, "lengths": [2, 2]}), "a.bin: has 6 bytes, but expected 8, as its index says"),
    ],
)
def test_broken_megatron_files(broken: Callable[..., str], index: bytes, words: str) -> None:
    """Another file, a newer one, one that is cut off, and places that are not there: each is said, and nothing is left."""
    assert words in broken("megatron", struct.pack("<3H", 1, 2, 3), index)


def test_a_missing_half_of_a_megatron_file(broken: Callable[..., str]) -> None:
    """The message names the file that is missing, and both that are needed."""
    assert "a.idx: there is no such file, but expected a.bin and a.idx beside each other" in broken("megatron", b"\x01\x00")


def llmc_bytes(magic: int = 20240520, version: int = 1, num_tokens: int = 2, ids: bytes = b"\x01\x00\x02\x00") -> bytes:
    """A file of llm.c."""
    return struct.pack("<256i", magic, version, num_tokens, *[0] * 253) + ids


@pytest.mark.parametrize(
    ("format", "content", "words"),
    [
        ("nanogpt", b"", "a.file: holds no ids, but expected at least one"),
        ("nanogpt", b"\x01\x00\x02", "a.file: has 3 bytes, an odd number, but expected two for each id"),
        ("nanogpt", llmc_bytes(), "a.file: begins with the header of llm.c, but expected ids from the first byte on"),
        (
            "nanogpt",
            struct.pack("<3H", 1, END, SMALL),
            f"a.file, document 2: holds the id 5,000, but expected 0 to {SMALL - 1:,}",
        ),
        ("llmc", b"", "a.file: has 0 bytes, but expected 20240520 or 20240801, the sign of llm.c"),
        ("llmc", llmc_bytes(magic=1), "a.file: begins with the number 1, but expected 20240520 or 20240801"),
        ("llmc", llmc_bytes(version=2), "a.file: is of version 2, but expected version 1"),
        ("llmc", llmc_bytes()[:1000], "a.file: has 1,000 bytes, but expected a header of 1,024"),
        ("llmc", llmc_bytes()[:4], "a.file: has 4 bytes, but expected a header of 1,024"),
        ("llmc", llmc_bytes()[:-1], "a.file: has 1,027 bytes, but expected 1,028 for its 2 tokens"),
        ("llmc", llmc_bytes(num_tokens=-1), "a.file: has 1,028 bytes, but expected"),
        ("llmc", llmc_bytes(num_tokens=0, ids=b""), "a.file: holds no ids"),
        ("parquet", b"", "a.file: cannot be read ("),
        ("parquet", b"PAR1 and more, but no footer", "a.file: cannot be read ("),
    ],
)
def test_broken_flat_files(broken: Callable[..., str], format: str, content: bytes, words: str) -> None:
    """Another kind of file, one that is cut off, an id that the vocabulary has not: each is said, and nothing is left."""
    assert words in broken(format, content)


def parquet_bytes(**columns: Any) -> bytes:
    """A Parquet file in memory."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"tokens": [[1]], "id": [1]}, "has no column 'input_ids' (it has tokens, id), but expected a column of lists of ids"),
        ({"input_ids": ["text"]}, "its column 'input_ids' is of type string, but expected lists of whole numbers"),
        ({"input_ids": [[0.5]]}, "its column 'input_ids' is of type list"),
        ({"input_ids": [[1], None]}, "rows 1 to 2 of the column input_ids hold null"),
        ({"input_ids": [[1], [2, None]]}, "rows 1 to 2 of the column input_ids hold null"),
        ({"input_ids": [[1], [2, -5]]}, "document 2: holds the id -5, but expected 0 to"),
        ({"input_ids": [[1], [2]], "loss_mask": [[1], [0, 1]]}, "loss_mask and input_ids differ in length, in rows 1 to 2"),
        ({"input_ids": [[1], [2]], "loss_mask": [[1], None]}, "loss_mask and input_ids differ in length, in rows 1 to 2"),
        ({"input_ids": [[1], [2]], "loss_mask": [[1], [2]]}, "loss_mask holds 2, in rows 1 to 2, but expected 0 or 1"),
        ({"input_ids": [[1], [2]], "loss_mask": [[1], [256]]}, "loss_mask holds 256, in rows 1 to 2, but expected 0 or 1"),
        ({"input_ids": [[1], [2]], "loss_mask": ["a", "b"]}, "its column 'loss_mask' is of type string"),
        ({"input_ids": pa.array([], pa.list_(pa.int32()))}, "none of 0 documents is for the train split"),
        ({"input_ids": pa.array([[]], pa.list_(pa.int32()))}, "none of 1 documents is for the train split"),
    ],
)
def test_broken_parquet_files(broken: Callable[..., str], columns: dict[str, Any], words: str) -> None:
    """A column that is missing or holds something else, nulls, a mask that does not fit: each is said, and nothing is left."""
    assert words in broken("parquet", parquet_bytes(**columns))


def test_a_parquet_file_that_is_damaged_within(broken: Callable[..., str]) -> None:
    """The footer is whole, the pages are not."""
    whole = bytearray(parquet_bytes(input_ids=random_documents(200, SMALL)))
    whole[100:1100] = b"\xff" * 1000
    assert "a.file: cannot be read (" in broken("parquet", bytes(whole))


def test_names_that_are_no_text(small_store: Path, tmp_path: Path) -> None:
    """A file name may be any bytes; the store's JSON shows them escaped."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.bin"))
    path.write_bytes(struct.pack("<2H", 1, END))
    import_store(path, format="nanogpt", tokenizer=small_store, out=tmp_path / "store")
    assert open_store(tmp_path / "store").sources == [f"{tmp_path}/caf\\udce9.bin"]


def test_a_vocabulary_too_large_for_nanogpt(large_store: Path, tmp_path: Path) -> None:
    """16 bits cannot hold the ids; the message says which formats can, and nothing is left."""
    message = error_of(PlanError, lambda: export_store(large_store, format="nanogpt", out=tmp_path / "out"))
    assert "the vocabulary has 70,000 ids, but expected at most 65,536: nanoGPT's ids have 16 bits" in message
    assert list(tmp_path.iterdir()) == []


def test_wrong_requests(small_store: Path, tmp_path: Path) -> None:
    """An unknown format, split or vocabulary, options that do not fit: said before anything is read or written."""
    (tmp_path / "a.bin").write_bytes(b"\x01\x00")
    out = tmp_path / "out"
    given: dict[str, Any] = {"format": "nanogpt", "tokenizer": small_store, "out": out}
    cases: list[tuple[type[WhelpError], Callable[[], Any], str]] = [
        (ConfigError, lambda: export_store(small_store, format="gguf", out=out), "'gguf' is no format"),
        (
            ConfigError,
            lambda: export_store(small_store, format="nanogpt", out=out, context_tokens=8),
            "is for --format parquet",
        ),
        (ConfigError, lambda: export_store(small_store, format="parquet", out=out, context_tokens=0), "--context-tokens is 0"),
        (ArtifactError, lambda: export_store(small_store, format="nanogpt", out=out, splits=["dev"]), "it has no split 'dev'"),
        (ConfigError, lambda: import_store([], **given), "no file is given"),
        (ConfigError, lambda: import_store(tmp_path / "a.bin", test_split=1.5, **given), "--test-split is 1.5"),
        (ConfigError, lambda: import_store(tmp_path / "a.bin", test="b.bin", test_split=0.1, **given), "both given"),
        (ConfigError, lambda: import_store(tmp_path / "a.bin", rows="lines", **given), "--rows is 'lines'"),
        (ArtifactError, lambda: import_store(tmp_path / "b.bin", **given), "b.bin: there is no such file"),
        (ArtifactError, lambda: import_store(tmp_path, **given), "is a folder, but expected a file of token ids"),
        (PlanError, lambda: import_store(tmp_path / "a.bin", test_split=0.1, **given), "is for the test split"),
        (TokenizerError, lambda: import_store(tmp_path / "a.bin", **{**given, "tokenizer": "nonsense"}), "nonsense"),
    ]
    for kind, call, words in cases:
        with pytest.raises(kind) as caught:
            call()
        assert words in str(caught.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin"]
