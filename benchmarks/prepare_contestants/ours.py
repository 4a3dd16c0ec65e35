"""This package, and the floor: its encoder and writing alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from prepare_contestants.task import END, Contestant, Prepared, load_fast, read_back


def import_whelp() -> None:
    """What whelp would import on the way, the packages of its encoder among that."""
    for name in (
        "whelp.cli.prepare",
        "whelp.corpus.source",
        "whelp.corpus.json_rows",
        "whelp.corpus.arrow_rows",
        "pyarrow.parquet",
        "whelp.prepare.encode",
        "whelp.tokenizer.load",
        "gigatoken",
        "awkward",
    ):
        importlib.import_module(name)


def encode_and_write(texts: Any, vocabulary: Any, path: Path) -> None:
    """The floor: pieces of the documents to ids with ends, appended to a file."""
    num_pieces = max(1, texts.nbytes >> 23)
    step = -(-len(texts) // num_pieces)
    with open(path, "wb") as file:
        for first in range(0, len(texts), step):
            ids, offsets = vocabulary.encode_batch(texts[first : first + step])
            joined = np.empty(len(ids) + len(offsets) - 1, np.uint16)
            is_text = np.ones(len(joined), bool)
            is_text[offsets[1:] + np.arange(len(offsets) - 1)] = False
            joined[is_text] = ids
            joined[~is_text] = END
            file.write(joined.data)


def alone(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Encode and write documents that lie in memory."""
    import pyarrow.parquet as pq

    import_whelp()
    texts = pq.read_table(corpus / "all.parquet")["text"].combine_chunks()
    return lambda: encode_and_write(texts, load_fast(vocabulary), out / "ids"), lambda: read_back(out / "ids")


def alone_jsonl(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Read JSON lines at once, then encode and write."""
    import pyarrow as pa
    import pyarrow.json as pj

    import_whelp()

    def work() -> None:
        table = pj.read_json(corpus / "all.jsonl", read_options=pj.ReadOptions(block_size=16 << 20))
        encode_and_write(table["text"].combine_chunks().cast(pa.large_string()), load_fast(vocabulary), out / "ids")

    return work, lambda: read_back(out / "ids")


def make_whelp(source: str) -> Contestant:
    """`whelp.prepare` of one form of the corpus."""

    def contestant(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
        import whelp
        from whelp.artifacts.token_store import open_store

        import_whelp()

        def work() -> None:
            data = {"source": str(corpus / source), "tokenizer": str(vocabulary), "test_split": 0}
            whelp.prepare({"data": data}, out=out / "store")

        def read() -> np.ndarray:
            split = open_store(out / "store").split("train")
            ids = np.empty(split.num_tokens, split.dtype)
            split.read_into(0, ids)
            return ids

        return work, read

    return contestant
