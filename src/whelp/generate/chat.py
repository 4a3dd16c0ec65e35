"""A conversation becomes a prompt, through the vocabulary's own template.

    make_chat_ids(vocabulary, [{"role": "user", "content": "Hello!"}])     -> ids that end where the answer begins

What people write stays text:
a control token's name inside a message never becomes the control token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from whelp.base.chat_templates import Render, TemplateFailure, compile_chat_template
from whelp.base.errors import TokenizerError
from whelp.generate.text_stream import VocabularyLike

Message = Mapping[str, Any]
TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<turn|>", "<|end|>", "<|eot|>")
"""Tokens that end a turn, besides end-of-text, in the templates that are about."""
_MARK = "\ue000"  # a private character: no alphabet has it


class ChatVocabulary(VocabularyLike, Protocol):
    """A vocabulary that knows how its model was taught to talk."""

    @property
    def name(self) -> str: ...
    @property
    def chat_template(self) -> str | None: ...
    @property
    def control_tokens(self) -> dict[str, str]: ...
    @property
    def special_ids(self) -> Iterable[int]: ...
    def id_of(self, token: str) -> int | None: ...
    def token_text(self, token_id: int) -> str: ...
    def encode(self, text: str, *, allow_special: bool = False) -> npt.NDArray[np.integer]: ...


def make_chat_ids(
    vocabulary: ChatVocabulary, messages: Sequence[Message], *, answer_start: str = "", **values: Any
) -> list[int]:
    """Turn a conversation into the ids of a prompt; the next token begins the answer.

    Args:
        messages: Each with `role` (system, user, assistant, tool) and `content`, and what else the template knows.
        answer_start: What the answer begins with, in the template's own words.
        values: Further values for the template, such as `tools` or `enable_thinking`.

    Raises: TokenizerError: When there is no template, or it refuses the conversation.
    """
    literals = [vocabulary.token_text(token_id) for token_id in vocabulary.special_ids]
    guard = _Guard(literal for literal in literals if literal)
    guarded = [guard.hide_message(message) for message in messages]
    text = render_chat(vocabulary, guarded, **guard.hide_names(values)) + answer_start
    contents = guard.contents
    ids: list[int] = []
    for place, piece in enumerate(re.split(f"{_MARK}(\\d+){_MARK}", text)):
        is_mark = place % 2 == 1
        ids += vocabulary.encode(contents[int(piece)] if is_mark else piece, allow_special=not is_mark).tolist()
    return ids


def render_chat(vocabulary: ChatVocabulary, messages: Sequence[Message], **values: Any) -> str:
    """The text that a conversation becomes, with the beginning of the answer.

    Raises:
        TokenizerError: When there is no template, or it refuses the conversation.
        MissingExtraError: When `jinja2` is not installed.
    """
    if vocabulary.chat_template is None:
        raise TokenizerError(vocabulary.name, "it has no chat template", "", "Continue plain text with `whelp generate`.")
    values = {**vocabulary.control_tokens, "add_generation_prompt": True, **values}
    try:
        return _compile(vocabulary.chat_template)(messages, **values)
    except TemplateFailure as error:
        raise TokenizerError(
            vocabulary.name,
            f"its chat template fails ({error})",
            "a conversation that it knows",
            "Check roles and their order.",
        ) from None


@lru_cache(maxsize=16)
def _compile(template: str) -> Render:
    return compile_chat_template(template, where="a chat", knows_time=True)


def find_end_ids(vocabulary: ChatVocabulary) -> list[int]:
    """Ids that end a turn in a chat."""
    ids = (vocabulary.id_of(token) for token in TURN_ENDS)
    return [token_id for token_id in ids if token_id is not None and token_id in set(vocabulary.special_ids)]


def count_common(first: str, second: str) -> int:
    """How many letters two texts have in common at their beginnings."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))


class _Guard:
    """Puts marks in the place of what holds a control token's name; everything else goes through as it is.

    A mark hides what it stands for from the template, which may strip or test it, so marks are for what needs one only.
    """

    def __init__(self, literals: Iterable[str]) -> None:
        self.contents: list[str] = []  # by the number in the mark
        self._names = _compile_names(frozenset([*literals, _MARK]))

    def hide_message(self, message: Message) -> Message:
        """Hide a content as a whole, and names in what else there is."""
        content = message.get("content")
        others = self.hide_names({name: value for name, value in message.items() if name != "content"})
        if isinstance(content, str) and self._names.search(content):
            content = self._mark(content)
        return {**others, "content": content} if "content" in message else others

    def hide_names(self, value: Any) -> Any:
        """Hide the names alone, within texts that the template may write as JSON."""
        if isinstance(value, str):
            return self._names.sub(lambda match: self._mark(match.group()), value)
        if isinstance(value, Mapping):
            return {self.hide_names(name): self.hide_names(entry) for name, entry in value.items()}
        return [self.hide_names(entry) for entry in value] if isinstance(value, (list, tuple)) else value

    def _mark(self, content: str) -> str:
        self.contents.append(content)
        return f"{_MARK}{len(self.contents) - 1}{_MARK}"


@lru_cache(maxsize=16)
def _compile_names(names: frozenset[str]) -> re.Pattern[str]:
    return re.compile(_write_any(sorted(names)))


def _write_any(names: Sequence[str]) -> str:
    """A regular expression of any of these, the longest that is there; what they begin with in common is tried once, however many they are.

    Args:
        names: In order.

    >>> _write_any(["<s>", "<s>>", "<t>"])
    '<(?:s>(?:>)?|t>)'
    """
    start = names[0][: count_common(names[0], names[-1])]
    rests = {name.removeprefix(start) for name in names}
    groups = [list(group) for _, group in groupby(sorted(rests - {""}), key=lambda rest: rest[0])]
    if not groups:
        return re.escape(start)
    return f"{re.escape(start)}(?:{'|'.join(map(_write_any, groups))}){'?' if '' in rests else ''}"
