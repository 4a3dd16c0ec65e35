"""How much text a token of a vocabulary holds; the vocabulary is handed in."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.curate.config import CharactersPerTokenConfig
from whelp.curate.rules.outcome import Outcome, judge, share
from whelp.curate.texts import Texts


class EncoderLike(Protocol):
    """What counts tokens."""

    def encode_batch(self, texts: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Ids of all texts, and where those of each begin (texts + 1)."""
        ...


class CharactersPerToken:
    """Characters for each token of a text."""

    def __init__(self, config: CharactersPerTokenConfig, vocabulary: EncoderLike) -> None:
        self._config, self._vocabulary = config, vocabulary

    def apply(self, texts: Texts) -> Outcome:
        """Too few."""
        _, offsets = self._vocabulary.encode_batch(texts.array)
        found = share(texts.lengths, np.diff(offsets))
        return judge(len(texts), [("few characters per token", found < self._config.min_ratio)])
