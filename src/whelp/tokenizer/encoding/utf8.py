"""UTF-8 looked at without decoding it: most text is ASCII, in which there is nothing to look for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_CHUNK_BYTES = 1 << 17  # stays in the processor's cache


def iter_chunks(text: npt.NDArray[np.uint8], lowest: int) -> Iterator[tuple[int, npt.NDArray[np.uint8], int]]:
    """The chunks of a text with a byte of at least `lowest`: where each begins, its bytes, and its highest byte."""
    for start in range(0, len(text), _CHUNK_BYTES):
        chunk = text[start : start + _CHUNK_BYTES]
        highest = chunk.max()
        if highest >= lowest:
            yield start, chunk, highest


def find_documents(offsets: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The document that each place is in; places count from where the first document starts."""
    documents: npt.NDArray[np.int64] = np.searchsorted(offsets, places + offsets[0], side="right") - 1
    return documents


def read_points(data: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The code points of the characters of two bytes and more that begin at `places` of UTF-8 text."""
    first = data[places].astype(np.int32)
    rest = [(data.take(places + step, mode="clip") & 0x3F).astype(np.int32) for step in (1, 2, 3)]
    two = (first & 0x1F) << 6 | rest[0]
    three = (first & 0x0F) << 12 | rest[0] << 6 | rest[1]
    four = (first & 0x07) << 18 | rest[0] << 12 | rest[1] << 6 | rest[2]
    return np.where(first < 0xE0, two, np.where(first < 0xF0, three, four))
