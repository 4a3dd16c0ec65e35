"""A vocabulary to measure with: it writes every text, and counts what it does not know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from whelp.tokenizer.config import UNKNOWN_TOKEN
from whelp.tokenizer.vocabulary import Vocabulary

_UTF8_BYTES = {bytes([byte]) for byte in range(256)} - {bytes([byte]) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tolerant:
    """A vocabulary, and how to encode with it where it may not know everything.

    Attributes:
        writer: Gives the same ids as `vocabulary`; where that would refuse a text or drop some of it, `unk_id`.
        unk_id: The id that says "unknown"; None where there is no such thing.
        has_bytes: Whether each byte that UTF-8 uses is a token of its own, so that nothing can be unknown.
        specification: What the writer's tokenizer.json says; None where there is none that `tokenizers` can read.
    """

    vocabulary: Vocabulary
    writer: Vocabulary
    unk_id: int | None
    has_bytes: bool
    specification: dict[str, Any] | None


def make_tolerant(vocabulary: Vocabulary) -> Tolerant:
    """Make a vocabulary write every text: where nothing in it says "unknown", it gets one more id for that."""
    specification = _read_specification(vocabulary)
    model = (specification or {}).get("model") or {}
    unk_id = _find_unknown(vocabulary, model)
    has_bytes = _has_bytes(vocabulary)
    if specification is not None and unk_id is None and not has_bytes:
        widened = _widen(specification, vocabulary)
        if widened is not None:
            writer = Vocabulary(json.dumps(widened[0]), unk_token=widened[1], name=vocabulary.name)
            return Tolerant(
                vocabulary=vocabulary, writer=writer, unk_id=writer.unk_id, has_bytes=False, specification=widened[0]
            )
    return Tolerant(vocabulary=vocabulary, writer=vocabulary, unk_id=unk_id, has_bytes=has_bytes, specification=specification)


def _read_specification(vocabulary: Vocabulary) -> dict[str, Any] | None:
    try:
        Tokenizer.from_str(vocabulary.to_json())
    except Exception:  # what `tokenizers` raises has no type of its own
        return None
    return vocabulary.specification()


def _find_unknown(vocabulary: Vocabulary, model: dict[str, Any]) -> int | None:
    """The id for the unknown: as the vocabulary names it, or else its model."""
    if vocabulary.unk_id is not None:
        return vocabulary.unk_id
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    return vocabulary.id_of(model["unk_token"]) if model.get("unk_token") else None


def _has_bytes(vocabulary: Vocabulary) -> bool:
    single = np.flatnonzero(vocabulary.token_bytes == 1).tolist()
    return {vocabulary.decode_bytes([token_id]) for token_id in single} >= _UTF8_BYTES


def _widen(specification: dict[str, Any], vocabulary: Vocabulary) -> tuple[dict[str, Any], str] | None:
    """The specification with one more id, the last, for the unknown; None where a list of pieces has no room for it.

    Added tokens that the model itself does not hold would move up by one, so the model gets them, too.
    """
    unknown = UNKNOWN_TOKEN
    while vocabulary.id_of(unknown) is not None:
        unknown = f"<{unknown}>"
    model = specification["model"]
    added = {entry["content"]: entry["id"] for entry in specification.get("added_tokens") or []}
    if isinstance(model["vocab"], dict):
        tokens = {**model["vocab"], **added, unknown: vocabulary.size}
        return {**specification, "model": {**model, "vocab": tokens, "unk_token": unknown}}, unknown
    pieces = list(model["vocab"])
    score = min((score for _, score in pieces), default=0.0) - 100.0  # worse than any way to write a text without it
    for content, token_id in sorted(added.items(), key=lambda item: item[1]):
        if token_id == len(pieces):
            pieces.append([content, score])
    if len(pieces) != vocabulary.size:
        return None
    return {**specification, "model": {**model, "vocab": [*pieces, [unknown, score]], "unk_id": len(pieces)}}, unknown
