"""Token stores of random ids, with or without a mask, and a vocabulary of any size."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from whelp.artifacts.manifest import Manifest, describe_files, write_manifest
from whelp.artifacts.token_store import make_batch, make_schema, write_split, write_splits
from whelp.base.errors import WhelpError
from whelp.base.files import write_json
from whelp.tokenizer import Vocabulary

END = 0
SMALL, LARGE = 5_000, 70_000  # ids that fit into 16 bits, and that do not
Documents = list[list[int]]


def make_vocabulary(folder: Path, size: int, *, has_end: bool = True) -> Vocabulary:
    """Words w1, w2, ...; id 0 is the end of a text."""
    words = {"<|endoftext|>" if has_end else "w0": 0, **{f"w{number}": number for number in range(1, size)}}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "w1"}
    Vocabulary(json.dumps({"model": model, "added_tokens": []}), eos_token="<|endoftext|>" if has_end else None).save(folder)
    return Vocabulary((folder / "tokenizer.json").read_text(), eos_token="<|endoftext|>" if has_end else None)


def random_documents(count: int, size: int, *, seed: int = 0, longest: int = 30) -> Documents:
    """Documents of random ids, each with the end of a text last."""
    draw = np.random.default_rng(seed)
    documents = [draw.integers(1, size, draw.integers(0, longest)).tolist() for _ in range(count)]
    documents[0] = [size - 1, 1, size - 1]  # the largest id is there, and the first document has a token
    return [[*document, END] for document in documents]


def random_masks(documents: Documents) -> Documents:
    """For each token whether it is trained."""
    draw = np.random.default_rng(1)
    return [draw.integers(0, 2, len(document)).tolist() for document in documents]


def make_store(
    folder: Path, size: int, splits: dict[str, Documents], masks: dict[str, Documents] | None = None, *, has_end: bool = True
) -> Path:
    """A finished store, three documents to a record batch."""
    vocabulary = make_vocabulary(folder / "tokenizer", size, has_end=has_end)
    schema = make_schema(size, has_mask=masks is not None)
    files, counts = [], {}
    for name, documents in splits.items():
        batches = []
        for first in range(0, len(documents), 3):
            some = documents[first : first + 3]
            ids, offsets = _join(some)
            mask = _join(masks[name][first : first + 3])[0].astype(np.uint8) if masks is not None else None
            places = pa.array([first % 2] * len(some)), pa.array(range(first, first + len(some)))
            batches.append(make_batch(schema, ids, offsets, *places, mask))
        num_documents, num_tokens = write_split(folder / name, schema, batches)
        counts[name] = {"documents": num_documents, "tokens": num_tokens}
        files.append(f"{name}/data-00000-of-00001.arrow")
    write_json(folder / "sources.json", ["even.txt", "odd.txt"])
    write_splits(folder, list(splits))
    write_manifest(
        folder,
        Manifest(
            kind="token_store",
            counts={"vocab_size": size, "splits": counts, "text_bytes": 0},
            inputs={"source": {"name": "random"}, "tokenizer": vocabulary.fingerprint},
            files=describe_files(folder, files),
        ),
    )
    return folder


def _join(documents: Sequence[list[int]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    ids = np.array([token for document in documents for token in document])
    return ids, np.cumsum([0, *map(len, documents)])


def error_of(kind: type[WhelpError], call: Callable[[], Any]) -> str:
    """The message of the error that a call ends with; it says what to do next."""
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.expected
    assert caught.value.next_step
    return str(caught.value)


SMALL_SPLITS = {"train": random_documents(40, SMALL), "test": random_documents(7, SMALL, seed=1)}
