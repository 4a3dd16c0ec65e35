"""What each id adds to a text, for vocabularies whose ids do not stand for fixed bytes: those of SentencePiece, WordPiece.

Their decoders treat the token that begins a text otherwise than all others: `▁the` begins a text as `the`, and goes on as ` the`.
Whether that is all that an id's text depends on is tried out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from whelp.base.errors import TokenizerError

_NO_TEXT = "\ufffd"
_NUM_TRIED = 300  # sequences of ids
_LONGEST_TRIED = 6

Spellings = tuple[list[bytes], list[bytes]]


def find_spellings(decode: Callable[[list[int]], str], raw: Sequence[bytes], name: str) -> Spellings:
    """The bytes of each id where it begins a text, and where it goes on.

    Args:
        raw: What the spelling of each id says alone; read of those that stand for a part of a character.

    Raises: TokenizerError: When the text of an id depends on more than whether it is the first.
    """
    firsts = [decode([token_id]) for token_id in range(len(raw))]
    letters = [token_id for token_id, text in enumerate(firsts) if text.isascii() and text.isalpha()]
    if not letters:
        raise _not_fixed(name)
    anchor = max(letters, key=lambda token_id: (len(firsts[token_id]), token_id))  # a word: one byte may be part of a letter
    start = firsts[anchor]
    others = [decode([anchor, token_id]) for token_id in range(len(raw))]
    if not all(text.startswith(start) for text in others):
        raise _not_fixed(name)
    others = [text.removeprefix(start) for text in others]
    _try_out(decode, firsts, others, name)
    return _to_bytes(firsts, raw), _to_bytes(others, raw)


def _to_bytes(texts: Sequence[str], raw: Sequence[bytes]) -> list[bytes]:
    return [
        spelled if text == _NO_TEXT and len(spelled) == 1 else text.encode() for text, spelled in zip(texts, raw, strict=True)
    ]


def _try_out(decode: Callable[[list[int]], str], firsts: Sequence[str], others: Sequence[str], name: str) -> None:
    random = np.random.default_rng(0)
    whole = [token_id for token_id, text in enumerate(others) if text and _NO_TEXT not in text]
    for _ in range(_NUM_TRIED if whole else 0):
        first, *rest = random.choice(whole, size=int(random.integers(2, _LONGEST_TRIED + 1))).tolist()
        if decode([first, *rest]) != firsts[first] + "".join(others[token_id] for token_id in rest):
            raise _not_fixed(name)


def _not_fixed(name: str) -> TokenizerError:
    found = "the text of a token depends on the tokens around it"
    return TokenizerError(name, found, "tokens that always add the same text, as patterns need", "Take another vocabulary.")
