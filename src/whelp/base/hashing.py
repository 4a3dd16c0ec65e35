"""Fingerprints: short, stable names for contents."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_DIGITS = 32  # 128 bits: no accidental collision in any corpus


def hash_bytes(*chunks: bytes | memoryview) -> str:
    """Fingerprint bytes: 32 hexadecimal digits, the first half of SHA-256 (which processors have instructions for)."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()[:_DIGITS]


def hash_json(value: Any) -> str:
    """Fingerprint a JSON value; the order of keys does not matter."""
    return hash_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False).encode())


def hash_file(path: Path) -> str:
    """Fingerprint a file's bytes, in flat memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def short(fingerprint: str) -> str:
    """The first eight digits, for people."""
    return fingerprint[:8]
