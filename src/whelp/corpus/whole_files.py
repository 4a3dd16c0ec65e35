"""Text files that are one document each: read into one buffer, looked through together, and made one Arrow array.

A folder of many small files costs what its bytes cost, and little more for each file: what is plain text, as nearly all is,
stays where it was read to. Only a file with anything odd about it is decoded by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.hashing import hash_bytes
from whelp.corpus.columns import measure_texts
from whelp.corpus.config import SourceConfig
from whelp.corpus.encodings import BEGINNINGS, BadFile, Inspection, inspect_bytes, iter_text
from whelp.corpus.find_files import SkippedFile
from whelp.corpus.open_file import SourceFile, read_whole
from whelp.corpus.partition import TEXT_SCHEMA, Builder
from whelp.corpus.row_window import Window

_CHUNK_BYTES = 1 << 17  # stays in the processor's cache
_LONGEST_BEGINNING = max(map(len, BEGINNINGS))


@dataclass(frozen=True)
class WholeFiles:
    """Files that wait to be added to a partition."""

    files: tuple[SourceFile, ...]
    config: SourceConfig
    inspections: dict[int, Inspection]
    fingerprints: dict[int, str]  # filled with those of what is read
    skip: Callable[[SourceFile, BadFile], SkippedFile]
    _waiting: list[int] = field(default_factory=list)

    def add(self, index: int) -> None:
        """File number `index`."""
        self._waiting.append(index)

    def move_to(self, builder: Builder, window: Window) -> None:
        """Add the documents of all files that wait, as far as the window wants them, and forget them."""
        indices, self._waiting[:] = list(self._waiting), []
        if not indices:
            return
        sizes = np.fromiter((self.files[index].num_bytes for index in indices), np.int64, len(indices))
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        data = np.empty(offsets[-1], np.uint8)
        view = data.data
        errors: dict[int, BadFile] = {}
        for index, (start, end) in zip(indices, pairwise(offsets.tolist()), strict=True):
            try:
                read_whole(self.files[index], view[start:end])
                self.fingerprints[index] = hash_bytes(view[start:end])
            except BadFile as error:
                errors[index] = error
                view[start:end] = bytes(end - start)  # whatever lay there must not make the others look odd
        is_plain = find_plain(data, offsets) if self.config.encoding == "auto" else np.zeros(len(indices), np.bool_)
        pieces: list[bytes | memoryview] = []  # texts, where neighbours that are plain are one piece
        kept: list[int] = []
        digests: list[str] = []
        lengths: list[int] = []
        plain_end = -1  # in `data`, where the last piece is plain
        for index, start, end, is_as_it_is in zip(
            indices, offsets[:-1].tolist(), offsets[1:].tolist(), is_plain.tolist(), strict=True
        ):
            if window.is_done:
                break
            try:
                if index in errors:
                    raise errors[index]
                text = view[start:end] if is_as_it_is else self._decode(index, bytes(view[start:end]), builder)
            except BadFile as error:
                builder.skipped.append(self.skip(self.files[index], error))
                continue
            first, stop = window.take(1)
            if first == stop:
                continue
            kept.append(index)
            lengths.append(len(text))
            digests.append(self.fingerprints[index] if is_as_it_is else hash_bytes(text))
            if is_as_it_is and plain_end == start:
                pieces[-1] = view[end - len(pieces[-1]) - len(text) : end]
            else:
                pieces.append(text)
            plain_end = end if is_as_it_is else -1
        if kept:
            _add(builder, kept, pieces, lengths, digests)

    def _decode(self, index: int, data: bytes, builder: Builder) -> bytes:
        """The text of a file that is not plain, noted where that is unusual.

        Raises:
            BadFile: When it is not text.
        """
        inspection = self.inspections.get(index) or inspect_bytes(data, self.config.encoding)
        builder.note_file(inspection, self.config)
        return b"".join(iter_text([data], inspection, strip_carriage_returns=self.config.strip_carriage_returns))


def _add(
    builder: Builder, indices: list[int], pieces: list[bytes | memoryview], lengths: list[int], digests: list[str]
) -> None:
    ends = np.zeros(len(indices) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    texts = pa.LargeStringArray.from_buffers(len(indices), pa.py_buffer(ends), pa.py_buffer(data))
    builder.add(
        np.array(indices, np.int32),
        pa.RecordBatch.from_arrays([texts], schema=TEXT_SCHEMA),
        np.ones(len(indices), np.int64),
        measure_texts(texts)[1],
        digests,
    )


def find_plain(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of the files that lie one after the other in `data` are UTF-8 text that nothing is to be done about.

    The others have a byte order mark, control characters, carriage returns, or begin as packed data do; or they are no UTF-8.

    >>> find_plain(np.frombuffer(b"one" b"two\\r\\n" b"PAR1", np.uint8), np.array([0, 3, 8, 12]))
    array([ True, False, False])
    """
    num_files = len(offsets) - 1
    is_plain = np.ones(num_files, np.bool_)
    places = [start + _find_odd(data[start : start + _CHUNK_BYTES]) for start in range(0, len(data), _CHUNK_BYTES)]
    odd = np.concatenate(places) if places else np.zeros(0, np.int64)
    is_plain[np.searchsorted(offsets, odd, side="right") - 1] = False
    view = data.data
    for number, (start, end) in enumerate(pairwise(offsets.tolist())):
        if bytes(view[start : min(end, start + _LONGEST_BEGINNING)]).startswith(BEGINNINGS):
            is_plain[number] = False
    if not _is_utf8(data, offsets):
        for number in np.flatnonzero(is_plain).tolist():
            is_plain[number] = _is_utf8(data, offsets[number : number + 2])
    return is_plain


def _find_odd(chunk: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    r"""Where there are control characters, besides \b \t \n \v and \f."""
    shifted = chunk - np.uint8(13)  # \r and what follows, up to the space, come to lie below 19; NUL to \a at 243 to 250
    is_odd = (shifted < 19) | (shifted - np.uint8(243) < 8) | (chunk == 0x7F)
    return np.flatnonzero(is_odd) if is_odd.any() else np.zeros(0, np.int64)


def _is_utf8(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> bool:
    """Whether each text by itself is UTF-8. Arrow's check makes no text object: several times faster than bytes.decode."""
    try:
        texts = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
