"""A vocabulary as llguidance takes it: the bytes that each id writes. Shapes: V vocabulary."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from whelp.generate.pattern_regex import write_letter, write_ranges
from whelp.generate.text_stream import VocabularyLike

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_MOST_CHARACTERS = 1 << 13  # of a regular expression of all tokens: more of them, and its automaton, would cost too much

Mask = npt.NDArray[np.bool_]


class SpelledVocabulary:
    """A vocabulary as llguidance takes it: the bytes of each id, and further ids for those that begin a text otherwise than they go on."""

    def __init__(self, vocabulary: VocabularyLike, end_ids: Collection[int]) -> None:
        from llguidance import LLTokenizer

        firsts, others = (
            [b"" if token_id in end_ids else spelled for token_id, spelled in enumerate(spellings)]
            for spellings in vocabulary.spell_tokens()
        )
        self.size = len(others)
        self._others = [token_id for token_id in range(self.size) if firsts[token_id] != others[token_id]]
        self._places = {token_id: self.size + place for place, token_id in enumerate(self._others)}
        self._table = [*others, *(firsts[token_id] for token_id in self._others)]
        self.has_all_bytes, self.letters = _find_letters(others)
        self._firsts = firsts
        self.tokenizer = LLTokenizer(_Wrapper([*self._table, b"<end>"]))

    @cached_property
    def ranks(self) -> npt.NDArray[np.int64]:
        """In which order ids are tried where a way is looked for, (V,): short ones first, signs before letters, spaces last."""
        keys = [(not spelled.strip(), len(spelled), spelled) for spelled in self._table[: self.size]]
        ranks = np.empty(self.size, np.int64)
        ranks[sorted(range(self.size), key=keys.__getitem__)] = np.arange(self.size)
        return ranks

    @cached_property
    def regex(self) -> str | None:
        """What texts of tokens match, where tokens are no letters; None where that is everything, too long, or not made of letters."""
        if self.has_all_bytes or self.letters is not None:
            return None
        try:
            firsts, others = (
                {token.decode() for token in tokens if token} for tokens in (self._firsts, self._table[: self.size])
            )
        except UnicodeDecodeError:
            return None
        needed = _find_needed(others, others)
        written = f"({_write_any(_find_needed(firsts, needed))})({_write_any(needed)})*"
        return written if len(written) <= _MOST_CHARACTERS else None

    def read_mask(self, bits: npt.NDArray[np.uint8], *, is_first: bool) -> Mask:
        """The ids (V,) of a mask of bits."""
        mask = np.unpackbits(bits, count=len(self._table), bitorder="little").view(np.bool_)
        if is_first and self._others:
            mask[self._others] = mask[self.size :]
        return mask[: self.size]

    def find_place(self, token_id: int, *, is_first: bool) -> int:
        """The number under which the automaton knows an id."""
        return self._places.get(token_id, token_id) if is_first else token_id

    def find_places(self, ids: Sequence[int], *, is_first: bool) -> list[int]:
        """The same of several, one after the other."""
        return [self.find_place(token_id, is_first=is_first and not number) for number, token_id in enumerate(ids)]

    def write(self, ids: Sequence[int]) -> bytes:
        """The text of ids."""
        return b"".join(self._table[place] for place in self.find_places(ids, is_first=True))


class _Wrapper:
    """What the library asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: list[bytes]) -> None:
        self.tokens, self.eos_token_id = tokens, len(tokens) - 1
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text: str) -> list[int]:
        return []  # nothing is cut into tokens: the model chooses them


def _find_needed(tokens: set[str], others: set[str]) -> set[str]:
    """Those of the tokens that are not written by a shorter one of them and others after it."""

    def can_end(text: str) -> bool:
        reached = {0}
        for end in range(1, len(text) + 1):
            if any(text[start:end] in others for start in reached):
                reached.add(end)
        return len(text) in reached

    return {
        token for token in tokens if not any(token[:size] in tokens and can_end(token[size:]) for size in range(1, len(token)))
    }


def _write_any(tokens: set[str]) -> str:
    """A regular expression of any of them: letters, letters after a space, others."""
    letters = {token for token in tokens if len(token) == 1}
    spaced = {token for token in tokens if len(token) == 2 and token[0] == " "}
    classes = [
        f"{space}[{write_ranges(ord(token[-1]) for token in each)}]" for space, each in (("", letters), (" ", spaced)) if each
    ]
    rest = ("".join(map(write_letter, token)) for token in sorted(tokens - letters - spaced))
    return "|".join([*classes, *rest])


def make_byte_tokenizer() -> LLTokenizer:
    """The vocabulary that can write everything: id = byte."""
    from llguidance import LLTokenizer

    return LLTokenizer(_Wrapper([*(bytes([byte]) for byte in range(256)), b"<end>"]))


def _find_letters(table: list[bytes]) -> tuple[bool, frozenset[str] | None]:
    """Whether each byte of UTF-8 can be written by itself; else all letters of tokens, if each of these can."""
    spelled = set(table)
    in_utf8 = [*range(0xC0), *range(0xC2, 0xF5)]
    if all(bytes([byte]) in spelled for byte in in_utf8):
        return True, None
    try:
        letters = frozenset("".join(token.decode() for token in spelled))
    except UnicodeDecodeError:  # parts of letters
        return False, None
    return False, letters if all(letter.encode() in spelled for letter in letters) else None
