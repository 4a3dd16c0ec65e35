"""Text in, text out: decoding as it comes, never half a character, stop texts across token borders."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from whelp.generate.config import GenerateConfig
from whelp.generate.generate import GeneratingModel, Token, generate_tokens

Reason = Literal["stop", "length"]


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


@dataclass(frozen=True)
class TextPiece:
    """New text of one sample. The last piece of a sample has a reason: `stop` (it ended itself) or `length`."""

    sample: int
    text: str
    reason: Reason | None = None


@dataclass(frozen=True)
class Completion:
    """A whole continuation."""

    text: str
    reason: Reason
    num_tokens: int


class _StopFinder:
    """Hold back text that may be the start of a stop text."""

    def __init__(self, stops: list[str]) -> None:
        self.stops = [stop for stop in stops if stop]
        self.held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Text that is safe to show, and whether a stop text has come."""
        self.held += text
        places = [place for place in (self.held.find(stop) for stop in self.stops) if place >= 0]
        if places:
            shown, self.held = self.held[: min(places)], ""
            return shown, True
        longest = 0
        for stop in self.stops:
            for size in range(min(len(stop) - 1, len(self.held)), longest, -1):
                if self.held.endswith(stop[:size]):
                    longest = size
                    break
        shown, self.held = self.held[: len(self.held) - longest], self.held[len(self.held) - longest :]
        return shown, False


def stream_text(
    model: GeneratingModel,
    vocabulary: VocabularyLike,
    prompt: str,
    settings: GenerateConfig,
    *,
    device: torch.device | str = "cpu",
) -> Iterator[TextPiece]:
    """Continue a prompt; yield text as it comes. An empty prompt starts from end-of-text, as a new document does."""
    ids = vocabulary.encode(prompt)
    if not len(ids) and vocabulary.eos_id is not None:
        ids = np.array([vocabulary.eos_id])
    decoders = [vocabulary.stream() for _ in range(settings.n)]
    finders = [_StopFinder(settings.stop) for _ in range(settings.n)]
    tokens = generate_tokens(model, ids, settings, num_ids=vocabulary.size, eos_id=vocabulary.eos_id, device=device)
    assert isinstance(tokens, Generator), f"{tokens} cannot be told to stop a sample"
    message: int | None = None
    while True:
        try:
            token: Token = tokens.send(message)
        except StopIteration:
            return
        message = None
        is_end = token.id == vocabulary.eos_id
        decoder, finder = decoders[token.sample], finders[token.sample]
        new = "" if is_end else decoder.push(token.id)
        if token.is_last:
            new += decoder.finish()
        shown, is_stopped = finder.push(new)
        if is_stopped:
            message = token.sample
            yield TextPiece(token.sample, shown, "stop")
        elif token.is_last:
            yield TextPiece(token.sample, shown + finder.held, "stop" if is_end else "length")
        else:
            yield TextPiece(token.sample, shown)


def complete(
    model: GeneratingModel,
    vocabulary: VocabularyLike,
    prompt: str,
    settings: GenerateConfig,
    *,
    device: torch.device | str = "cpu",
) -> list[Completion]:
    """Continue a prompt `settings.n` times; whole texts."""
    texts, counts = [""] * settings.n, [0] * settings.n
    reasons: list[Reason] = ["length"] * settings.n
    for piece in stream_text(model, vocabulary, prompt, settings, device=device):
        texts[piece.sample] += piece.text
        counts[piece.sample] += 1
        if piece.reason is not None:
            reasons[piece.sample] = piece.reason
    return [Completion(text, reason, count) for text, reason, count in zip(texts, reasons, counts, strict=True)]
