"""The longest token that fits, again and again: how RWKV's World vocabulary reads text.

Exact and fast without a compiler: no token of such a vocabulary holds, say, a letter followed by a space. Between two bytes
that follow each other in no token, every token ends, so the text falls into short pieces that do not depend on each
other. They recur as words do, and a trie reads all new ones at once.
"""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from whelp.base.arrays import view_text
from whelp.tokenizer._arrow import Encoded, Texts
from whelp.tokenizer.encoding.recurring import NewPieces, RecurringEngine
from whelp.tokenizer.encoding.trie import Trie

_TRIE_BYTES = 64  # longer pieces would make the trie take many steps for few pieces
_TRIE_PIECES = 64  # fewer are read sooner one by one


def find_neighbours(tokens: Iterable[bytes]) -> npt.NDArray[np.bool_]:
    """Which bytes follow each other in some token: bool, (65536,), at first * 256 + second."""
    follows = np.zeros(1 << 16, bool)
    joined = np.frombuffer(b"".join(tokens), np.uint8).astype(np.uint16)
    lengths = np.fromiter(map(len, tokens), np.int64)
    is_inside = np.ones(len(joined), bool)
    is_inside[np.cumsum(lengths) - 1] = False
    firsts = np.flatnonzero(is_inside)
    follows[(joined[firsts] << 8) | joined[firsts + 1]] = True
    return follows


class GreedyEngine(RecurringEngine):
    """Encodes by the longest match. `specials` (text -> id), if any, are found first, the longest at each place."""

    def __init__(self, ids: dict[bytes, int], specials: dict[str, int]) -> None:
        super().__init__()
        self._ids = ids
        tokens = list(ids)
        self._is_border = ~find_neighbours(tokens)
        lengths: dict[bytes, set[int]] = {}
        for token in tokens:
            lengths.setdefault(token[:2], set()).add(len(token))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        self._specials = {text: [token_id] for text, token_id in specials.items()}
        literals = sorted(map(re.escape, specials), key=len, reverse=True)
        self._special_pattern = re.compile(f"({'|'.join(literals)})") if literals else None

    def encode_batch(self, strings: Texts) -> Encoded:
        if self._special_pattern is not None:
            return self._encode_with_specials(strings.to_pylist())
        return super().encode_batch(strings)

    def _find_starts(self, text: npt.NDArray[np.uint8], documents: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        is_start = np.zeros(len(text) + 1, bool)
        pairs = text[:-1].astype(np.uint16)
        pairs <<= 8
        pairs |= text[1:]
        np.take(self._is_border, pairs, out=is_start[1:-1])
        return is_start

    @cached_property
    def _trie(self) -> Trie:
        return Trie(self._ids)

    def _encode_new(self, pieces: Texts, texts: list[bytes], numbers: npt.NDArray[np.int64]) -> NewPieces:
        data, offsets = view_text(pieces)
        is_short = np.diff(offsets)[numbers] <= _TRIE_BYTES
        if np.count_nonzero(is_short) < _TRIE_PIECES:
            is_short[:] = False
        else:
            short = numbers[is_short]
            yield short, *self._trie.match(data, offsets[short], offsets[short + 1])
        others = numbers[~is_short]
        if len(others):
            lists = [self._match(texts[number]) for number in others.tolist()]
            counts = np.fromiter(map(len, lists), np.int64, len(lists))
            yield others, np.fromiter(itertools.chain.from_iterable(lists), np.uint32), counts

    def _match(self, text: bytes) -> list[int]:
        ids, lengths = self._ids, self._lengths
        found = []
        position, size = 0, len(text)
        while position < size:
            token_id = None
            for length in lengths.get(text[position : position + 2], ()):
                if length <= size - position:
                    token_id = ids.get(text[position : position + length])
                    if token_id is not None:
                        break
            if token_id is None:
                length = 1
                token_id = ids[text[position : position + 1]]
            found.append(token_id)
            position += length
        return found

    def _encode_with_specials(self, texts: Sequence[str]) -> Encoded:
        assert self._special_pattern is not None, "called where there are specials"
        found, ends = array("I"), array("q", [0])
        for text in texts:
            for part in self._special_pattern.split(text):
                found.extend(self._specials[part] if part in self._specials else self._match(part.encode()))
            ends.append(len(found))
        return np.array(found, np.uint32), np.array(ends, np.int64)
