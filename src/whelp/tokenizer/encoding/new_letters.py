"""Characters that are newer than one of the two encoders.

Unicode 17 (2025) added letters, numbers and marks. The fast encoder knows them, the reference (`tokenizers` 0.23) does not yet,
and a letter is cut from its neighbours otherwise than a sign. Documents that hold such a character are encoded by the
reference; they are rare, and to look for them is cheap, since hardly any other character begins with the same two bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from whelp.base.arrays import to_arrow, view_text
from whelp.tokenizer._arrow import Encoded, Texts
from whelp.tokenizer.encoding.engine import Engine
from whelp.tokenizer.encoding.utf8 import find_documents, iter_chunks, read_points

_RANGES = (  # what Unicode 17 added that is no symbol, rounded up to whole runs; both ends are in it
    (0x088F, 0x088F),
    (0x0C5C, 0x0C5C),
    (0x0CDC, 0x0CDC),
    (0x1ACF, 0x1AEB),
    (0xA7CE, 0xA7D4),
    (0xA7F1, 0xA7F1),
    (0x10940, 0x1095F),
    (0x10EC5, 0x10ED8),
    (0x10EFA, 0x10EFB),
    (0x11B60, 0x11B67),
    (0x11DB0, 0x11DE9),
    (0x16EA0, 0x16ED3),
    (0x16FF2, 0x16FF6),
    (0x187F8, 0x187FF),
    (0x18D09, 0x18D1E),
    (0x18D80, 0x18DF2),
    (0x1E6C0, 0x1E6FF),
    (0x2B73A, 0x2B73F),
    (0x2CEA2, 0x2CEAD),
    (0x323B0, 0x33479),
)
_FIRST_WIDE = 0xE0  # the first byte of a character of three bytes or four: all of these are


def _make_table() -> npt.NDArray[np.bool_]:
    """Whether each code point is new."""
    table = np.zeros(0x110000, np.bool_)
    for first, last in _RANGES:
        table[first : last + 1] = True
    return table


def _make_beginnings() -> npt.NDArray[np.bool_]:
    """Whether new characters begin with these two bytes: at first * 256 + second."""
    beginnings = np.zeros(1 << 16, np.bool_)
    for point in np.flatnonzero(_IS_NEW).tolist():
        first, second = chr(point).encode()[:2]
        beginnings[first << 8 | second] = True
    return beginnings


_IS_NEW = _make_table()
_BEGINS_NEW = _make_beginnings()
_NEW_LEADS = np.flatnonzero(_BEGINS_NEW.reshape(256, 256).any(axis=1)).tolist()


def find_new(strings: Texts) -> npt.NDArray[np.bool_]:
    """Which documents hold a new character.

    >>> from whelp.base.arrays import to_texts
    >>> find_new(to_texts(["a", "\\U00010940"])).tolist()
    [False, True]
    """
    data, offsets = view_text(strings)
    found = np.zeros(len(strings), np.bool_)
    text = data[offsets[0] : offsets[-1]]
    for start, chunk, highest in iter_chunks(text, _FIRST_WIDE):
        raw = chunk.tobytes()
        for lead in _NEW_LEADS:
            if lead > highest or lead not in raw:  # far faster than looking each byte up
                continue
            places = start + np.flatnonzero(chunk == lead)
            places = places[_BEGINS_NEW[lead << 8 | text[places + 1].astype(np.uint16)]]
            places = places[_IS_NEW[read_points(text, places)]]
            found[find_documents(offsets, places)] = True
    return found


class AgreeingEngine(Engine):
    """The fast engine; documents with new characters go to the reference, which is built when the first one comes."""

    def __init__(self, fast: Engine, open_reference: Callable[[], Engine]) -> None:
        self._fast, self._open_reference = fast, open_reference
        self._reference: Engine | None = None
        self._lock = threading.Lock()

    def encode_batch(self, strings: Texts) -> Encoded:
        is_new = find_new(strings)
        if not is_new.any():
            return self._fast.encode_batch(strings)
        known_ids, known_offsets = self._fast.encode_batch(pc.filter(strings, to_arrow(~is_new)))
        new_ids, new_offsets = self._find_reference().encode_batch(pc.filter(strings, to_arrow(is_new)))
        lengths = np.empty(len(is_new), np.int64)
        lengths[~is_new], lengths[is_new] = np.diff(known_offsets), np.diff(new_offsets)
        is_new_token = np.repeat(is_new, lengths)
        ids = np.empty(len(is_new_token), np.uint32)
        ids[~is_new_token], ids[is_new_token] = known_ids, new_ids
        return ids, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])

    def encode(self, text: str) -> npt.NDArray[Any]:
        is_new = any(_IS_NEW[ord(character)] for character in set(text) if ord(character) > 0x7F)
        return (self._find_reference() if is_new else self._fast).encode(text)

    def _find_reference(self) -> Engine:
        with self._lock:
            if self._reference is None:
                self._reference = self._open_reference()
            return self._reference
