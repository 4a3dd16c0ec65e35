"""What an encoder is: text in, ids out. Some read text themselves, others cut it, or look at it, before another one reads it."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from whelp.base.arrays import to_texts
from whelp.tokenizer._arrow import Encoded, Texts


class Engine:
    """What stands behind `Vocabulary.encode_batch`."""

    def encode_batch(self, strings: Texts) -> Encoded:
        """Encode a large_string array: flat ids, and offsets into them (documents + 1)."""
        raise AssertionError(f"{type(self).__name__} has no encode_batch()")

    def encode(self, text: str) -> npt.NDArray[Any]:
        """Encode one text."""
        return self.encode_batch(to_texts([text]))[0]
