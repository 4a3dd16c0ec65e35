"""Smaller vocabularies out of a large one: a byte-level BPE of N ids is the beginning of every larger one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from whelp.base.errors import TokenizerError
from whelp.tokenizer._arrow import Texts, as_strings
from whelp.tokenizer.vocabulary import Vocabulary

_NUM_BYTES = 256
_FEW = 100


@dataclass(frozen=True, kw_only=True)
class SizeMeasure:
    """What a vocabulary of one size makes of a corpus. `num_rare_ids` occur less than 100 times in it, or never."""

    vocab_size: int
    num_bytes: int
    num_tokens: int
    bytes_per_token: float
    num_rare_ids: int


def shrink(vocabulary: Vocabulary, vocab_size: int) -> Vocabulary:
    """Keep the first merges of a learned byte-level BPE: the vocabulary that learning `vocab_size` ids would have given.

    Raises: TokenizerError: When the vocabulary is not a learned byte-level BPE, or is not that large.
    """
    specification = vocabulary.specification()
    control = sorted(specification.get("added_tokens") or [], key=lambda entry: entry["id"])
    model = specification["model"]
    num_tokens = vocabulary.size - len(control)
    if vocabulary.kind != "bpe" or [entry["id"] for entry in control] != list(range(num_tokens, vocabulary.size)):
        raise TokenizerError(
            vocabulary.name, "its ids are not bytes, merges and control tokens in this order", "a learned byte-level BPE"
        )
    smallest = _NUM_BYTES + len(control)
    if not smallest <= vocab_size <= vocabulary.size:
        raise TokenizerError(
            vocabulary.name, f"{vocab_size:,} ids cannot be kept of it", f"{smallest:,} to {vocabulary.size:,}", ""
        )
    num_kept = vocab_size - len(control)
    tokens = {token: token_id for token, token_id in model["vocab"].items() if token_id < num_kept}
    merges = list(itertools.takewhile(lambda pair: "".join(pair) in tokens, model["merges"]))
    added = [{**entry, "id": num_kept + index} for index, entry in enumerate(control)]
    smaller = {**specification, "model": {**model, "vocab": tokens, "merges": merges}, "added_tokens": added}
    return Vocabulary(
        json.dumps(smaller, ensure_ascii=False),
        **vocabulary.control_tokens,
        guess_control=False,
        name=f"the first {vocab_size:,} ids of {vocabulary.name}",
    )


def measure_sizes(vocabularies: Sequence[Vocabulary], batches: Iterable[Texts]) -> list[SizeMeasure]:
    """Encode a corpus with each vocabulary; every batch is read once."""
    num_bytes = 0
    counts = [np.zeros(vocabulary.size, np.int64) for vocabulary in vocabularies]
    for batch in batches:
        strings = as_strings(batch)
        num_bytes += int(pc.sum(pc.binary_length(strings)).as_py() or 0)
        for vocabulary, count in zip(vocabularies, counts, strict=True):
            count += np.bincount(vocabulary.encode_batch(strings)[0], minlength=vocabulary.size)
    return [
        SizeMeasure(
            vocab_size=vocabulary.size,
            num_bytes=num_bytes,
            num_tokens=int(count.sum()),
            bytes_per_token=num_bytes / max(int(count.sum()), 1),
            num_rare_ids=int((count < _FEW).sum()) - len(vocabulary.special_ids),
        )
        for vocabulary, count in zip(vocabularies, counts, strict=True)
    ]
