"""What is counted of a corpus, compared with slow obvious counting; and what happens when the memory for it is full."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.corpus.measuring.hashes import hash_texts
from whelp.corpus.measuring.languages import LanguageSampler
from whelp.corpus.measuring.lengths import LengthHistogram
from whelp.corpus.measuring.licences import _ANY, _SIGNS, LicenceCounter
from whelp.corpus.measuring.meter import CorpusMeter, Measured
from whelp.corpus.measuring.reference import Reference, compare_words
from whelp.corpus.measuring.tally import Distinct, Tally, count_keys
from whelp.corpus.measuring.values import ValueCounter
from whelp.corpus.measuring.words import NgramCounter, WordTable, split_words

WORDS = ["the", "whale", "and", "sea", "don't", "été", "日本", "42", "x_y"]


def strings(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def make_texts(num_texts: int, seed: int = 0) -> list[str]:
    """Texts of a few lines, some of them equal."""
    draw = random.Random(seed)
    lines = [" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in range(12)]
    return ["\n".join(draw.choices([*lines, "", "  "], k=draw.randint(1, 4))) + "." for _ in range(num_texts)]


def measure(texts: list[str], *, batch_size: int = 7, **options: object) -> Measured:
    """Two groups in turn, batch by batch."""
    meter = CorpusMeter(["even", "odd"], **options)  # type: ignore[arg-type]
    for first in range(0, len(texts), batch_size):
        part = texts[first : first + batch_size]
        numbers = np.arange(first, first + len(part))
        batch = pa.RecordBatch.from_pydict(
            {"text": strings(part), "file_index": pa.array(numbers % 2, pa.int32()), "line": pa.array(numbers + 1)}
        )
        meter.add(batch, numbers % 2)
    return meter.finish()


def find_words(text: str) -> list[str]:
    """The obvious way."""
    found = re.findall(r"(?:[^\W]|['’])+", text.lower())
    return [word for word in (word.replace("’", "'").strip("'_") for word in found) if word]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=40), max_size=12))
def test_equal_texts_have_equal_hashes_and_others_other_ones(texts: list[str]) -> None:
    """In any company, and cut from a longer array."""
    whole = strings(["before", *texts])
    hashes = hash_texts(whole)[1:].tolist()
    assert hash_texts(whole[1:]).tolist() == hashes
    assert [hash_texts(strings([text]))[0] for text in texts] == hashes
    assert len(set(hashes)) == len(set(texts))


def test_hashes_of_similar_texts_differ() -> None:
    """One more letter, another order of the same eight bytes, zeros at the end."""
    texts = ["a" * size for size in range(300)] + ["\0" * size for size in range(1, 40)]
    texts += ["".join(part) for part in (["abcdefgh", "ijklmnop"], ["ijklmnop", "abcdefgh"])]
    texts += [f"{number:08d}" for number in range(20_000)]
    assert len(set(hash_texts(strings(texts)).tolist())) == len(texts)


def test_hashes_are_the_formula() -> None:
    """One text after the other, in Python's numbers; so they are the same in every run and on every machine."""
    step, every_bit = 0x9E3779B97F4A7C15, (1 << 64) - 1

    def mix(value: int) -> int:
        value &= every_bit
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            value = (value ^ (value >> shift)) * factor & every_bit
        return value ^ (value >> 31)

    def hash_slowly(data: bytes) -> int:
        chunks = [int.from_bytes(data[first : first + 8], "little") for first in range(0, max(len(data), 1), 8)]
        return mix(sum(mix(chunk ^ mix(place * step)) for place, chunk in enumerate(chunks)) + len(data) * step)

    texts = ["", "a", "eight by", "nine byte", "a longer text, of more than eight bytes", "日本語" * 50]
    assert hash_texts(strings(texts)).tolist() == [hash_slowly(text.encode()) for text in texts]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(alphabet="aB'’_é日 \n.-9", max_size=30), max_size=6))
def test_words_are_those_of_the_obvious_way(texts: list[str]) -> None:
    """Document by document."""
    words, offsets = split_words(strings(texts))
    found = words.to_pylist()
    assert [found[first:end] for first, end in pairwise(offsets.tolist())] == [find_words(text) for text in texts]


def test_counts_equal_those_of_a_slow_version() -> None:
    """Words, runs of words, lines, documents, sizes and groups, whatever the batches are."""
    texts = make_texts(90)
    measured = measure(texts)
    assert measured == measure(texts, batch_size=90)
    per_text = [find_words(text) for text in texts]
    words = Counter(word for each in per_text for word in each)
    assert {one["text"]: one["count"] for one in measured.words["most"]} == words
    assert measured.words["num_distinct"] == len(words)
    for ngrams in measured.ngrams:
        size = ngrams["size"]
        runs = Counter(" ".join(each[k : k + size]) for each in per_text for k in range(len(each) - size + 1))
        assert [one["count"] for one in ngrams["most"]] == sorted((n for n in runs.values() if n > 1), reverse=True)[:40]
        assert all(runs[one["text"]] == one["count"] for one in ngrams["most"])
    lines = Counter(line.strip() for text in texts for line in text.split("\n") if line.strip())
    assert {one["text"]: one["count"] for one in measured.lines["most"]} == {k: n for k, n in lines.items() if n > 1}
    assert measured.lines["repeated_share"] == pytest.approx(1 - len(lines) / sum(lines.values()))
    copies = Counter(texts)
    assert {one["text"]: one["count"] for one in measured.duplicates["most"]} == {k: n for k, n in copies.items() if n > 1}
    for one in measured.duplicates["most"]:
        assert one["line"] == texts.index(one["text"]) + 1
        assert one["file_index"] == texts.index(one["text"]) % 2
    size = sum(len(text.encode()) for text in texts)
    assert measured.duplicates["repeated_bytes_share"] == pytest.approx(1 - sum(len(k.encode()) for k in copies) / size)
    assert measured.total == {
        "num_documents": 90,
        "num_bytes": size,
        "num_characters": sum(map(len, texts)),
        "num_words": sum(words.values()),
        "num_lines": sum(lines.values()),
    }
    assert [group["num_characters"] for group in measured.groups] == [sum(map(len, texts[k::2])) for k in (0, 1)]


def test_a_full_tally_forgets_the_rare_and_says_how_much_may_be_missing() -> None:
    """Whatever is listed is short by at most `num_missing`, and nothing that is more frequent than that is left out."""
    draw = np.random.default_rng(0)
    drawn = (draw.pareto(0.7, 60_000) * 3).astype(np.uint64)
    exact = Counter(drawn.tolist())
    tally = Tally(pa.int64(), max_entries=400)
    for part in np.array_split(drawn, 200):
        keys, counts, first = count_keys(part)
        tally.add(keys, counts, pa.array(part[first].astype(np.int64)))
    keys, counts, payload = tally.top(50)
    assert payload.to_pylist() == keys.tolist()
    assert 0 < tally.num_missing < exact.most_common(1)[0][1]
    for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
        assert exact[key] - tally.num_missing <= count <= exact[key]
    listed = set(keys.tolist())
    assert all(key in listed for key, count in exact.items() if count > counts[-1] + tally.num_missing)


def test_many_distinct_keys_are_told_from_a_sample() -> None:
    """Within some percent, in bounded memory; exactly, as long as there is room."""
    numbers = np.repeat(np.arange(40_000), 3)
    np.random.default_rng(1).shuffle(numbers)
    keys = hash_texts(strings([str(number) for number in numbers]))
    exact, sampled = Distinct(), Distinct(max_entries=3_000)
    for part in np.array_split(keys, 30):
        unique, counts, _ = count_keys(part)
        for one in (exact, sampled):
            one.add(unique, counts, np.full(len(unique), 5))
    assert (exact.num_distinct, exact.sampled_every) == (40_000, 1)
    assert exact.repeated_share == exact.repeated_size_share == pytest.approx(2 / 3)
    assert sampled.sampled_every >= 16
    assert sampled.num_distinct == pytest.approx(40_000, rel=0.1)
    assert sampled.repeated_share == pytest.approx(2 / 3, rel=0.02)
    assert sampled.num_all == 120_000


def test_words_without_room_are_counted_and_not_named() -> None:
    """Neither is a word that is longer than any word; runs with such a word are left out."""
    table, pairs = WordTable(max_words=3), NgramCounter(2)
    for text in ("a b c d a b", f"e a b {'x' * 65} c"):
        pairs.add(*table.add(strings([text])))
    assert (table.num_distinct, table.num_words, table.num_other) == (3, 11, 3)
    assert table.most_frequent(9) == [{"text": "a", "count": 3}, {"text": "b", "count": 3}, {"text": "c", "count": 2}]
    assert pairs.most_frequent(9, table.words) == [{"text": "a b", "count": 3}]


def test_lengths() -> None:
    """Exact ends and mean; quantiles to 9 %; every document in one bar."""
    lengths = np.random.default_rng(2).lognormal(6, 1.5, 5_000).astype(np.int64) + 1
    histogram = LengthHistogram()
    for part in np.array_split(lengths, 13):
        histogram.add(part)
    found = histogram.finish()
    assert (found["shortest"], found["longest"]) == (lengths.min(), lengths.max())
    assert found["mean"] == pytest.approx(lengths.mean())
    for name, value in found["quantiles"].items():
        assert value == pytest.approx(np.quantile(lengths, float(name.rstrip("%")) / 100), rel=0.1)
    assert sum(count for _, count in found["histogram"]) == 5_000
    for low, count in found["histogram"]:
        assert count == ((lengths >= low) & (lengths < 2 * low)).sum()


def test_shares_of_languages_are_those_of_the_bytes() -> None:
    """However the documents are cut and batched, and never half a character."""
    texts = ["é" * 100_000] + ["a" * 500] * 200 + ["b" * 33] * 3_000
    seen = []

    def identify(piece: str) -> str:
        seen.append(piece)
        return piece[0]

    sampler = LanguageSampler(identify, sum(len(text.encode()) for text in texts))
    for first in range(0, len(texts), 10):
        sampler.add(strings(texts[first : first + 10]))
    shares = {entry["language"]: entry["share"] for entry in sampler.finish()}
    assert shares == pytest.approx({"é": 0.5, "a": 0.25, "b": 0.25}, abs=0.03)
    assert all(set(piece) in ({"é"}, {"a"}, {"b"}) for piece in seen)
    assert max(len(piece.encode()) for piece in seen) <= 400


def test_licences_are_counted_by_document() -> None:
    """Each sign is found by the first look as well; a word that only looks like one is none."""
    examples = {
        "SPDX identifier": "# SPDX-License-Identifier: MIT",
        "Apache License": "Licensed under the Apache License, Version 2.0",
        "MIT licence": "Permission is hereby granted, free of charge, to any person",
        "BSD licence": "Redistribution and use in source and binary forms",
        "GNU licence": "the GNU Lesser General Public License",
        "Mozilla licence": "Mozilla Public License",
        "Python licence": "Licensed to PSF under a Contributor Agreement",
        "Creative Commons": "https://creativecommons.org/licenses/by-sa/4.0/",
        "Project Gutenberg": "the Project Gutenberg eBook",
        "public domain": "This work is in the Public Domain.",
        "copyright notice": "Copyright (c) 2020 somebody",
        "all rights reserved": "ALL RIGHTS RESERVED",
    }
    assert examples.keys() == _SIGNS.keys()
    for sign, text in examples.items():
        counter = LicenceCounter()
        counter.add(strings(["He studied at MIT, and had the right.", f"a\n{text}\nb", text]), lambda row: row)
        found = counter.finish()
        assert found["num_documents"] == 2, sign
        assert {"sign": sign, "num_documents": 2, "file_index": 1} in found["signs"]
    assert re.search(_ANY, "plain text about rights") is None


def test_values_of_a_column_and_hosts_of_addresses() -> None:
    """Addresses count by host; a colon makes no address."""
    counter = ValueCounter()
    values = ["https://u@en.example.org:80/wiki/X?y", "http://en.example.org", "MIT", "a: b", "//x.example"]
    counter.add(strings(values))
    counter.add(strings(["MIT"]))
    found = counter.finish()
    assert found["num_rows"] == 6
    assert {one["text"]: one["count"] for one in found["most"]} == {"en.example.org": 2, "MIT": 2, "a: b": 1, "x.example": 1}


def test_words_beside_a_reference() -> None:
    """More, less, never and unknown; a corpus beside itself does not differ."""
    table = WordTable()
    table.add(strings(["whale " * 50 + "the " * 50 + "sea 1851 " * 20 + "ishmael " * 9]))
    reference = Reference.make(
        "other", strings(["the", "love", "sea", "whale", "1999"]), np.array([0.55, 0.3, 0.145, 0.005, 0.4])
    )
    found = compare_words(table, reference)
    assert [one["text"] for one in found["more"]] == ["whale"]
    assert found["more"][0]["ratio"] == pytest.approx((50 / 129) / 0.005)
    assert [one["text"] for one in found["unknown"]] == ["ishmael"]
    assert found["unknown_share"] == pytest.approx(9 / 129)
    assert found["never"] == [{"text": "love", "expected": pytest.approx(0.3 * 129)}]
    itself = compare_words(table, Reference.of_table("itself", table))
    assert itself["divergence_bits"] == pytest.approx(0, abs=1e-12)
    assert itself["more"] == itself["less"] == itself["never"] == itself["unknown"] == []
    apart = compare_words(table, Reference.make("apart", strings(["nothing"]), np.ones(1)))
    assert apart["divergence_bits"] == pytest.approx(1)


def test_an_empty_corpus_has_numbers_too() -> None:
    """Nothing, and words alone that are none."""
    for texts in ([], ["...", "!"]):
        measured = measure(texts)
        assert measured.total["num_documents"] == len(texts)
        assert measured.words["most"] == []
        assert measured.ngrams[0]["most"] == []
