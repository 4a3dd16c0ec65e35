"""The blocks of bzip2 streams, unpacked apart: the bytes of Python's own unpacker, or an error, never other bytes."""

from __future__ import annotations

import bz2
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from whelp.base.errors import SourceError
from whelp.collect.dump import bzip2_blocks
from whelp.collect.dump.bzip2_blocks import iter_packed_blocks, iter_unpacked

WORDS = [f"{number:x}" for number in random.Random(0).sample(range(1 << 24), 3000)]


def make_text(num_bytes: int, seed: int = 0) -> bytes:
    chance = random.Random(seed)
    return " ".join(chance.choices(WORDS, k=num_bytes // 6)).encode()[:num_bytes]


def one_by_one(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    return ((item, function(item)) for item in items)


def unpack(folder: Path, packed: bytes) -> bytes:
    path = folder / "x.bz2"
    path.write_bytes(packed)
    return b"".join(block.data for block in iter_unpacked(path, one_by_one))


EMPTY = bz2.compress(b"")
FILES = {
    "one block": bz2.compress(make_text(5_000)),
    "many blocks": bz2.compress(make_text(650_000), 1),
    "streams of many blocks": b"".join(bz2.compress(make_text(230_000, seed), 1) for seed in range(3)),
    "empty streams": EMPTY + bz2.compress(make_text(210_000), 1) + EMPTY * 2 + bz2.compress(b"a") + EMPTY,
    "runs": bz2.compress(b"a" * 7_000_000 + b"b", 1),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("read_bytes", [1000, 1 << 20])
def test_the_bytes_of_another_unpacker(name: str, read_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many streams and blocks, and wherever reading stops between them."""
    monkeypatch.setattr(bzip2_blocks, "BLOCK_BYTES", read_bytes)
    assert unpack(tmp_path, FILES[name]) == bz2.decompress(FILES[name])


def test_blocks_begin_at_any_bit(tmp_path: Path) -> None:
    """The sample has blocks at every place in a byte; none is larger than a block may be."""
    path = tmp_path / "x.bz2"
    path.write_bytes(b"".join(bz2.compress(make_text(450_000, seed), 1) for seed in range(5)))
    blocks = list(iter_packed_blocks(path))
    assert {block.skip for block in blocks} == set(range(8))
    assert sum(block.stream_sum is not None for block in blocks) == 5
    assert blocks[-1].position == path.stat().st_size


@pytest.mark.parametrize("kind", ["bit", "hole", "cut"])
@pytest.mark.parametrize("name", ["many blocks", "streams of many blocks"])
def test_no_damage_goes_unseen(name: str, kind: str, tmp_path: Path) -> None:
    """A changed bit, bytes taken out, a cut: an error. Python's own unpacker passes over damaged streams behind the first."""
    chance = random.Random(kind)
    for _ in range(6):
        packed = bytearray(FILES[name])
        place = chance.randrange(4, len(packed) - 2)
        if kind == "bit":
            packed[place] ^= 1 << chance.randrange(8)
        else:
            del packed[place : place + chance.randint(1, 50_000) if kind == "hole" else len(packed)]
        with pytest.raises(SourceError, match="cut off or broken bzip2 data"):
            unpack(tmp_path, bytes(packed))


def test_a_block_is_missing(tmp_path: Path) -> None:
    """Each block that is there is whole: the checksum of the stream tells."""
    path = tmp_path / "x.bz2"
    path.write_bytes(FILES["many blocks"])

    def forgetful(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        return (pair for number, pair in enumerate(one_by_one(function, items)) if number != 2)

    with pytest.raises(SourceError, match="broken bzip2 data"):
        list(iter_unpacked(path, forgetful))


def test_a_mark_by_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits that look like the beginning of a block inside of one: the two pieces are joined again."""
    find = bzip2_blocks._find_marks

    def find_more(data: bytes, start: int) -> list[int]:
        marks = find(data, start)
        return sorted([*marks, *([marks[1] + 12_345] if len(marks) > 1 else [])])

    monkeypatch.setattr(bzip2_blocks, "_find_marks", find_more)
    assert unpack(tmp_path, FILES["many blocks"]) == bz2.decompress(FILES["many blocks"])
