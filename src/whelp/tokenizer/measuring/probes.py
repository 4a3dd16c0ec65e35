"""What a few short texts tell about a vocabulary: how it cuts numbers, indentation, keywords and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.tokenizer.measuring.keywords import list_keywords
from whelp.tokenizer.measuring.tolerant import Tolerant

NUMBERS = ("1", "12", "123", "1234", "2026", "3.14159", "1,000,000")
LONGEST_INDENT = 16


def cut_words(tolerant: Tolerant, texts: Sequence[str]) -> list[list[str]]:
    """The tokens of each text, as text for display."""
    writer = tolerant.writer
    ids, offsets = writer.encode_batch(pa.array(list(texts), pa.large_string()))
    return [[writer.token_text(token_id) for token_id in ids[start:end].tolist()] for start, end in _iter_spans(offsets)]


def count_indents(tolerant: Tolerant) -> dict[str, list[int | None]]:
    """How many tokens runs of 1 to 16 spaces and tabs cost.

    Returns:
        `spaces` and `tabs`: the run alone. `spaces_in_code` and `tabs_in_code`: what the run adds to the two lines `x` and
        `y` when it stands before `y`; below the run alone where the line end or `y` takes some of it, and None where
        decoding does not give the run back: such a vocabulary cannot write code.
    """
    writer = tolerant.writer
    found: dict[str, list[int | None]] = {}
    for name, sign in (("spaces", " "), ("tabs", "\t")):
        runs = [sign * length for length in range(1, LONGEST_INDENT + 1)]
        found[name] = list(_count(tolerant, runs).tolist())
        lines = ["x\ny", *(f"x\n{run}y" for run in runs)]
        ids, offsets = writer.encode_batch(pa.array(lines, pa.large_string()))
        counts = np.diff(offsets)
        is_kept = [
            writer.decode(ids[start:end]) == line for line, (start, end) in zip(lines, _iter_spans(offsets), strict=True)
        ]
        found[f"{name}_in_code"] = [
            int(count - counts[0]) if kept else None for count, kept in zip(counts[1:], is_kept[1:], strict=True)
        ]
    return found


def find_keywords(tolerant: Tolerant) -> dict[str, dict[str, Any]]:
    """Which keywords are one token.

    Returns:
        For each list of `keywords.py`: `num_words`, `alone` (how many are one token), `after_space` (how many are one token
        together with the space before them); and the words that are not: `missing_alone`, `missing_after_space`, and
        `missing`, which are neither.
    """
    writer, unk_id = tolerant.writer, tolerant.unk_id
    found = {}
    for name, words in list_keywords().items():
        is_one = []
        for texts in (words, [f" {word}" for word in words]):
            ids, offsets = writer.encode_batch(pa.array(texts, pa.large_string()))
            counts = np.diff(offsets)
            firsts = ids[np.minimum(offsets[:-1], max(len(ids) - 1, 0))]
            is_one.append((counts == 1) & (firsts != (-1 if unk_id is None else unk_id)))
        alone, after_space = is_one
        found[name] = {
            "num_words": len(words),
            "alone": int(alone.sum()),
            "after_space": int(after_space.sum()),
            "missing": _pick(words, ~(alone | after_space)),
            "missing_alone": _pick(words, ~alone),
            "missing_after_space": _pick(words, ~after_space),
        }
    return found


def _pick(words: Sequence[str], is_picked: npt.NDArray[np.bool_]) -> list[str]:
    return [words[index] for index in np.flatnonzero(is_picked).tolist()]


def _count(tolerant: Tolerant, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.diff(tolerant.writer.encode_batch(pa.array(list(texts), pa.large_string()))[1])


def _iter_spans(offsets: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    return list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
