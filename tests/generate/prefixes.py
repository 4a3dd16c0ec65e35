"""Prompts that begin alike, and a batch that counts what it reads of them."""

from __future__ import annotations

import numpy as np

from whelp.generate import GenerateConfig, PrefixCache, complete
from whelp.generate.batch import Batch
from whelp.generate.prefix_cache import DEFAULT_BYTES

from .helpers import NumberVocabulary

NUM_IDS, CONTEXT = 60, 400
VOCABULARY = NumberVocabulary(NUM_IDS)
FORGETFUL = ["gpt2", "qwen3", "llama"]
"""Any beginning can be had of what they remember."""
KINDS = [*FORGETFUL, "rwkv7", "rwkv6", "rwkv5", "rwkv4", "mistral"]


def draw_ids(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, NUM_IDS, count).tolist()


class Watched(Batch):
    """A batch that counts the tokens of prompts that its model reads, one reading after another."""

    def __init__(self, model, max_bytes: int = DEFAULT_BYTES, *, max_rows: int = 4, **options) -> None:
        super().__init__(model, VOCABULARY, max_rows=max_rows, prefixes=PrefixCache(max_bytes), **options)
        self.read: list[int] = []
        read, score, step = self.decoder.read, self.decoder.score, self.decoder.step

        def count_read(first, ids):
            self.read.append(sum(map(len, ids)))
            return read(first, ids)

        def count_score(slot, ids):
            self.read.append(len(ids))
            return score(slot, ids)

        def take_step(*arguments):
            num_readings = len(self.read)
            logits = step(*arguments)
            del self.read[num_readings:]  # of transformers, a step is a reading
            return logits

        self.decoder.read, self.decoder.score, self.decoder.step = count_read, count_score, take_step

    def finish(self, *generations) -> list[list[int]]:
        """Work until idle; the new ids of each."""
        while self.step():
            pass
        return [[token for piece in generation for token in piece.token_ids] for generation in generations]

    def ask(self, prompt: list[int], n: int = 1, **settings):
        generations = self.submit(prompt, make_settings(**settings), n=n)
        return generations, self.finish(*generations)


def make_settings(**settings) -> GenerateConfig:
    return GenerateConfig(**{"temperature": 0.0, "max_tokens": 8, "prompt_lookup_tokens": 0} | settings)


def ask_alone(model, prompt: list[int], n: int = 1, **settings) -> list[list[int]]:
    """Without any memory of other texts."""
    found = complete(model, VOCABULARY, prompt, make_settings(**settings), n=n)
    return [[int(word) for word in whole.text.split()] for whole in found]
