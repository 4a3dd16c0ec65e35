"""Text files that are one document each: gathered as bytes, and made one Arrow array together.

A folder of many small files costs what its bytes cost, and little more for each file.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from whelp.corpus.columns import measure_texts
from whelp.corpus.partition import TEXT_SCHEMA, Builder


class WholeFiles:
    """Documents that wait to be added to a partition."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._indices: list[int] = []

    def add(self, index: int, text: bytes) -> None:
        """The text, in UTF-8, of file number `index`."""
        self._texts.append(text)
        self._indices.append(index)

    def move_to(self, builder: Builder) -> None:
        """Add all documents to `builder`, and forget them."""
        if not self._texts:
            return
        offsets = np.zeros(len(self._texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, self._texts), np.int64, len(self._texts)), out=offsets[1:])
        data = self._texts[0] if len(self._texts) == 1 else b"".join(self._texts)
        texts = pa.LargeStringArray.from_buffers(len(self._texts), pa.py_buffer(offsets), pa.py_buffer(data))
        builder.add(
            np.array(self._indices, np.int32),
            pa.RecordBatch.from_arrays([texts], schema=TEXT_SCHEMA),
            np.ones(len(self._texts), np.int64),
            measure_texts(texts)[1],
        )
        self._texts, self._indices = [], []
