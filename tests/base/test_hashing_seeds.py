"""Fingerprints and seeds are the same everywhere and for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path

from whelp.base.hashing import hash_bytes, hash_file, hash_json, short
from whelp.base.seeds import make_generator, make_seed


def test_hash_bytes() -> None:
    """The first 128 bits of SHA-256; only the bytes count, not how they are cut."""
    assert hash_bytes(b"abc") == hashlib.sha256(b"abc").hexdigest()[:32]
    assert hash_bytes(b"a", b"", memoryview(b"bc")) == hash_bytes(b"abc")
    assert hash_bytes() != hash_bytes(b"abc")
    assert len(hash_bytes()) == 32


def test_hash_json() -> None:
    """The order of keys does not matter, the order of a list does, and so does every value."""
    assert hash_json({"a": 1, "b": {"c": 2, "d": 3}}) == hash_json({"b": {"d": 3, "c": 2}, "a": 1})
    assert hash_json([1, 2]) != hash_json([2, 1])
    assert hash_json({"a": 1}) != hash_json({"a": "1"})
    assert hash_json("é") == hash_bytes('"é"'.encode())


def test_hash_file(tmp_path: Path) -> None:
    """A file's fingerprint is that of its bytes, larger than a buffer too."""
    data = bytes(range(256)) * 2000
    (tmp_path / "a").write_bytes(data)
    assert hash_file(tmp_path / "a") == hash_bytes(data)
    assert short(hash_bytes(data)) == hash_bytes(data)[:8]


def test_seeds_by_purpose() -> None:
    """Each purpose has a seed of its own, and the same one each time."""
    seeds = {make_seed(seed, *purpose) for seed in range(4) for purpose in ((), ("rows",), ("rows", 1), ("init",))}
    assert len(seeds) == 16
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert make_seed(0, "rows", 3) == make_seed(0, "rows", 3)


def test_seeds_are_pinned() -> None:
    """A change of these would make every resumed run read other rows."""
    assert make_seed(0, "rows", 3) == int.from_bytes(hashlib.blake2b(b"0/rows/3", digest_size=8).digest(), "little") // 2
    assert make_seed(0, "epoch", 0) == 5326116194759978245
    assert make_generator(0, "init").integers(0, 1000, 4).tolist() == [770, 888, 191, 576]
