"""What every contestant is given and gives, and the vocabulary as they open it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 1024
END = 50256

Prepared = Callable[[], np.ndarray]
Contestant = Callable[[Path, Path, Path], tuple[Callable[[], None], Prepared]]
"""Takes the corpus, an empty folder and the vocabulary; gives the work to time, and a function that returns the ids."""


def load_fast(vocabulary: Path) -> Any:
    """The vocabulary as whelp opens it."""
    from whelp.tokenizer import load_tokenizer

    return load_tokenizer(str(vocabulary))


def load_slow(vocabulary: Path) -> Any:
    """The vocabulary as transformers opens it."""
    from transformers import GPT2TokenizerFast

    with tempfile.TemporaryDirectory() as folder:
        load_fast(vocabulary).save(Path(folder))
        tokenizer = GPT2TokenizerFast.from_pretrained(folder)
    tokenizer.model_max_length = 10**9
    return tokenizer


def read_back(path: Path) -> np.ndarray:
    """A flat file of 16-bit ids."""
    return np.fromfile(path, np.uint16)
