"""`whelp inspect`: rows as they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whelp.artifacts.token_store import open_store
from whelp.base.errors import ConfigError
from whelp.prepare.config import PackConfig


@dataclass(frozen=True, kw_only=True)
class InspectedRow:
    """One training row: what is read, which positions are trained, and where it came from."""

    row: int
    ids: list[int]
    trained: list[bool]
    text: str
    documents: list[dict[str, str | int]]


def inspect(store: str | Path, *, rows: str = "0:3", split: str = "train", context_tokens: int = 256) -> list[InspectedRow]:
    """Read training rows back: ids, text, which targets are trained, and the documents they are from.

    Args:
        rows: `first:stop`, or one number.
    """
    from whelp.prepare.pack import pack_rows
    from whelp.tokenizer import load_tokenizer

    opened = open_store(Path(store))
    vocabulary = load_tokenizer(opened.tokenizer_folder)
    chosen = opened.split(split)
    packed = pack_rows(chosen, PackConfig(context_tokens=context_tokens), pad_id=vocabulary.pad_id or 0, must_fill_a_row=False)
    found = []
    for index in _parse_range(rows, len(packed)):
        ids, targets = packed.row(index)
        num_real = min(context_tokens, chosen.num_tokens - index * context_tokens)
        start = index * context_tokens
        first, last = np.searchsorted(chosen.document_ends, [start, start + num_real - 1], side="right")
        documents = []
        for number in range(int(first), int(last) + 1):
            entry = chosen.document(number)
            documents.append({"document": number, "file": opened.sources[entry["file_index"]], "line": entry["line"]})
        text = vocabulary.decode(ids[:num_real], skip_special=False)
        found.append(InspectedRow(row=index, ids=ids.tolist(), trained=(targets >= 0).tolist(), text=text, documents=documents))
    return found


def _parse_range(rows: str, num_rows: int) -> range:
    first, colon, stop = rows.partition(":")
    try:
        begin = int(first or 0)
        end = int(stop or num_rows) if colon else begin + 1
    except ValueError:
        raise ConfigError("--rows", [f"{rows!r} is not a range"], "Give FIRST:STOP, as 0:5, or one number.") from None
    if begin < 0 or begin >= num_rows or end <= begin:
        raise ConfigError("--rows", [f"{rows!r} names no row; the split has {num_rows:,} (0 to {num_rows - 1:,})"])
    return range(begin, min(end, num_rows))
