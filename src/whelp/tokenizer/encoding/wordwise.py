"""The reference behind a memory of words: most of a text is words that were seen before.

Exact wherever it is taken: texts are cut only where the reference cuts, too, and each different piece is encoded by it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.arrays import to_arrow, view_text
from whelp.tokenizer._arrow import Encoded, Texts
from whelp.tokenizer.encoding.borders import Borders
from whelp.tokenizer.encoding.engine import Engine
from whelp.tokenizer.encoding.recurring import NewPieces, RecurringEngine

_LARGE_BYTES = 1 << 19  # in less text than this, little recurs at first
_MOST_DIFFERENT = 0.9  # of a large text: Japanese between spaces, hashes; English has a quarter, Python's source three quarters
_SHORT_CHARACTERS = 1 << 12  # prompts, for which the reference alone is faster


class WordwiseEngine(RecurringEngine):
    """`reference`, asked once for each different piece between `borders`."""

    def __init__(self, reference: Engine, borders: Borders) -> None:
        super().__init__()
        self._reference, self._borders = reference, borders

    def encode(self, text: str) -> npt.NDArray[Any]:
        return self._reference.encode(text) if len(text) < _SHORT_CHARACTERS else super().encode(text)

    def _encode_otherwise(self, strings: Texts, different_share: float) -> Encoded | None:
        _, offsets = view_text(strings)
        is_large = offsets[-1] - offsets[0] >= _LARGE_BYTES
        return self._reference.encode_batch(strings) if is_large and different_share > _MOST_DIFFERENT else None

    def _find_starts(self, text: npt.NDArray[np.uint8], documents: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return self._borders.find(text, documents)

    def _encode_new(self, pieces: Texts, texts: list[bytes], numbers: npt.NDArray[np.int64]) -> NewPieces:
        ids, ends = self._reference.encode_batch(pieces.take(to_arrow(numbers)).cast(pa.large_string()))
        yield numbers, ids, np.diff(ends)
