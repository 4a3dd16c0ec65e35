"""A vocabulary and a source small enough to check by eye."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.artifacts.token_store import TokenSplit, make_batch, make_schema, write_split
from whelp.artifacts.token_store import read_split as open_split
from whelp.base.engines import LocalEngine
from whelp.base.hashing import hash_json
from whelp.prepare import PrepareConfig, SourceToPrepare, prepare
from whelp.prepare.encode import PrepareReport

EOS = 256


@dataclass
class FakeVocabulary:
    """A token is a UTF-8 byte; 256 ends a text, and is spelled `<eos>`. Remembers how many texts it encoded."""

    eos_id: int | None = EOS
    size: int = 257
    fingerprint: str = "bytes"
    num_texts: int = 0
    bos_id: int | None = None
    unk_id: int | None = None
    chat_template: str | None = None

    @property
    def special_ids(self) -> frozenset[int]:
        return frozenset() if self.eos_id is None else frozenset({self.eos_id})

    def id_of(self, token: str) -> int | None:
        return self.eos_id if token == "<eos>" else None

    def token_text(self, token_id: int) -> str:
        assert token_id == self.eos_id, token_id
        return "<eos>"

    def encode(self, text: str) -> npt.NDArray[Any]:
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint16)

    def encode_batch(self, texts: pa.Array, *, allow_special: bool = False) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        self.num_texts += len(texts)
        pieces = [self._encode_special(text) if allow_special else self.encode(text) for text in texts.to_pylist()]
        offsets = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
        return np.concatenate([np.empty(0, np.uint16), *pieces]), offsets

    def _encode_special(self, text: str) -> npt.NDArray[Any]:
        parts = [[self.eos_id] if part == "<eos>" else [*part.encode()] for part in re.split("(<eos>)", text)]
        return np.array([token for part in parts for token in part], np.uint16)

    def save(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")


@dataclass(frozen=True)
class FakePartition:
    """Some documents, all of the file with the partition's number, one a line."""

    index: int
    texts: list[str]
    split: str = "train"

    @property
    def batch(self) -> pa.RecordBatch:
        count = len(self.texts)
        columns = [
            pa.array(self.texts, pa.large_string()),
            pa.array([self.index] * count, pa.int32()),
            pa.array(range(1, count + 1), pa.int64()),
        ]
        return pa.record_batch(columns, names=["text", "file_index", "line"])

    @property
    def fingerprint(self) -> str:
        return hash_json(self.texts)


def make_partitions(*texts: list[str]) -> list[FakePartition]:
    """One partition for each list of documents."""
    return [FakePartition(index, documents) for index, documents in enumerate(texts)]


def random_partitions(num_partitions: int = 4, num_documents: int = 9, longest: int = 30) -> list[FakePartition]:
    """Documents of random letters and lengths, the same each time."""
    draw = random.Random(0)

    def make_text() -> str:
        return "".join(draw.choice("abcde é日\n") for _ in range(draw.randint(1, longest)))

    return make_partitions(*([make_text() for _ in range(num_documents)] for _ in range(num_partitions)))


def run(
    folder: Path,
    partitions: list[FakePartition],
    vocabulary: FakeVocabulary | None = None,
    seed: int = 0,
    engine: LocalEngine | None = None,
    **options: Any,
) -> Iterator[PrepareReport]:
    """Prepare with the fakes; a generator, as the real one."""
    return prepare(
        [SourceToPrepare(partitions=partitions, config=PrepareConfig(**options))],
        vocabulary or FakeVocabulary(),
        folder,
        describe_source=lambda: {"name": "fake"},
        sources=lambda: [f"file-{partition.index}.txt" for partition in partitions],
        seed=seed,
        engine=engine,
    )


@dataclass
class Split:
    """A split read the slow way."""

    documents: list[list[int]] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)  # (file_index, line)


def read_split(folder: Path, name: str) -> Split:
    """Read a split row by row, as Python lists."""
    rows = open_split(folder / name).table.to_pylist()
    return Split([row["input_ids"] for row in rows], [(row["file_index"], row["line"]) for row in rows])


def make_split(folder: Path, lengths: list[int], name: str = "train") -> TokenSplit:
    """A split whose tokens count 1, 2, 3, ... through documents of these lengths, two to a batch."""
    schema = make_schema(60_000)
    ids = np.arange(1, sum(lengths) + 1)
    starts = np.cumsum([0, *lengths])

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, len(lengths), 2):
            bounds = starts[first : first + 3]
            rows = pa.array(range(len(bounds) - 1))
            yield make_batch(schema, ids[bounds[0] : bounds[-1]], bounds - bounds[0], rows, rows)

    write_split(folder / name, schema, batches())
    return open_split(folder / name)


def expect(partitions: list[FakePartition], separator: list[int]) -> dict[tuple[int, int], list[int]]:
    """The slow version: each document alone, then the separator."""
    return {
        (partition.index, line): [*text.encode(), *separator]
        for partition in partitions
        for line, text in enumerate(partition.texts, 1)
    }


def finish(folder: Path, partitions: list[FakePartition], **options: Any) -> tuple[Split, Split]:
    """Prepare to the end; read train and test (empty when there is none)."""
    for _ in run(folder, partitions, **options):
        pass
    has_test = (folder / "test").exists()
    return read_split(folder, "train"), read_split(folder, "test") if has_test else Split()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
