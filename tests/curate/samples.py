"""Texts to judge: random ones full of borders, real ones of the standard library, and arrays of them."""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from whelp.base.hashing import hash_json
from whelp.curate.texts import Texts

ALPHABETS = ("ab \n\r.'-", "ab1 ,.\n•…#", "ab \n\r.'\u2028é漢の’\x0b1_\x1c")
_PLAIN_WORDS = "the of and that dog cat runs Runs house, river. light's"
WORDS = [*_PLAIN_WORDS.split(), "#tag", "...", "-", "3.14", "naïve", "東京", "{x}", "a", "b"]


def make_array(texts: list[str]) -> pa.LargeStringArray:
    """Texts as the rules take them."""
    return pa.array(texts, pa.large_string())


def iter_random_texts(seed: int, count: int) -> Iterator[list[str]]:
    """Lists of texts: random characters, random words on lines, and the same lines again."""
    generator = random.Random(seed)
    for number in range(count):
        texts = []
        for _ in range(generator.randint(1, 9)):
            if number % 2:
                alphabet = generator.choice(ALPHABETS)
                texts.append("".join(generator.choices(alphabet, k=generator.randint(0, 40))))
            else:
                lines = [" ".join(generator.choices(WORDS, k=generator.randint(0, 12))) for _ in range(4)]
                lines += [f"{line}." for line in lines]
                texts.append(generator.choice(("\n", "\n\n")).join(generator.choices(lines, k=generator.randint(0, 14))))
        yield texts


def read_library(count: int, most_characters: int = 20_000) -> list[str]:
    """Files of the standard library, cut."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = [path.read_text(encoding="utf-8", errors="replace")[:most_characters] for path in paths]
    return [text for text in texts if text.strip()][:count]


def list_words(text: str) -> list[str]:
    """The words that rules see."""
    texts = Texts(make_array([text]))
    return list(texts.take_segments(texts.words).to_pylist())


@dataclass
class FakePartition:
    """Rows of one file."""

    index: int
    texts: list[str]
    split: str = "train"
    columns: dict[str, list[str | None]] = field(default_factory=dict)

    @property
    def batch(self) -> pa.RecordBatch:
        count = len(self.texts)
        more = {name: pa.array(values, pa.large_string()) for name, values in self.columns.items()}
        places = {"file_index": pa.array([0] * count, pa.int32()), "line": pa.array(range(1, count + 1), pa.int64())}
        return pa.RecordBatch.from_pydict({"text": make_array(self.texts), **more, **places})

    @property
    def fingerprint(self) -> str:
        return hash_json([self.index, self.texts, self.columns])


def make_prose(generator: random.Random, num_words: int) -> str:
    """Sentences of words that hardly any other text has, on lines of ten words."""
    words = [
        generator.choice(("the", "of", "and", "to", "that")) if number % 3 == 0 else f"w{generator.randrange(10**6)}x"
        for number in range(num_words)
    ]
    lines = [" ".join(words[first : first + 10]) + "." for first in range(0, num_words, 10)]
    return "\n".join(lines)
