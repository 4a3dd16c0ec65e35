"""What the rules look at, compared with Python's own strings."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from whelp.curate.characters import ALPHANUMERIC, LETTER, LINE_BREAK, SPACE, character_flags
from whelp.curate.hashing import hash_words
from whelp.curate.signatures import make_signatures
from whelp.curate.texts import Segments, Texts, cut_blocks, join

from .samples import iter_random_texts, list_words, make_array


def split_up(texts: list[str], segments: Segments) -> list[list[str]]:
    """The pieces of each text."""
    whole = "".join(texts)
    found: list[list[str]] = [[] for _ in texts]
    for start, stop, owner in zip(segments.starts, segments.stops, segments.owners, strict=True):
        found[owner].append(whole[start:stop])
    return found


def test_pieces_are_those_of_python() -> None:
    """Lines, paragraphs and lengths, also where a text ends with what the next one begins with."""
    for texts in iter_random_texts(1, 300):
        made = Texts(make_array(texts))
        assert made.lengths.tolist() == [len(text) for text in texts]
        assert split_up(texts, made.lines) == [text.split("\n") for text in texts]
        assert split_up(texts, made.wide_lines) == [text.splitlines() for text in texts]
        assert split_up(texts, made.filled_lines) == [re.split("\n+", text) for text in texts]
        assert split_up(texts, made.paragraphs) == [re.split("\n{2,}", text.strip()) for text in texts]
        assert join(made.take_segments(made.lines), made.lines.counts, "\n").to_pylist() == texts


def test_words_hold_every_character_but_white_space() -> None:
    """Nothing is lost between words, and equal words have equal hashes, others not."""
    for texts in iter_random_texts(2, 200):
        made = Texts(make_array(texts))
        words = split_up(texts, made.words)
        assert ["".join(found) for found in words] == ["".join(text.split()) for text in texts]
        flat = [word for found in words for word in found]
        assert made.take_segments(made.words).to_pylist() == flat
        hashes = dict(zip(flat, made.word_hashes.tolist(), strict=True))
        assert [hashes[word] for word in flat] == made.word_hashes.tolist()
        assert len(set(hashes.values())) == len(hashes)
        assert hash_words(list(hashes)).tolist() == list(hashes.values())


def test_words() -> None:
    """Contractions, numbers, runs of symbols, scripts without spaces."""
    assert list_words("It's 3.14, don't... snake_case -- «東京» ไทย") == [
        *("It", "'s", "3.14", ",", "don", "'t", "...", "snake_case", "--", "«", "東", "京", "»", "ไ", "ท", "ย"),
    ]


def test_flags_are_those_of_python() -> None:
    """Every kind of character, of the first planes."""
    flags = character_flags()
    for point in range(0x3000):
        character = chr(point)
        found = [bool(flags[point] & flag) for flag in (SPACE, LETTER, ALPHANUMERIC, LINE_BREAK)]
        breaks = len(f"a{character}b".splitlines()) == 2
        assert found == [character.isspace(), character.isalpha(), character.isalnum(), breaks], hex(point)


def test_blocks_cover_everything_once() -> None:
    """A text larger than a block is alone in one."""
    array = make_array(["a" * size for size in (10, 600_000, 0, 5, 400_000, 200_000, 1)])
    blocks = list(cut_blocks(array))
    assert blocks == [(0, 1), (1, 2), (2, 5), (5, 7)]
    assert list(cut_blocks(array.slice(3, 0))) == []


def test_a_slice_is_read_as_such() -> None:
    """Offsets of an array do not move its texts; null is empty."""
    array = pa.array(["skipped", "one two", None, "é."], pa.large_string()).slice(1)
    made = Texts(array)
    assert made.lengths.tolist() == [7, 0, 2]
    assert split_up(["one two", "", "é."], made.words) == [["one", "two"], [], ["é", "."]]


def test_signatures_do_not_depend_on_the_neighbours() -> None:
    """A text has the same numbers alone, among ASCII, and among others; white space aside, other texts have others."""
    texts = ["ab cd efgh ijkl", "abcdefgh", "abcdefgi", "", "abcdefghabcdefgh", "é" * 9, "\u00a0", "a b c d e f g h"]
    together = make_signatures(Texts(make_array(texts)), None, None).exact
    for number, text in enumerate(texts):
        assert make_signatures(Texts(make_array([text])), None, None).exact.tolist() == together[number : number + 1].tolist()
    dense = ["".join(text.split()) for text in texts]
    for left in range(len(texts)):
        for right in range(len(texts)):
            assert np.array_equal(together[left], together[right]) == (dense[left] == dense[right]), (left, right)
