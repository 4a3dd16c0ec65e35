"""Many texts as one array of characters, cut into words and lines by arithmetic; every rule looks at these.

    texts = Texts(pa.array(["One two.", "Three"], pa.large_string()))
    texts.lengths                       # characters of each: [8, 5]
    texts.words.owners                  # the text that each word is of: [0, 0, 0, 1]

A word is a run of letters, digits, marks and underscores; each character of a script without spaces; or a run of one other
character. An apostrophe between two letters begins a word of its own (it | 's); a dot or comma between digits is part of the
number. So words are, in the main, as spaCy's tokenizer has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import cut_runs, view_text
from whelp.curate.characters import ALONE, LINE_BREAK, SPACE, SYMBOL, WORD, character_flags, lower_case
from whelp.curate.hashing import Hashes, Places, Prefix, mix

Mask = npt.NDArray[np.bool_]

_NEWLINE = ord("\n")
_APOSTROPHES = (ord("'"), ord("’"))


@dataclass(frozen=True)
class Segments:
    """Pieces of texts, in order: [start, stop) in characters, and which text each belongs to."""

    starts: Places
    stops: Places
    owners: Places
    num_texts: int

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def lengths(self) -> Places:
        """Characters of each."""
        return self.stops - self.starts

    @cached_property
    def counts(self) -> Places:
        """How many there are of each text."""
        return np.bincount(self.owners, minlength=self.num_texts)

    def choose(self, where: Mask) -> Segments:
        """Those of a mask."""
        return Segments(self.starts[where], self.stops[where], self.owners[where], self.num_texts)

    def sum(self, values: npt.NDArray[Any]) -> Places:
        """The sum over each text of whole numbers (or of a mask), one for each piece."""
        return np.bincount(self.owners, weights=values, minlength=self.num_texts).astype(np.int64)


def no_segments(num_texts: int) -> Segments:
    """No piece of any text."""
    nothing = np.zeros(0, np.int64)
    return Segments(nothing, nothing, nothing, num_texts)


class Texts:
    """Texts to be judged. What is made of them is made once, when it is first asked for."""

    def __init__(self, array: pa.LargeStringArray) -> None:
        self.array = array.fill_null("") if array.null_count else array
        data, offsets = read_buffers(self.array)
        self.num_bytes: Places = np.diff(offsets)
        self.is_ascii = not len(data) or int(data.max()) < 0x80
        self._data, self._byte_offsets = data, offsets

    @cached_property
    def points(self) -> npt.NDArray[Any]:
        """The code points of all texts, one after the other; bytes where all of them are ASCII."""
        if self.is_ascii:
            return self._data
        text = str(memoryview(self._data), "utf-8")  # type: ignore[arg-type]  # an array is a buffer
        return np.frombuffer(text.encode("utf-32-le"), np.uint32)

    @cached_property
    def _leads(self) -> Places:
        """The byte that each character begins with."""
        return np.flatnonzero((self._data & 0xC0) != 0x80)

    @cached_property
    def _offsets(self) -> Places:
        """Where each text begins, in characters, and where the last ends."""
        return self._byte_offsets if self.is_ascii else np.searchsorted(self._leads, self._byte_offsets)

    def __len__(self) -> int:
        return len(self.array)

    @property
    def starts(self) -> Places:
        """Where each text begins, in characters."""
        return self._offsets[:-1]

    @property
    def stops(self) -> Places:
        """Where each text ends, in characters."""
        return self._offsets[1:]

    @cached_property
    def lengths(self) -> Places:
        """Characters of each text."""
        return np.diff(self._offsets)

    @cached_property
    def flags(self) -> npt.NDArray[np.uint8]:
        """What kind each character is of."""
        return np.asarray(character_flags()[self.points])

    def has(self, flag: int) -> Mask:
        """Which characters are of a kind."""
        return np.asarray((self.flags & flag) != 0)

    def count(self, where: Mask) -> Places:
        """How many characters of a mask each text has."""
        places = np.flatnonzero(where)
        return np.asarray(np.diff(np.searchsorted(places, self._offsets)))

    def count_points(self, characters: Iterable[str]) -> Places:
        """How often each text has any of some characters."""
        return self.count(self.is_any(characters))

    def is_any(self, characters: Iterable[str]) -> Mask:
        """Which characters are one of some."""
        where = np.zeros(len(self.points), np.bool_)
        for character in characters:
            if not self.is_ascii or ord(character) < 0x80:
                where |= self.points == ord(character)
        return where

    def last_place(self, segments: Segments, is_skipped: Mask) -> Places:
        """The place of the last character of each segment that is not of a mask; -1 where there is none."""
        places = np.flatnonzero(~is_skipped)
        index = np.searchsorted(places, segments.stops) - 1
        found = np.where(index >= 0, places[np.maximum(index, 0)] if len(places) else -1, -1)
        return np.where(found >= segments.starts, found, -1)

    def first_place(self, segments: Segments, is_skipped: Mask) -> Places:
        """The place of the first character of each segment that is not of a mask; -1 where there is none."""
        places = np.flatnonzero(~is_skipped)
        index = np.searchsorted(places, segments.starts)
        found = places[np.minimum(index, len(places) - 1)] if len(places) else np.full(len(segments), -1)
        return np.where((index < len(places)) & (found < segments.stops), found, -1)

    @cached_property
    def lines(self) -> Segments:
        """Lines, as `text.split("\\n")` gives them."""
        return self.cut(np.flatnonzero(self.points == _NEWLINE))

    @cached_property
    def wide_lines(self) -> Segments:
        """Lines, as `text.splitlines()` gives them."""
        is_break = self.has(LINE_BREAK)
        points = self.points
        joined = np.flatnonzero((points[1:] == _NEWLINE) & (points[:-1] == ord("\r")))  # CR LF is one break, not two
        joined = joined[~np.isin(joined + 1, self._offsets)]
        is_break[joined] = False
        lines = self.cut(np.flatnonzero(is_break))
        is_pair = np.isin(lines.stops, joined + 1) & (lines.stops > lines.starts)
        stops = lines.stops - is_pair
        is_last = np.ones(len(lines), np.bool_)
        is_last[:-1] = lines.owners[1:] != lines.owners[:-1]
        return Segments(lines.starts, stops, lines.owners, len(self)).choose(~(is_last & (lines.lengths == 0)))

    def cut(self, breaks: Places, width: int = 1) -> Segments:
        """Cut the texts at characters; these belong to no piece."""
        counts = np.diff(np.searchsorted(breaks, self._offsets)) + 1
        starts = np.sort(np.concatenate((self.starts, breaks + width)), kind="stable")
        stops = np.sort(np.concatenate((breaks, self.stops)), kind="stable")
        return Segments(starts, stops, np.repeat(np.arange(len(self)), counts), len(self))

    @cached_property
    def paragraphs(self) -> Segments:
        """What stands between runs of two or more newlines; white space around a text is left out."""
        return self._cut_at_runs(2, *self._stripped)

    @cached_property
    def filled_lines(self) -> Segments:
        """What stands between runs of newlines; a text that begins or ends with one has an empty piece there."""
        return self._cut_at_runs(1, self.starts, self.stops)

    @cached_property
    def _stripped(self) -> tuple[Places, Places]:
        """Where each text begins and ends without white space around it."""
        whole = Segments(self.starts, self.stops, np.arange(len(self)), len(self))
        is_space = self.has(SPACE)
        firsts, lasts = self.first_place(whole, is_space), self.last_place(whole, is_space)
        return np.where(firsts < 0, self.starts, firsts), np.where(firsts < 0, self.starts, lasts + 1)

    def _cut_at_runs(self, least: int, starts: Places, stops: Places) -> Segments:
        """Pieces between runs of at least so many newlines, of each text within [start, stop)."""
        places = np.flatnonzero(self.points == _NEWLINE)
        owners = np.searchsorted(self._offsets, places, side="right") - 1
        inside = (places >= starts[owners]) & (places < stops[owners])
        places, owners = places[inside], owners[inside]
        is_first = np.ones(len(places), np.bool_)  # a run does not reach from one text into the next
        is_first[1:] = (places[1:] != places[:-1] + 1) | (owners[1:] != owners[:-1])
        firsts = np.flatnonzero(is_first)
        sizes = np.diff(np.append(firsts, len(places)))
        chosen = sizes >= least
        run_starts, run_stops = places[firsts[chosen]], (places[firsts] + sizes)[chosen]
        counts = np.bincount(owners[firsts[chosen]], minlength=len(self)) + 1
        starts = np.sort(np.concatenate((starts, run_stops)), kind="stable")
        stops = np.sort(np.concatenate((run_starts, stops)), kind="stable")
        return Segments(starts, stops, np.repeat(np.arange(len(self)), counts), len(self))

    @cached_property
    def words(self) -> Segments:
        """The words of each text, symbols too."""
        flags, points = self.flags, self.points
        if not len(points):
            return no_segments(len(self))
        is_space, is_word = (flags & SPACE) != 0, (flags & WORD) != 0
        opens = np.zeros(len(points) + 1, np.bool_)
        opens[self._offsets] = True
        is_text_start = opens[:-1]
        inner = np.flatnonzero(self.is_any(map(chr, _APOSTROPHES))[1:-1]) + 1
        inner = inner[is_word[inner - 1] & is_word[inner + 1] & ~is_text_start[inner] & ~is_text_start[inner + 1]]
        is_word[inner] = True
        self._join_numbers(is_word, is_text_start)
        is_start = is_text_start.copy()
        is_start[1:] |= (is_word[1:] != is_word[:-1]) | (~is_word[1:] & (points[1:] != points[:-1]))
        is_start[1:] |= is_space[:-1]
        is_start[inner] = True
        if not self.is_ascii:
            is_alone = (flags & ALONE) != 0
            is_start |= is_alone
            is_start[1:] |= is_alone[:-1]
        is_start &= ~is_space
        is_stop = np.empty(len(points), np.bool_)
        is_stop[:-1] = is_start[1:] | is_space[1:] | is_text_start[1:]
        is_stop[-1] = True
        is_stop &= ~is_space
        starts, stops = np.flatnonzero(is_start), np.flatnonzero(is_stop) + 1
        counts = np.diff(np.searchsorted(starts, self._offsets))
        return Segments(starts, stops, np.repeat(np.arange(len(self)), counts), len(self))

    def _join_numbers(self, is_word: Mask, is_text_start: Mask) -> None:
        """A dot or comma between two digits is part of the number."""
        points = self.points
        is_digit = (points >= ord("0")) & (points <= ord("9"))
        inner = np.flatnonzero(self.is_any(".,")[1:-1]) + 1
        inner = inner[is_digit[inner - 1] & is_digit[inner + 1] & ~is_text_start[inner] & ~is_text_start[inner + 1]]
        is_word[inner] = True

    @cached_property
    def is_symbol_word(self) -> Mask:
        """Which words are of symbols alone."""
        others = np.flatnonzero(~self.has(SYMBOL))
        found = np.searchsorted(others, self.words.starts) == np.searchsorted(others, self.words.stops)
        return np.asarray(found)

    @cached_property
    def line_prefix(self) -> Prefix:
        """Hashes of any pieces."""
        return Prefix(self._mix_points(self.points))

    @cached_property
    def word_prefix(self) -> tuple[Prefix, Places]:
        """Hashes of runs of words with nothing between them, and where each word ends there (words + 1, from 0)."""
        ends = np.concatenate(([0], np.cumsum(self.words.lengths)))
        return Prefix(self._mix_points(self.points[~self.has(SPACE)])), ends

    @cached_property
    def word_hashes(self) -> Hashes:
        """A hash of each word."""
        prefix, ends = self.word_prefix
        return prefix.hash_ranges(ends[:-1], ends[1:])

    @cached_property
    def plain_words(self) -> tuple[Hashes, Places]:
        """Hashes of the words in lower case, symbols left out; and where those of each text begin (texts + 1)."""
        is_plain = ~self.is_symbol_word
        lowered = lower_case()[self.points[~self.has(SPACE)]]
        _, ends = self.word_prefix
        prefix = Prefix(self._mix_points(lowered))
        hashes = prefix.hash_ranges(ends[:-1][is_plain], ends[1:][is_plain])
        return hashes, np.searchsorted(self.words.owners[is_plain], np.arange(len(self) + 1))

    def _mix_points(self, points: npt.NDArray[Any]) -> Hashes:
        return _ASCII_MIXED[points] if self.is_ascii else mix(points)

    def take_segments(self, segments: Segments) -> pa.LargeStringArray:
        """The pieces as an array of texts."""
        if self.is_ascii:
            return gather(self._data, segments.starts, segments.stops)
        leads = np.append(self._leads, len(self._data))
        return gather(self._data, leads[segments.starts], leads[segments.stops])


_ASCII_MIXED = mix(np.arange(256))


def to_mask(values: pa.BooleanArray) -> Mask:
    """An Arrow array of truth values as one of numpy's."""
    return np.asarray(values.to_numpy(zero_copy_only=False), np.bool_)


def read_buffers(array: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint8], Places]:
    """The bytes of all texts, and the offsets of each (texts + 1), from 0."""
    data, offsets = view_text(array)
    return data[offsets[0] : offsets[-1]], offsets - offsets[0]


def gather(data: npt.NDArray[np.uint8], starts: Places, stops: Places) -> pa.LargeStringArray:
    """data[start:stop] of ranges that lie one after the other, as texts."""
    lengths = stops - starts
    steps = np.zeros(len(data) + 1, np.int8)
    np.add.at(steps, starts, np.int8(1))
    np.add.at(steps, stops, np.int8(-1))
    kept = data[np.cumsum(steps[:-1], dtype=np.int8) > 0]
    offsets = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.LargeStringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(kept))


def replace_ranges(array: pa.LargeStringArray, starts: Places, stops: Places, made: pa.LargeStringArray) -> pa.LargeStringArray:
    """The texts with other pieces in place of [start, stop) of their bytes, counted through all of them and in order."""
    data, offsets = read_buffers(array)
    pieces, last = list[Any](), 0
    for start, stop, piece in zip(starts.tolist(), stops.tolist(), made, strict=True):
        pieces += [data[last:start], piece.as_buffer()]
        last = stop
    pieces.append(data[last:])
    growth = np.concatenate(([0], np.cumsum(pc.binary_length(made).to_numpy() - (stops - starts))))
    moved = offsets + growth[np.searchsorted(starts, offsets)]
    return pa.LargeStringArray.from_buffers(len(array), pa.py_buffer(moved), pa.py_buffer(b"".join(pieces)))


def join(pieces: pa.LargeStringArray, counts: Places, separator: str) -> pa.LargeStringArray:
    """Join the first `counts[0]` pieces to a text, the next `counts[1]` to another, and so on."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pieces)
    return pc.binary_join(lists, pa.scalar(separator, pa.large_string())).cast(pa.large_string())


BLOCK_BYTES = 512 << 10  # so much text at once: what is made of it fits into the caches of a core


def iter_blocks(array: pa.LargeStringArray) -> Iterator[Texts]:
    """The texts of an array, about BLOCK_BYTES at once."""
    for first, end in cut_blocks(array):
        yield Texts(array.slice(first, end - first))


def cut_blocks(array: pa.LargeStringArray) -> Iterator[tuple[int, int]]:
    """Cut an array into ranges of about BLOCK_BYTES of text; a longer text is alone."""
    return cut_runs(view_text(array)[1], BLOCK_BYTES)
