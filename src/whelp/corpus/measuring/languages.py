"""Which languages a corpus is in: pieces of text from evenly spread places, each told by `identify`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from whelp.base.arrays import view_text
from whelp.base.language_identifier import open_language_model
from whelp.corpus.measuring.hashes import Texts

PIECE_BYTES = 400
UNKNOWN = "und"  # ISO 639's code for what cannot be told
_LEAST_SPACING, _MOST_SPACING = 2_048, 65_536  # bytes from one place to the next
_WANTED_PIECES = 2_000
_EXAMPLE_CHARACTERS = 100
_LEAST_CONFIDENCE = 0.5
_LABEL = "__label__"

Identify = Callable[[str], str]
"""Text -> the code of its language (ISO 639-1, or -3 where there is none), or `und`."""


def open_identifier() -> Identify:
    """Tell languages offline, by `open_language_model`.

    Raises:
        MissingExtraError: When it is not installed.
    """
    model = open_language_model("languages", "corpus")

    def identify(text: str) -> str:
        found = model.predict(" ".join(text.split()), 1, _LEAST_CONFIDENCE, "strict")[0]
        return str(found[0]).removeprefix(_LABEL) if found else UNKNOWN

    return identify


class LanguageSampler:
    """Pieces of 400 bytes, one every so many bytes of text: their shares are those of the bytes of the corpus.

    Args:
        num_bytes: About how large the corpus is, so that a small one is looked at more closely.
    """

    def __init__(self, identify: Identify, num_bytes: int) -> None:
        self.spacing = min(max(num_bytes // _WANTED_PIECES, _LEAST_SPACING), _MOST_SPACING)
        self._identify = identify
        self._next = 0  # bytes from the start of what comes to the next place
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}

    def add(self, texts: Texts) -> None:
        """Look at some documents."""
        data, offsets = view_text(texts)
        start, end = int(offsets[0]), int(offsets[-1])
        places = np.arange(start + self._next, end, self.spacing)
        self._next = (int(places[-1]) + self.spacing if len(places) else start + self._next) - end
        documents = np.searchsorted(offsets, places, side="right") - 1
        for place, document in zip(places.tolist(), documents.tolist(), strict=True):
            first, last = int(offsets[document]), int(offsets[document + 1])
            begin = max(first, min(place, last - PIECE_BYTES))
            piece = data[begin : min(begin + PIECE_BYTES, last)].tobytes().decode(errors="ignore").strip()
            if piece:
                language = self._identify(piece)
                self._counts[language] = self._counts.get(language, 0) + 1
                self._examples.setdefault(language, " ".join(piece.split())[:_EXAMPLE_CHARACTERS])

    def finish(self) -> list[dict[str, Any]]:
        """Languages, the most frequent first: `language`, `num_pieces`, `share`, and the beginning of an `example`."""
        total = max(sum(self._counts.values()), 1)
        ordered = sorted(self._counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return [
            {"language": name, "num_pieces": count, "share": count / total, "example": self._examples[name]}
            for name, count in ordered
        ]
