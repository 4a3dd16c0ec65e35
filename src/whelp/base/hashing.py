"""Fingerprints: short, stable names for contents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_SIZE = 16  # bytes; 128 bits: no accidental collision in any corpus


def hash_bytes(*chunks: bytes | memoryview) -> str:
    """Fingerprint bytes: 32 hexadecimal digits (BLAKE2b)."""
    digest = hashlib.blake2b(digest_size=_SIZE)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """Fingerprint a JSON value; the order of keys does not matter."""
    return hash_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False).encode())


def hash_file(path: Path) -> str:
    """Fingerprint a file's bytes, in flat memory."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_SIZE))
    return digest.hexdigest()


def short(fingerprint: str) -> str:
    """The first eight digits, for people."""
    return fingerprint[:8]
