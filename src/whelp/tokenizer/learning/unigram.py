"""Byte-level Unigram: start from many pieces, drop the least useful ones, until `vocab_size` are left.

Kudo 2018 (arXiv:1804.10959), over the byte spelling of GPT-2 instead of characters: so every text can be written, and
`decode(encode(x)) == x`. Learned by `tokenizers`, whose result differs a little from run to run: sums in another order,
and bytes that are no piece of their own in any order. Rounding and sorting make it the same again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from whelp.tokenizer._arrow import Texts, iter_lists
from whelp.tokenizer.config import LearnConfig
from whelp.tokenizer.learning.build import finish, make_cutter
from whelp.tokenizer.vocabulary import Vocabulary

_DIGITS = 4  # of scores, which are logarithms of probabilities
_STEP = 1e-4  # between the scores of the bytes that the trainer adds in the end, in the order of a hash table


def learn_unigram(strings: Iterator[Texts], config: LearnConfig) -> Vocabulary:
    """Learn a byte-level Unigram from large_string arrays; no piece crosses two documents.

    The trainer keeps every different word of the text in memory.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = make_cutter(config)
    tokenizer.decoder = decoders.ByteLevel()
    num_pieces = config.vocab_size - len(config.control_tokens())
    trainer = trainers.UnigramTrainer(vocab_size=num_pieces, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(iter_lists(strings), trainer)
    pieces = [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    tokenizer.model = models.Unigram(_make_reproducible(pieces))
    return finish(tokenizer, config, "a learned byte-level Unigram")


def _make_reproducible(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Round scores, give the bytes that are no piece of their own one low score, and sort."""
    singles = sorted((pair for pair in pieces if len(pair[0]) == 1), key=lambda pair: pair[1])
    ladders = [_climb(singles[first:]) for first in range(min(8, len(singles)))]
    ladder = max(ladders, key=len, default=set())
    unlearned = ladder if len(ladder) > 1 else set()  # a single one stands where it stands
    learned = [(piece, round(score, _DIGITS)) for piece, score in pieces if piece not in unlearned]
    lowest = round(min(score for _, score in learned) - _STEP, _DIGITS)
    return sorted([*learned, *((piece, lowest) for piece in unlearned)], key=lambda pair: (-pair[1], pair[0]))


def _climb(singles: list[tuple[str, float]]) -> set[str]:
    """The pieces from the first one on that stand one step above each other, as those do that the trainer only added."""
    found = {singles[0][0]}
    score = singles[0][1]
    for piece, next_score in singles[1:]:
        if abs(next_score - score - _STEP) < _STEP * 1e-5:
            found.add(piece)
            score = next_score
    return found
