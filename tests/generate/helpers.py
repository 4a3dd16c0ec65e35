"""Vocabularies and a model that say what they are told; requests that join others on their way."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from whelp.generate import GenerateConfig, complete
from whelp.generate.batch import Batch
from whelp.model import LanguageModel
from whelp.tokenizer.streaming import ByteStreamDecoder

Ids = list[int]


class PieceVocabulary:
    """Ids 0 .. 255 are bytes, then given pieces of bytes; the last id is end-of-text."""

    def __init__(self, pieces: list[bytes], *, has_eos: bool = True) -> None:
        self.pieces = [bytes([byte]) for byte in range(256)] + pieces + [b"<end>"]
        self.size = len(self.pieces)
        self.eos_id = self.size - 1 if has_eos else None

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)

    def stream(self) -> ByteStreamDecoder:
        return ByteStreamDecoder(lambda token_id: self.pieces[token_id])

    def decode_bytes(self, ids: Ids, *, skip_special: bool) -> bytes:
        return b"".join(self.pieces[token_id] for token_id in ids)

    def spell_tokens(self) -> tuple[list[bytes], list[bytes]]:
        return self.pieces, self.pieces


class NumberVocabulary:
    """Every id is its number and a space."""

    def __init__(self, size: int, eos_id: int | None = None) -> None:
        self.size, self.eos_id = size, eos_id

    def encode(self, text: str) -> np.ndarray:
        return np.array([int(word) for word in text.split()])

    def stream(self) -> ByteStreamDecoder:
        return ByteStreamDecoder(lambda token_id: b"%d " % token_id)

    def decode_bytes(self, ids: Ids, *, skip_special: bool) -> bytes:
        return b"".join(b"%d " % token_id for token_id in ids)


class ScriptedModel:
    """Says the ids of a script, whatever the prompt, and end-of-text (the last id) after it.

    With `asides`, a token of the first script may be answered by its own logits: {place: {id: logit}}.
    """

    context_tokens = 10**6

    def __init__(self, size: int, script: Ids, asides: dict[int, dict[int, float]] | None = None) -> None:
        self.size, self.script, self.asides = size, script, asides or {}
        self.prompt: Ids = []
        self.num_calls = 0

    def eval(self) -> None:
        pass

    def make_decoder(self, num_slots: int, capacity: int) -> ScriptedModel:
        self.lengths = [0] * num_slots
        return self

    def read(self, first: int, ids: list[Ids]) -> torch.Tensor:
        self.prompt = ids[0]
        return self._answer(range(first, first + len(ids)), ids)

    def step(self, ids: Ids, screen: object = None) -> torch.Tensor:
        return self._answer(range(len(ids)), [[token] for token in ids])

    can_forget, is_step_recorded, is_slow, can_screen, drafter = True, False, False, False, None

    def check(self, ids: list[Ids], screen: object = None) -> list[torch.Tensor]:
        answers = [torch.cat([self._answer(range(slot, slot + 1), [[token]]) for token in row]) for slot, row in enumerate(ids)]
        self.num_calls -= sum(map(len, ids)) - 1  # all of them are one call
        return answers

    def copy(self, source: int, target: int, num_tokens: int) -> bool:
        self.lengths[target] = num_tokens
        return True

    def _answer(self, slots: range, ids: list[Ids]) -> torch.Tensor:
        self.num_calls += 1
        logits = torch.full((len(ids), self.size), -1e9)
        for row, (slot, new) in enumerate(zip(slots, ids, strict=True)):
            self.lengths[slot] += len(new)
            place = self.lengths[slot] - len(self.prompt)
            logits[row, self.script[place] if place < len(self.script) else self.size - 1] = 0.0
            for token, value in self.asides.get(place, {}).items():
                logits[row, token] = value
        return logits


def generate_ids(
    model: LanguageModel, prompt: Ids, *, num_ids: int = 60, eos_id: int | None = None, n: int = 1, **options: object
) -> list[Ids]:
    """The new ids of each continuation."""
    settings = GenerateConfig(**{"temperature": 0.0, "max_tokens": 12} | options)
    batch = Batch(model, NumberVocabulary(num_ids, eos_id), max_rows=n)
    generations = batch.submit(prompt, settings, n=n)
    while batch.step():
        pass
    return [[token for piece in generation for token in piece.token_ids] for generation in generations]


def check_joining(
    model: LanguageModel,
    vocabulary: NumberVocabulary,
    requests: list[tuple[Ids, dict[str, Any], int]],
    alone: dict[str, Any],
    together: dict[str, Any],
    *,
    max_rows: int,
) -> None:
    """Requests (prompt, settings, how many), one after two steps of those before, in few slots: each gets the text that it gets alone.

    Args:
        alone: What else is set where each runs by itself.
        together: What else is set where they run side by side.
    """
    expected = [
        complete(model, vocabulary, prompt, GenerateConfig(**style, **alone), n=number) for prompt, style, number in requests
    ]
    batch, generations = Batch(model, vocabulary, max_rows=max_rows), []
    for prompt, style, number in requests:
        generations.append(batch.submit(prompt, GenerateConfig(**style, **together), n=number))
        batch.step()
        batch.step()
    while batch.step():
        pass
    for texts, group in zip(expected, generations, strict=True):
        assert ["".join(piece.text for piece in generation) for generation in group] == [whole.text for whole in texts]
        assert [generation.finish_reason for generation in group] == [whole.reason for whole in texts]
