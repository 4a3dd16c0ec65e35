"""What a request gives: pieces of text as they come, and why it ended."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Reason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class TokenLogprob:
    """One token, the log-probability that the model gave it before any setting bent it, and the likeliest in its place."""

    id: int
    text: str
    bytes: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class TextPiece:
    """New text of one continuation: of one token, for the last piece also what was held back.

    `text` is empty while a character is not whole, or while the text may be the beginning of a stop text.
    """

    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprob] | None = None


@dataclass(frozen=True)
class Completion:
    """A whole continuation."""

    text: str
    reason: Reason
    num_tokens: int
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob] | None = None

    @classmethod
    def collect(cls, generation: Generation) -> Completion:
        """Wait for the end of a continuation."""
        pieces = list(generation)
        assert generation.finish_reason is not None, "a continuation without further pieces has ended"
        has_logprobs = any(piece.logprobs is not None for piece in pieces)
        return cls(
            text="".join(piece.text for piece in pieces),
            reason=generation.finish_reason,
            num_tokens=sum(len(piece.token_ids) for piece in pieces),
            logprobs=[entry for piece in pieces for entry in piece.logprobs or ()] if has_logprobs else None,
            prompt_logprobs=generation.prompt_logprobs,
        )


class Generation:
    """One continuation under way. Iterate over it for its pieces; it can be iterated once.

    Attributes:
        index: Which of the `n` continuations of a prompt it is.
        prompt_tokens: Tokens of the prompt.
        cached_tokens: How many of them had been read before, for another text; known from the first piece on.
        finish_reason: None until the last piece; then `stop` (end-of-text or a stop text), `length` (`max_tokens`, or the
            context is full) or `cancelled`.
        prompt_logprobs: Where they were asked for, from the first piece on: of the prompt's tokens after the first.
    """

    def __init__(self, index: int, prompt_tokens: int, wake: Callable[[], object]) -> None:
        self.index, self.prompt_tokens, self.cached_tokens = index, prompt_tokens, 0
        self.finish_reason: Reason | None = None
        self.prompt_logprobs: list[TokenLogprob] | None = None
        self.is_cancelled = False
        self._wake = wake
        self._pieces: queue.SimpleQueue[TextPiece | BaseException | None] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[TextPiece]:
        """Wait for the next piece; end after the last one.

        Raises: BaseException: Whatever broke the engine.
        """
        while (piece := self._pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def iter_ready(self) -> Iterator[TextPiece]:
        """The pieces that are there, without waiting.

        Raises: BaseException: As where they are waited for.
        """
        while not self._pieces.empty():
            piece = self._pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            if piece is not None:
                yield piece

    def cancel(self) -> None:
        """Take no part in the next step; the pieces that are there can still be read."""
        self.is_cancelled = True
        self._wake()

    def put(self, piece: TextPiece) -> None:
        """Hand a piece over (the engine's side)."""
        self._pieces.put(piece)

    def end(self, reason: Reason) -> None:
        """There is no further piece (the engine's side)."""
        self.finish_reason = reason
        self._pieces.put(None)

    def fail(self, error: BaseException) -> None:
        """Raise `error` where the pieces are read (the engine's side)."""
        self.finish_reason = "cancelled"
        self._pieces.put(error)
