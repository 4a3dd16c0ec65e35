"""Equal and nearly equal documents, and paragraphs that come again: found wherever they are, the first stays."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from whelp.curate.config import CurateConfig, NearDuplicatesConfig
from whelp.curate.duplicates import Duplicates, find_duplicates
from whelp.curate.parts import Part, write_part
from whelp.curate.pipeline import Pipeline
from whelp.curate.signatures import choose_bands

from .samples import FakePartition, make_prose


def make_parts(folder: Path, groups: list[list[str]], config: CurateConfig) -> list[Part]:
    """Parts of some texts, without rules that drop any."""
    pipeline = Pipeline(config)
    folder.mkdir(exist_ok=True)
    return [
        write_part(pipeline.apply(FakePartition(number, texts).batch), folder / f"part-{number}")
        for number, texts in enumerate(groups)
    ]


def find(folder: Path, groups: list[list[str]], sort_bytes: int = 1 << 30, **near: float) -> Duplicates:
    """Duplicates of all three kinds."""
    config = CurateConfig(
        preset="none",
        exact_duplicates=True,
        near_duplicates=NearDuplicatesConfig(**near),  # type: ignore[arg-type]
        duplicate_paragraphs=True,
    )
    parts = make_parts(folder, groups, config)
    return find_duplicates(parts, exact=True, near=config.find("near_duplicates"), paragraphs=True, sort_bytes=sort_bytes)


def shingles(text: str, size: int = 5) -> set[tuple[str, ...]]:
    """Runs of words."""
    words = text.replace(".", " ").lower().split()
    return {tuple(words[first : first + size]) for first in range(len(words) - size + 1)}


def jaccard(left: str, right: str) -> float:
    """The similarity that MinHash estimates."""
    return len(shingles(left) & shingles(right)) / len(shingles(left) | shingles(right))


def edit(text: str, generator: random.Random, num_words: int) -> str:
    """Put other words in some places."""
    words = text.split(" ")
    for place in generator.sample(range(len(words)), num_words):
        words[place] = f"new{generator.randrange(10**6)}"
    return " ".join(words)


def test_equal_but_for_white_space(tmp_path: Path) -> None:
    """The first stays, wherever the others are; short texts, too, which have no signature."""
    generator = random.Random(1)
    prose = [make_prose(generator, 50) for _ in range(3)]
    groups = [[prose[0], "a b", prose[1]], [prose[0].replace("\n", "  "), "ab", "a  b\n", "ba"], [prose[2], prose[1] + " "]]
    found = find(tmp_path, groups)
    assert found.original.tolist() == [-1, -1, -1, 0, 1, 1, -1, -1, 2]
    assert found.is_equal.tolist() == [number in (3, 4, 5, 8) for number in range(9)]


def test_nearly_equal(tmp_path: Path) -> None:
    """Pairs well above the threshold are found, those well below are not, others are no business of each other."""
    generator = random.Random(2)
    originals = [make_prose(generator, 300) for _ in range(60)]
    edited = [edit(text, generator, count) for text, count in zip(originals, [1, 2, 3, 12, 20, 40] * 10, strict=True)]
    found = find(tmp_path, [originals, edited])
    assert (found.original[:60] == -1).all()
    for number, (left, right) in enumerate(zip(originals, edited, strict=True)):
        truth = jaccard(left, right)
        if truth > 0.92:
            assert found.original[60 + number] == number
            assert abs(found.similarity[60 + number] - truth) < 0.1
        elif truth < 0.78:
            assert found.original[60 + number] == -1
    assert 25 <= np.count_nonzero(found.original >= 0) <= 35


def test_what_goes_is_like_one_that_stays(tmp_path: Path) -> None:
    """In a chain, each like the one before but not like the first, not all but the first go."""
    generator = random.Random(3)
    chain = [make_prose(generator, 400)]
    for _ in range(11):
        chain.append(edit(chain[-1], generator, 3))
    found = find(tmp_path, [chain[:5], chain[5:]])
    kept = [number for number in range(12) if found.original[number] < 0]
    assert kept[0] == 0
    assert len(kept) > 1
    for number, original in enumerate(found.original.tolist()):
        if original >= 0:
            assert original in kept
            assert original < number
            assert jaccard(chain[original], chain[number]) > 0.75


@pytest.mark.parametrize("cut", [[1] * 9 + [31], [7, 13, 0, 20]])
def test_the_answer_depends_on_the_rows_alone(tmp_path: Path, cut: list[int]) -> None:
    """Not on how they lie in parts, nor on the memory there is for sorting."""
    generator = random.Random(4)
    base = [make_prose(generator, 80) + "\n\n" + make_prose(generator, 40) for _ in range(10)]
    texts = [edit(generator.choice(base), generator, generator.choice((0, 0, 1, 9))) for _ in range(40)]
    texts[5] += "\n\n" + texts[9].split("\n\n")[1]
    whole = find(tmp_path / "whole", [texts])
    groups, first = [], 0
    for size in cut:
        groups.append(texts[first : first + size])
        first += size
    found = find(tmp_path / "cut", groups, sort_bytes=700)
    assert found.original.tolist() == whole.original.tolist()
    assert found.similarity.tolist() == whole.similarity.tolist()
    assert found.is_repeated.tolist() == whole.is_repeated.tolist()
    assert whole.is_repeated.any()
    assert (whole.original >= 0).any()


def test_paragraphs(tmp_path: Path) -> None:
    """Long ones that have stood before, in this text or another that stays; those of dropped texts do not count."""
    generator = random.Random(5)
    first, second, third = (make_prose(generator, 30) for _ in range(3))
    other = [make_prose(generator, 60) for _ in range(2)]
    groups = [
        [f"{first}\n\nshort\n\n{other[0]}\n\n\n{first}"],
        [f"{second}\n\nshort", f"{second}\n\nshort", f"{other[1]}\n\n{third}\n\n{first}"],
    ]
    found = find(tmp_path, groups)
    assert found.original.tolist() == [-1, -1, 1, -1]
    assert found.is_repeated.tolist() == [False, False, True, False, False, False, False, True]


def test_bands() -> None:
    """At the threshold a pair is looked at with a probability of 0.995, and a band more selective would miss more."""
    for threshold in (0.5, 0.7, 0.85, 0.95, 1.0):
        for num_hashes in (64, 128, 256):
            count, size = choose_bands(NearDuplicatesConfig(jaccard=threshold, num_hashes=num_hashes))
            assert count * size <= num_hashes
            assert 1 - (1 - threshold**size) ** count >= 0.995
            longer = size + 1
            if longer <= num_hashes:
                assert 1 - (1 - threshold**longer) ** (num_hashes // longer) < 0.995
    assert choose_bands(NearDuplicatesConfig()) == (42, 12)
