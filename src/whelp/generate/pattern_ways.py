"""Ways through a pattern: tokens that lead from where a text stands to a whole one, where a vocabulary cannot write just any letter.

A token may come when a way goes on from it. So no text ends up where the pattern wants what the vocabulary has no token for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from whelp.generate.pattern_vocabulary import Mask, SpelledVocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

MOST_TRIED_AT_START, MOST_TRIED_IN_STEP = 200, 16  # places: each costs what looking for the next token does, up to milliseconds
_MOST_LEFT_OUT, _MOST_TAKEN_BACK = 16, 2  # tokens of a way
_SHOWN_LETTERS, _MOST_ASKED = 8, 64


@dataclass(frozen=True)
class Search:
    """What came of looking for a way.

    Attributes:
        way: Ids that lead to a whole text; None where none were found.
        is_through: Whether all were tried, so that there is none if none was found.
        furthest: Ids of the longest text after which nothing could follow.
    """

    way: list[int] | None
    is_through: bool = False
    furthest: Sequence[int] = ()


def find_way(matcher: LLMatcher, spelled: SpelledVocabulary, *, is_first: bool, most_tried: int) -> Search:
    """Look for a way from where a matcher stands to a whole text.

    Args:
        most_tried: How many places are looked at, in each of two orders.
    """
    search = _look(matcher, spelled, is_first=is_first, most_tried=most_tried, shuns_known=True)
    if search.way is None and not search.is_through:
        search = _look(matcher, spelled, is_first=is_first, most_tried=most_tried, shuns_known=False)
    return search


def bend_way(matcher: LLMatcher, spelled: SpelledVocabulary, way: Sequence[int]) -> list[int] | None:
    """A way from where a matcher stands, not at the start, made of one that led from a token before: its end, or its beginning and more."""
    places = spelled.find_places(way, is_first=False)
    for start in range(min(len(way), _MOST_LEFT_OUT) + 1):
        if matcher.validate_tokens(places[start:]) == len(way) - start:
            there = matcher.deep_copy()
            if there.consume_tokens(places[start:]) and there.is_accepting():
                return list(way[start:])
    num_followed = matcher.validate_tokens(places)
    for num_taken_back in range(min(num_followed, _MOST_TAKEN_BACK) + 1):
        end = num_followed - num_taken_back
        there = matcher.deep_copy()
        there.consume_tokens(places[:end])
        search = find_way(there, spelled, is_first=False, most_tried=MOST_TRIED_IN_STEP)
        if search.way is not None or not end:
            return None if search.way is None else [*way[:end], *search.way]
    return None


def read_mask(matcher: LLMatcher, spelled: SpelledVocabulary, *, is_first: bool) -> Mask:
    """Which ids may come next, (V,), but for those that end a text."""
    return spelled.read_mask(np.frombuffer(matcher.compute_bitmask(), np.uint8), is_first=is_first)


def is_dead_end(matcher: LLMatcher) -> bool:
    """Whether what is wrong is that no token can follow."""
    return "NoExtension" in matcher.get_error()


def _look(matcher: LLMatcher, spelled: SpelledVocabulary, *, is_first: bool, most_tried: int, shuns_known: bool) -> Search:
    """Depth first.

    Args:
        shuns_known: Leave for later where the same tokens may follow as elsewhere: so a loop is left, but a long count is slow.
    """
    waiting: list[tuple[LLMatcher, list[int]]] = [(matcher, [])]
    later: list[tuple[LLMatcher, list[int], Mask]] = []
    seen: set[bytes] = set()
    furthest: list[int] = []
    is_whole = True
    for _ in range(most_tried):
        if waiting:
            before, path = waiting.pop()
            there = before.deep_copy()
            if path:
                there.consume_token(spelled.find_place(path[-1], is_first=is_first and len(path) == 1))
            mask = read_mask(there, spelled, is_first=is_first and not path)
            if there.is_error() and not is_dead_end(there):
                return Search(None)  # too much to find out
            if not there.is_error() and there.is_accepting():
                return Search(path)
            if there.is_error() or not mask.any():
                furthest = max(furthest, path, key=lambda ids: len(spelled.write(ids)))
                continue
            if shuns_known and (key := np.packbits(mask).tobytes()) in seen:
                later.append((there, path, mask))
                continue
            if shuns_known:
                seen.add(key)
        elif later:
            there, path, mask = later.pop()
        else:
            return Search(None, is_through=is_whole, furthest=furthest)
        ids = np.flatnonzero(mask)
        is_whole &= len(ids) <= most_tried
        ids = ids[np.argsort(spelled.ranks[ids])][:most_tried]
        waiting += [(there, [*path, token_id]) for token_id in reversed(ids.tolist())]
    return Search(None, furthest=furthest)


def find_wanted(matcher: LLMatcher, text: bytes) -> list[str]:
    """Letters that may follow a text, a few of them.

    Args:
        matcher: Of bytes, at the start.
    """
    whole = text.decode(errors="ignore").encode()  # without the part of a letter at its end
    if text[: len(whole)] != whole or not matcher.consume_tokens(list(whole)):
        return []
    letters: list[str] = []
    waiting = [(matcher, text[len(whole) :])]
    if waiting[0][1] and not matcher.consume_tokens(list(waiting[0][1])):
        return []
    for _ in range(_MOST_ASKED):
        if not waiting or len(letters) > _SHOWN_LETTERS:
            break
        there, begun = waiting.pop()
        bits = np.unpackbits(np.frombuffer(there.compute_bitmask(), np.uint8), count=256, bitorder="little")
        further = []
        for byte in np.flatnonzero(bits).tolist():
            letter = begun + bytes([byte])
            try:
                letters.append(letter.decode())
            except UnicodeDecodeError:
                further.append((there.deep_copy(), letter))
        for after, letter in islice(further, _SHOWN_LETTERS):
            if after.consume_token(letter[-1]):
                waiting.append((after, letter))
    return letters


def say_letters(letters: Sequence[str]) -> str:
    """Letters for a message.

    >>> say_letters(["a", "b", " "])
    "'a', 'b' or ' '"
    """
    shown = [repr(letter) for letter in letters[:_SHOWN_LETTERS]]
    if len(letters) > _SHOWN_LETTERS:
        return f"{', '.join(shown)} or another"
    return " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]
