"""Between Arrow and numpy, over the same memory.

Arrow's own `pa.array`, `to_numpy`, and calls with Python numbers look whether their argument is of pandas, and import all of
pandas for that: a quarter of a second, as long as it takes to encode 40 MB of text. These do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_CHUNK_BYTES = 1 << 20


def to_arrow(values: npt.NDArray[Any]) -> pa.Array:
    """Numbers as an Arrow array over the same memory; booleans are packed into bits.

    >>> to_arrow(np.array([True, False])).to_pylist()
    [True, False]
    """
    if values.dtype == np.bool_:
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def to_numpy(values: pa.Array) -> npt.NDArray[Any]:
    """Numbers without nulls as a view of their memory; booleans as a copy.

    >>> to_numpy(pa.array([1, 2, 3])[1:]).tolist()
    [2, 3]
    """
    assert not values.null_count, f"{values.null_count} nulls"
    is_bool = pa.types.is_boolean(values.type)
    dtype = np.dtype(np.bool_ if is_bool else values.type.to_pandas_dtype())
    if not len(values):
        return np.zeros(0, dtype)
    buffer = values.buffers()[1]
    if is_bool:
        return _unpack(buffer, values.offset, len(values))
    return np.frombuffer(buffer, dtype, len(values), values.offset * dtype.itemsize)


def find_valid(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Which values are not null.

    >>> find_valid(pa.array(["a", None])).tolist()
    [True, False]
    """
    if not values.null_count:
        return np.ones(len(values), np.bool_)
    return to_numpy(values.is_valid())


def find_byte(data: npt.NDArray[np.uint8], value: int) -> npt.NDArray[np.int64]:
    """Where a byte stands; looked for in chunks, so that there is no second array as long as the data.

    >>> find_byte(np.frombuffer(b"a,b,", np.uint8), ord(",")).tolist()
    [1, 3]
    """
    chunks = range(0, len(data), _CHUNK_BYTES)
    places = [np.flatnonzero(data[start : start + _CHUNK_BYTES] == value) + start for start in chunks]
    return (places[0] if len(places) == 1 else np.concatenate([np.zeros(0, np.int64), *places])).astype(np.int64, copy=False)


def holds_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def view_text(texts: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """View the UTF-8 bytes and the offsets into them (texts + 1) of a large_string array, without a copy.

    A null has the length that its offsets say, as a rule none.
    """
    if not len(texts):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    _, offset_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None and data_buffer.size else np.zeros(0, np.uint8)
    return data, offsets


def cut_runs(offsets: npt.NDArray[np.int64], limit: int) -> Iterator[tuple[int, int]]:
    """Cut what lies between `offsets` into runs of at most `limit` in all; a longer one is alone: first and end of each run.

    >>> list(cut_runs(np.array([0, 3, 5, 20, 21]), limit=5))
    [(0, 2), (2, 3), (3, 4)]
    """
    first, count = 0, len(offsets) - 1
    while first < count:
        stop = max(first + 1, int(np.searchsorted(offsets, offsets[first] + limit, side="right")) - 1)
        yield first, stop
        first = stop


def to_texts(strings: Sequence[str]) -> pa.LargeStringArray:
    """Python's strings as an Arrow array.

    Raises:
        UnicodeEncodeError: When one holds half of a surrogate pair.
    """
    encoded = [text.encode() for text in strings]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    return pa.LargeStringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def _unpack(buffer: pa.Buffer, offset: int, count: int) -> npt.NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), count=offset + count, bitorder="little")
    return bits[offset:].view(np.bool_)
