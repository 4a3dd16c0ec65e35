"""Long texts, encoded in parts: what an encoder needs besides the ids is bounded by a part, however long a text is.

The parts meet where no token can lie across: at a space that follows an ASCII letter or digit and stands before an ASCII
letter. Every splitting pattern that the fast encoder knows begins a word at such a space, so it divides long texts there among
its own threads, too; and no Unicode normalizer looks across it. That ids are those of the reference when texts are cut at all
such places is part of the comparison on load.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.arrays import cut_runs, view_text
from whelp.tokenizer._arrow import Encoded, Texts
from whelp.tokenizer.encoding.engine import Engine
from whelp.tokenizer.encoding.normalizing import NORMAL_FORMS

PART_BYTES = 1 << 21
_BLOCK_BYTES = 1 << 24  # parts that are encoded at once, on all threads
_WINDOW_BYTES = 1 << 12  # a space comes soon, as a rule


def _make_table(characters: str) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(characters.encode())] = True
    return table


_IS_LETTER = _make_table(string.ascii_letters)
_IS_LETTER_OR_DIGIT = _make_table(string.ascii_letters + string.digits)


def can_cut(specification: dict[str, Any]) -> bool:
    """Whether the parts of a text have the ids of the whole, by what a tokenizer.json says.

    A pattern must cut words off; no added token may have a space after a letter or a digit in it, or take spaces behind it along.
    """
    before = specification.get("pre_tokenizer") or {}
    has_pattern = any(
        entry.get("type") == "Split" or (entry.get("type") == "ByteLevel" and entry.get("use_regex", True))
        for entry in before.get("pretokenizers", [before])
    )
    form = (specification.get("normalizer") or {}).get("type")
    return (
        has_pattern
        and not specification["model"].get("byte_fallback")
        and (form is None or form in NORMAL_FORMS)
        and not any(entry.get("rstrip") or _holds_border(entry["content"]) for entry in specification["added_tokens"])
    )


def _holds_border(token: str) -> bool:
    return any(before.isalnum() and here == " " for before, here in itertools.pairwise(token))


class PartwiseEngine(Engine):
    """`engine`, which gives the same ids wherever `can_cut` lets a text be cut."""

    def __init__(self, engine: Engine, part_bytes: int | None = None) -> None:
        self._engine, self._part_bytes = engine, part_bytes or PART_BYTES

    def encode(self, text: str) -> npt.NDArray[Any]:
        return super().encode(text) if len(text) > self._part_bytes else self._engine.encode(text)

    def encode_batch(self, strings: Texts) -> Encoded:
        data, offsets = view_text(strings)
        cuts = list(self._iter_cuts(data, offsets))
        if not cuts:
            return self._engine.encode_batch(strings)
        places = np.searchsorted(offsets, cuts)
        borders = np.insert(offsets, places, cuts)
        is_document = np.insert(np.ones(len(offsets), np.bool_), places, False)
        parts = pa.LargeStringArray.from_buffers(len(borders) - 1, pa.py_buffer(borders), strings.buffers()[2])
        ids: npt.NDArray[Any] | None = None
        ends = np.zeros(len(borders), np.int64)
        for first, stop in cut_runs(borders, _BLOCK_BYTES):
            found, found_ends = self._engine.encode_batch(parts.slice(first, stop - first))
            start = 0 if ids is None else len(ids)
            ends[first + 1 : stop + 1] = start + found_ends[1:]
            if ids is None:
                ids = found if found.flags.owndata else found.copy()  # for it will grow
            else:
                ids.resize(start + len(found), refcheck=False)  # in place: the system moves pages, nothing is copied
                ids[start:] = found
        assert ids is not None
        return ids, ends[is_document]

    def _iter_cuts(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Iterator[int]:
        """Where to cut texts longer than a part."""
        for document in np.flatnonzero(np.diff(offsets) > self._part_bytes).tolist():
            place, end = int(offsets[document]), int(offsets[document + 1])
            while end - place > self._part_bytes:
                found = find_border(data, place + self._part_bytes, end)
                if found is None:
                    break
                yield found
                place = found


def find_border(data: npt.NDArray[np.uint8], place: int, end: int) -> int | None:
    """The first place from `place` (above 0) on, before `end`, where a text may be cut; None when there is none.

    >>> find_border(np.frombuffer(b"a 1 b c", np.uint8), 1, 7)
    3
    """
    for start in range(place, end - 1, _WINDOW_BYTES):
        window = data[start - 1 : min(start + _WINDOW_BYTES, end - 1) + 1]
        is_border = (window[1:-1] == 0x20) & _IS_LETTER_OR_DIGIT[window[:-2]] & _IS_LETTER[window[2:]]
        if is_border.any():
            return start + int(is_border.argmax())
    return None
