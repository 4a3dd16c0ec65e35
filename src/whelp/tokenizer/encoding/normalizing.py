"""The reference's own Unicode normalizer before the fast encoder, for the documents that have any need of it.

The fast encoder's NFC differs on rare sequences of combining marks; this way they agree by construction. Nearly all documents
have no need: to see that, the first three bytes of each character beyond Latin are looked up in a table, which is far
cheaper than to decode or to normalize.
"""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from tokenizers import normalizers

from whelp.base.arrays import to_arrow, to_texts, view_text
from whelp.tokenizer._arrow import Encoded, Texts
from whelp.tokenizer.encoding.engine import Engine
from whelp.tokenizer.encoding.utf8 import find_documents, iter_chunks, read_points

NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")  # none of them changes ASCII
_NOT_ASKED, _INERT, _MAY_CHANGE = 0, 1, -1


class NormalizingEngine(Engine):
    """`fast`, which must not normalize, behind the normalizer `form` of `tokenizers`."""

    def __init__(self, fast: Engine, form: str) -> None:
        self._fast, self._form = fast, form
        self._normalizer = getattr(normalizers, form)()
        self._lowest = 0xCC if form == "NFC" else 0xC2  # the first byte of U+0300, below which NFC changes nothing
        # What is known so far of characters by their first three bytes (six bits each), and of single code points.
        self._beginnings = np.zeros(1 << 18, np.int8)
        self._points = np.zeros(0x110000, np.int8)

    def encode_batch(self, strings: Texts) -> Encoded:
        may_change = self._find_changing(strings)
        if may_change.any():
            mask = to_arrow(may_change)
            normalized = list(map(self._normalize, strings.filter(mask).to_pylist()))
            strings = pc.replace_with_mask(strings, mask, to_texts(normalized))
        return self._fast.encode_batch(strings)

    def encode(self, text: str) -> npt.NDArray[Any]:
        return self._fast.encode(self._normalize(text))

    def _normalize(self, text: str) -> str:
        is_normal = unicodedata.is_normalized(self._form, text)  # type: ignore[arg-type]  # one of the four
        return text if is_normal else str(self._normalizer.normalize_str(text))

    def _find_changing(self, strings: Texts) -> npt.NDArray[np.bool_]:
        """Which documents hold a character that a normalizer may change or move."""
        data, offsets = view_text(strings)
        found = np.zeros(len(strings), np.bool_)
        text = data[offsets[0] : offsets[-1]]
        for start, chunk, _ in iter_chunks(text, self._lowest):
            places = start + np.flatnonzero(chunk >= self._lowest)
            beginnings = _read_beginnings(text, places)
            states = self._beginnings[beginnings]
            if not states.all():
                self._ask(np.unique(beginnings[states == _NOT_ASKED]))
                states = self._beginnings[beginnings]
            places = places[states == _MAY_CHANGE]
            if len(places):
                places = places[self._points[read_points(text, places)] == _MAY_CHANGE]
                found[find_documents(offsets, places)] = True
        return found

    def _ask(self, beginnings: npt.NDArray[np.int32]) -> None:
        """Find out of all characters with these beginnings whether they are inert."""
        for beginning in beginnings.tolist():
            first, second, third = 0xC0 | beginning >> 12, beginning >> 6 & 0x3F, beginning & 0x3F
            if first < 0xE0:
                points = range(number := (first & 0x1F) << 6 | second, number + 1)
            elif first < 0xF0:
                points = range(number := (first & 0x0F) << 12 | second << 6 | third, number + 1)
            else:
                points = range(number := (first & 0x07) << 18 | second << 12 | third << 6, number + 64)
            states = [_INERT if _is_inert(chr(point), self._form) else _MAY_CHANGE for point in points]
            self._points[points.start : points.stop] = states
            self._beginnings[beginning] = min(states)


def _read_beginnings(text: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Six bits of each of three bytes; of a character of two bytes, the third belongs to the next and means nothing."""
    beginnings = (text[places] & 0x3F).astype(np.int32)
    for step in (1, 2):
        beginnings <<= 6
        beginnings |= text.take(places + step, mode="clip") & 0x3F
    return beginnings


def _is_inert(character: str, form: str) -> bool:
    """Whether a normalizer leaves a character alone whatever stands beside it: no mark, no jamo, normal by itself."""
    is_alone = unicodedata.category(character) not in ("Mn", "Mc", "Me", "Cn") and not "\u1100" <= character <= "\u11ff"
    return is_alone and unicodedata.is_normalized(form, character)  # type: ignore[arg-type]  # one of the four
