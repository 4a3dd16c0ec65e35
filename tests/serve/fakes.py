"""A vocabulary of bytes and an engine that says the same words again and again: what the server does is seen without a model."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from waiting import wait_until
from whelp.base.errors import PlanError
from whelp.serve import ServedModel

SAYING = " the whelp says ä and 🦊."


class ByteVocabulary:
    """Id = byte; 256 is end-of-text."""

    size, eos_id, special_ids = 257, 256, frozenset([256])

    def encode(self, text: str) -> np.ndarray:
        try:
            return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16)
        except UnicodeEncodeError:
            raise PlanError("text", "half a surrogate pair", "Unicode text") from None

    def decode_bytes(self, ids: Sequence[int], *, skip_special: bool = True) -> bytes:
        return b"".join(bytes([i]) if i < 256 else b"" if skip_special else b"<end>" for i in ids)

    def token_text(self, token_id: int) -> str:
        return self.decode_bytes([token_id], skip_special=False).decode(errors="backslashreplace")


@dataclass(frozen=True)
class Chance:
    """A token with its probability."""

    id: int
    text: str
    bytes: bytes
    logprob: float
    top: tuple[Chance, ...] = ()


@dataclass(frozen=True)
class Piece:
    """New text."""

    text: str
    token_ids: list[int]
    logprobs: list[Chance] | None


class Generation:
    """One continuation: a token every `seconds`, made by whoever iterates."""

    def __init__(self, engine: FakeEngine, index: int, prompt: Sequence[int], settings: Mapping[str, Any]) -> None:
        self.engine, self.index, self.settings = engine, index, settings
        self.prompt_tokens, self.cached_tokens = len(prompt), engine.num_cached
        self.prompt_logprobs: list[Chance] | None = None
        if settings.get("prompt_logprobs") is not None:  # of the second token on
            self.prompt_logprobs = [self._make_chance(bytes([byte]), settings["prompt_logprobs"]) for byte in prompt[1:]]
        self.finish_reason: str | None = None
        self.is_cancelled = threading.Event()

    def __iter__(self) -> Iterator[Piece]:
        text = ""
        limit = int(self.settings["max_tokens"])
        for count, character in enumerate((SAYING * (limit // len(SAYING) + 1))[:limit]):
            if self.is_cancelled.wait(self.engine.seconds if count else 0):
                self._end("cancelled")
                return
            if self.engine.error is not None:
                self._end("cancelled")
                raise self.engine.error
            text += character
            stops = [stop for stop in self.settings["stop"] if stop in text]
            if stops:
                self._end("stop")
                return
            yield Piece(character, list(character.encode()), self._chances(character))
        self._end("length")

    def cancel(self) -> None:
        self.is_cancelled.set()

    def _chances(self, character: str) -> list[Chance] | None:
        if self.settings["logprobs"] is None:
            return None
        return [self._make_chance(character.encode(), self.settings["logprobs"])]

    @staticmethod
    def _make_chance(raw: bytes, num_top: int) -> Chance:
        text = raw.decode(errors="replace")
        top = (Chance(raw[0], text, raw, math.log(0.5)), Chance(33, "!", b"!", -math.inf))
        return Chance(raw[0], text, raw, math.log(0.5), top[:num_top])

    def _end(self, reason: str) -> None:
        self.finish_reason = reason
        with self.engine.lock:
            self.engine.running.remove(self)
            self.engine.ended.append(reason)


@dataclass
class FakeEngine:
    """Remembers what it was asked."""

    seconds: float = 0.0
    error: Exception | None = None
    asked: list[tuple[list[int], dict[str, Any], int]] = field(default_factory=list)
    running: list[Generation] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    refusal: Exception | None = None
    num_waiting: int = 0
    num_cached: int = 0  # tokens of every prompt

    @property
    def num_running(self) -> int:
        return len(self.running)

    def submit(self, prompt: Sequence[int], settings: Mapping[str, Any], *, n: int = 1) -> list[Generation]:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((list(prompt), dict(settings), n))
        made = [Generation(self, index, prompt, settings) for index in range(n)]
        with self.lock:
            self.running.extend(made)
        return made

    def close(self, *, drain: bool = True) -> None:
        for generation in list(self.running):
            generation.cancel()

    def wait_until_idle(self) -> None:
        """Until nothing runs any more."""
        wait_until(lambda: not self.running)


def make_model(name: str = "fake", *, context_tokens: int = 400, **options: Any) -> ServedModel:
    """A served model on a fake engine."""
    engine = options.pop("engine", None) or FakeEngine(seconds=options.pop("seconds", 0.0))
    return ServedModel(
        id=name,
        engine=engine,
        vocabulary=ByteVocabulary(),
        context_tokens=context_tokens,
        created=1,
        fingerprint=f"print-{name}",
        **options,
    )
