"""The text that is prepared, in every form that a contestant reads."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

END_TEXT = "<|endoftext|>"  # texts that spell the control token are left out: not all take it for text
# And so are those that read otherwise as a file: marks of a byte order, which are no text there, and Asian encodings of seven bits.
FILE_MARKS = ("\ufeff", "\x1b$", "\x1b(")
SUFFIXES = (".py", ".pyi", ".md", ".rst", ".txt")


def iter_texts(extra: list[Path]) -> Iterator[str]:
    """Texts of this machine, and those named, without exact duplicates."""
    seen: set[bytes] = set()
    # One environment may lead on to another's packages, so what is imported from is looked at.
    roots = dict.fromkeys([sysconfig.get_path("stdlib"), *(root for root in sys.path if root.endswith("site-packages"))])
    paths = [path for root in roots for path in sorted(Path(root).rglob("*")) if path.suffix in SUFFIXES]
    for path in [*paths, *extra]:
        try:
            data = path.read_bytes()
            text = data.decode()
        except (OSError, UnicodeDecodeError):
            continue
        digest = hashlib.sha256(data).digest()
        is_odd = "\0" in text or "\r" in text or END_TEXT in text or any(mark in text for mark in FILE_MARKS)
        if is_odd or not text.strip() or digest in seen:
            continue
        seen.add(digest)
        yield text


def repeat_texts(extra: list[Path]) -> Iterator[str]:
    """The texts in one shuffled order; then again and again, each a little changed."""
    found = list(iter_texts(extra))
    random.Random(0).shuffle(found)
    yield from found
    for repeat in itertools.count(1):
        yield from (f"{text}\n# {repeat}\n" for text in found)


def add_words(text: str, generator: np.random.Generator) -> str:
    """The text with a word of random letters before every line end."""
    data = np.frombuffer(text.encode(), np.uint8)
    places = np.flatnonzero(data == ord("\n"))
    words = generator.integers(ord("a"), ord("z") + 1, (len(places), 9), dtype=np.uint8)
    words[:, 0] = ord(" ")
    return np.insert(data, np.repeat(places, words.shape[1]), words.ravel()).tobytes().decode()


def build_corpus(folder: Path, megabytes: float, extra: list[Path], *, has_files: bool = True) -> dict[str, Any]:
    """Write the same documents in every form that a contestant reads; texts are repeated when there are too few.

    Args:
        has_files: Also as a file for each document, which takes most of the time.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts: list[str] = []
    num_bytes = 0
    for text in repeat_texts(extra):
        if num_bytes >= megabytes * 1e6:
            break
        texts.append(text)
        num_bytes += len(text.encode())
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
    (folder / "all.jsonl").write_text("".join(lines), encoding="utf-8", newline="")
    (folder / "two").mkdir(exist_ok=True)
    half = len(lines) // 2
    for index, some in enumerate((lines[:half], lines[half:])):
        (folder / "two" / f"{index}.jsonl").write_text("".join(some), encoding="utf-8", newline="")
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), folder / "all.parquet", row_group_size=2000)
    for index, text in enumerate(texts if has_files else ()):
        path = folder / "files" / f"{index // 500:04d}" / f"{index:07d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return {"documents": len(texts), "bytes": num_bytes}
