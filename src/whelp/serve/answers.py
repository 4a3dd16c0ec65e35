"""From pieces of text to the bodies that OpenAI's clients read: whole, or as events of a stream."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from whelp.serve.interfaces import Piece, TokenChance
from whelp.serve.replies import Reply


@dataclasses.dataclass(frozen=True)
class Echo:
    """A prompt that is given back: its text, and its first token, which nothing stands before that could foretell it."""

    text: str = ""
    first_token: bytes = b""


@dataclasses.dataclass(frozen=True)
class _FirstToken:
    """A token without a probability."""

    text: str
    bytes: bytes
    logprob: None = None
    top: None = None


@dataclasses.dataclass
class _Choice:
    """One continuation so far."""

    text: str = ""
    num_tokens: int = 0
    num_characters: int = 0  # begun by the tokens so far: where the next one starts
    chances: list[TokenChance | _FirstToken] = dataclasses.field(default_factory=list)
    offsets: list[int] = dataclasses.field(default_factory=list)
    finish_reason: str | None = None


class Answer:
    """What both ways to ask share: the head of every body, the counts, the choices."""

    kind = ""
    chunk_kind = ""

    def __init__(
        self, *, id: str, created: int, model: str, fingerprint: str, num_choices: int, prompt_tokens: int, with_usage: bool
    ) -> None:
        self.head = {"id": id, "created": created, "model": model, "system_fingerprint": fingerprint}
        self.choices = [_Choice() for _ in range(num_choices)]
        self.prompt_tokens, self.with_usage = prompt_tokens, with_usage
        self.cached_tokens = 0  # of the prompts: read before

    @property
    def completion_tokens(self) -> int:
        """Tokens added."""
        return sum(choice.num_tokens for choice in self.choices)

    @property
    def usage(self) -> dict[str, Any]:
        """Tokens of the prompts, and tokens added."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def begin(self, index: int, prompt_logprobs: Sequence[TokenChance] | None) -> list[dict[str, Any]]:
        """Begin a choice, whose prompt has been read; give the events that tell it."""
        return []

    def add(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        """Take a piece; give the events that tell it."""
        choice = self.choices[index]
        chances: list[TokenChance | _FirstToken] = list(piece.logprobs or ())
        choice.num_tokens += len(piece.token_ids)
        return self._tell(index, piece.text, chances, _place(choice, chances))

    def finish(self, index: int, reason: str | None) -> list[dict[str, Any]]:
        """End a choice; give the events that tell what was held back, and why it ended."""
        raise NotImplementedError

    def start(self) -> list[dict[str, Any]]:
        """Events before the first piece."""
        return []

    def last(self) -> dict[str, Any] | None:
        """The event with the counts, where it was asked for."""
        return {**self._chunk_head(), "choices": [], "usage": self.usage} if self.with_usage else None

    def whole(self) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        choices = [self._whole_choice(index, choice) for index, choice in enumerate(self.choices)]
        return {"object": self.kind, **self.head, "choices": choices, "usage": self.usage}

    def _chunk_head(self) -> dict[str, Any]:
        return {"object": self.chunk_kind, **self.head}

    def _chunk_of(self, choice: dict[str, Any]) -> dict[str, Any]:
        usage = {"usage": None} if self.with_usage else {}
        return {**self._chunk_head(), "choices": [choice], **usage}

    def _tell(
        self, index: int, text: str, chances: list[TokenChance | _FirstToken], offsets: list[int]
    ) -> list[dict[str, Any]]:
        """Add text to a choice; the events that tell it, with its tokens."""
        raise NotImplementedError

    def _whole_choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        raise NotImplementedError


class CompletionAnswer(Answer):
    """The bodies of /v1/completions.

    Args:
        echoes: What to put before each choice; an empty one without `echo`.
    """

    kind = chunk_kind = "text_completion"

    def __init__(self, *, echoes: Sequence[Echo], with_logprobs: bool, **head: Any) -> None:
        super().__init__(num_choices=len(echoes), **head)
        self.echoes, self.with_logprobs = echoes, with_logprobs

    def begin(self, index: int, prompt_logprobs: Sequence[TokenChance] | None) -> list[dict[str, Any]]:
        echo, choice = self.echoes[index], self.choices[index]
        if not echo.text:
            return []
        chances: list[TokenChance | _FirstToken] = []
        if self.with_logprobs:
            first = echo.first_token
            chances = [_FirstToken(first.decode(errors="replace"), first), *(prompt_logprobs or ())]
        return [self._chunk(index, echo.text, chances, _place(choice, chances), None)]

    def finish(self, index: int, reason: str | None) -> list[dict[str, Any]]:
        self.choices[index].finish_reason = reason
        return [self._chunk(index, "", [], [], reason)]

    def _tell(
        self, index: int, text: str, chances: list[TokenChance | _FirstToken], offsets: list[int]
    ) -> list[dict[str, Any]]:
        self.choices[index].text += text
        return [self._chunk(index, text, chances, offsets, None)] if text or chances else []

    def _chunk(
        self, index: int, text: str, chances: list[TokenChance | _FirstToken], offsets: list[int], reason: str | None
    ) -> dict[str, Any]:
        logprobs = _completion_logprobs(chances, offsets) if self.with_logprobs and chances else None
        return self._chunk_of({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason})

    def _whole_choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        logprobs = _completion_logprobs(choice.chances, choice.offsets) if self.with_logprobs else None
        text = self.echoes[index].text + choice.text
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": choice.finish_reason}


class ChatAnswer(Answer):
    """The bodies of /v1/chat/completions.

    Args:
        replies: What reads the text of each choice.
    """

    kind, chunk_kind = "chat.completion", "chat.completion.chunk"

    def __init__(self, *, replies: Sequence[Reply], with_logprobs: bool, **head: Any) -> None:
        super().__init__(num_choices=len(replies), **head)
        self.replies, self.with_logprobs = replies, with_logprobs

    def start(self) -> list[dict[str, Any]]:
        return [self._chunk(index, {"role": "assistant", "content": ""}) for index in range(len(self.choices))]

    def finish(self, index: int, reason: str | None) -> list[dict[str, Any]]:
        reply = self.replies[index]
        held = [self._chunk(index, delta) for delta in reply.end()]
        self.choices[index].finish_reason = reason = "tool_calls" if reply.calls and reason == "stop" else reason
        return [*held, self._chunk(index, {}, reason=reason)]

    def _tell(
        self, index: int, text: str, chances: list[TokenChance | _FirstToken], offsets: list[int]
    ) -> list[dict[str, Any]]:
        deltas = self.replies[index].add(text)
        if chances and not deltas:
            deltas = [{"content": ""}]
        return [self._chunk(index, delta, [] if place else chances) for place, delta in enumerate(deltas)]

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        chances: Sequence[TokenChance | _FirstToken] = (),
        *,
        reason: str | None = None,
    ) -> dict[str, Any]:
        logprobs = _chat_logprobs(chances) if self.with_logprobs and chances else None
        return self._chunk_of({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason})

    def _whole_choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        logprobs, reply = _chat_logprobs(choice.chances) if self.with_logprobs else None, self.replies[index]
        content = reply.content if reply.calls else reply.content or ""
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if reply.calls:
            message["tool_calls"] = list(reply.calls)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason}


def to_event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


LAST_EVENT = b"data: [DONE]\n\n"


def _place(choice: _Choice, chances: Sequence[TokenChance | _FirstToken]) -> list[int]:
    """Add tokens to a choice; where in its text each begins."""
    offsets = []
    for chance in chances:
        offsets.append(choice.num_characters)
        choice.num_characters += sum(byte & 0xC0 != 0x80 for byte in chance.bytes)
    choice.chances += chances
    choice.offsets += offsets
    return offsets


def _finite(logprob: float) -> float:
    return max(logprob, -9999.0)  # JSON has no infinity; OpenAI writes this number, too


def _completion_logprobs(chances: Sequence[TokenChance | _FirstToken], offsets: Sequence[int]) -> dict[str, Any]:
    return {
        "tokens": [chance.text for chance in chances],
        "token_logprobs": [None if chance.logprob is None else _finite(chance.logprob) for chance in chances],
        "top_logprobs": [
            None if chance.top is None else {top.text: _finite(top.logprob) for top in chance.top} for chance in chances
        ],
        "text_offset": list(offsets),
    }


def _chat_logprobs(chances: Sequence[TokenChance | _FirstToken]) -> dict[str, Any]:
    entries = [
        {**_chance(chance), "top_logprobs": [_chance(top) for top in chance.top]}
        for chance in chances
        if not isinstance(chance, _FirstToken)  # which completions alone have
    ]
    return {"content": entries, "refusal": None}


def _chance(chance: TokenChance) -> dict[str, Any]:
    return {"token": chance.text, "logprob": _finite(chance.logprob), "bytes": list(chance.bytes)}
