"""Ids in, text out as it comes: never half a character, stop texts across token borders."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class TextDecoder(Protocol):
    """Turns ids into text as they come."""

    def push(self, token_id: int) -> str: ...
    def finish(self) -> str: ...


class VocabularyLike(Protocol):
    """What turns text into ids and back."""

    @property
    def size(self) -> int: ...
    @property
    def eos_id(self) -> int | None: ...
    def encode(self, text: str) -> npt.NDArray[np.integer]: ...
    def stream(self) -> TextDecoder: ...
    def decode_bytes(self, ids: list[int], *, skip_special: bool) -> bytes: ...
    def spell_tokens(self) -> tuple[list[bytes], list[bytes]]:
        """The bytes that each id adds to a text that it begins, and to one that it goes on; for texts that follow a pattern."""
        ...


class TextMaker:
    """The text of one continuation, without the stop text that ends it."""

    def __init__(self, decoder: TextDecoder, stops: list[str]) -> None:
        self._decoder = decoder
        self._stops = [stop for stop in stops if stop]
        self._held = ""  # may be the beginning of a stop text

    def push(self, token_id: int) -> tuple[str, bool]:
        """Text that is safe to show, and whether a stop text has come."""
        text = self._decoder.push(token_id)
        return self._find_stop(text) if self._stops else (text, False)

    def finish(self) -> tuple[str, bool]:
        """What was held back; and whether the very last bytes completed a stop text."""
        text, is_stopped = self._find_stop(self._decoder.finish())
        return (text, True) if is_stopped else (text + self._held, False)

    def _find_stop(self, text: str) -> tuple[str, bool]:
        self._held += text
        places = [place for place in (self._held.find(stop) for stop in self._stops) if place >= 0]
        if places:
            shown, self._held = self._held[: min(places)], ""
            return shown, True
        longest = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:size]):
                    longest = size
                    break
        shown, self._held = self._held[: len(self._held) - longest], self._held[len(self._held) - longest :]
        return shown, False
