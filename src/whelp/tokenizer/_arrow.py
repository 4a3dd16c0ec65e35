"""Arrow string arrays: one type, no nulls, views of their buffers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import holds_text, to_arrow, to_numpy, to_texts, view_text
from whelp.base.errors import TokenizerError

Texts: TypeAlias = Any  # pa.Array | pa.ChunkedArray of strings; pyarrow carries no types
Encoded: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]  # flat ids; offsets into them (documents + 1)


def as_strings(texts: Texts) -> Texts:
    """Give one contiguous large_string array; the text is copied only where it comes in several chunks.

    Raises: TokenizerError: When a row is null or the rows are not text.
    """
    if texts.null_count:
        row = pc.index(pc.is_null(texts), True).as_py()
        raise TokenizerError("texts", f"row {row} is null", "text in every row", "Drop such rows, or make them empty text.")
    if not holds_text(texts.type):
        raise TokenizerError("texts", f"the column is of type {texts.type}", "strings", "Choose a text column, or cast it.")
    strings = texts.cast(pa.large_string())
    return strings.combine_chunks() if isinstance(strings, pa.ChunkedArray) else strings


def check_utf8(strings: Texts) -> None:
    """Raises: TokenizerError: When a row is no UTF-8, which Arrow does not look at by itself."""
    for row, raw in enumerate(strings.cast(pa.large_binary()).to_pylist()):
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            found = f"row {row} is not UTF-8 (byte 0x{raw[error.start]:02x} at {error.start})"
            raise TokenizerError("texts", found, "UTF-8 text", 'Read it with errors="replace".') from None


def iter_strings(texts: Iterable[Texts], max_bytes: int | None, max_documents: int | None = None) -> Iterator[Texts]:
    """Yield large_string arrays until `max_bytes` of text (the last document is cut at a character) or `max_documents`."""
    left, rows_left = max_bytes, max_documents
    for batch in [texts] if isinstance(texts, (pa.Array, pa.ChunkedArray)) else texts:
        strings = as_strings(batch)
        if rows_left is not None:
            strings = strings.slice(0, rows_left)
            rows_left -= len(strings)
        if left is not None and len(strings):
            data, offsets = view_text(strings)
            if offsets[-1] - offsets[0] > left:
                num_whole = int(np.searchsorted(offsets[1:] - offsets[0], left, side="right"))
                start, end = int(offsets[num_whole]), int(offsets[0]) + left
                head = data[start:end].tobytes().decode(errors="ignore")
                yield pa.concat_arrays([strings.slice(0, num_whole), to_texts([head])])
                return
            left -= int(offsets[-1] - offsets[0])
        yield strings
        if rows_left == 0:
            return


def iter_lists(batches: Iterable[Texts]) -> Iterator[list[str]]:
    """The documents of large_string arrays as Python's strings, without empty ones: what trainers of `tokenizers` take."""
    for strings in batches:
        yield [text for text in strings.to_pylist() if text]


def join_bytes(strings: Texts, separator: bytes) -> Texts:
    """One Arrow buffer: every document followed by `separator`, except the last."""
    ends = to_arrow(np.array([0, len(strings)], np.int32))
    one_list = pa.ListArray.from_arrays(ends, strings.cast(pa.large_binary()))
    # `pa.scalar` would import pandas, a quarter of a second.
    buffers = [None, pa.py_buffer(np.array([0, len(separator)], np.int64)), pa.py_buffer(separator)]
    return pc.binary_join(one_list, pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, buffers)[0])[0].as_buffer()


def code_points(strings: Texts) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Unicode code points of all documents, flat, and where each document starts (documents + 1)."""
    data, byte_offsets = view_text(strings)
    text = data[byte_offsets[0] : byte_offsets[-1]].tobytes().decode()
    offsets = np.zeros(len(strings) + 1, np.int64)
    if len(strings):
        np.cumsum(to_numpy(pc.utf8_length(strings)), out=offsets[1:])
    return np.frombuffer(text.encode("utf-32-le"), np.uint32), offsets
