"""Randomness split by purpose: each use derives its own stream from the one seed of a run."""

from __future__ import annotations

import hashlib

import numpy as np


def make_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose.   make_seed(0, "rows", 3) differs from make_seed(0, "init")"""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def make_generator(seed: int, *purpose: object) -> np.random.Generator:
    """A numpy generator for one purpose; the same on every machine."""
    return np.random.Generator(np.random.PCG64(make_seed(seed, *purpose)))
