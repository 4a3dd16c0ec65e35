"""Conversations written as a vocabulary's own chat template (Jinja) writes them; one Python object per turn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from whelp.base.chat_templates import TemplateFailure, compile_chat_template
from whelp.base.errors import PlanError
from whelp.base.join_texts import join_items
from whelp.prepare.column_templates import Named, text_field
from whelp.prepare.config import OTHERS, TemplateConfig
from whelp.prepare.conversation_templates import (
    KEY_OPTION,
    MASK_OPTION,
    NAMES_OPTION,
    SENDER_OPTION,
    choose_masks,
    flatten_turns,
    iter_senders,
    name_trained,
)
from whelp.prepare.segments import Flags, Pieces

_DEFAULT_KEY = "messages"
_DEFAULT_SENDER_KEY = "role"
_DEFAULT_FIELD = "content"
_TRAINED_ROLE = "assistant"
_FIRST_PRIVATE, _LAST_PRIVATE = "\U000f0000", "\U000ffffd"  # a private-use plane; such characters in the text are kept, too
_PRIVATE = re.compile(f"[{_FIRST_PRIVATE}-{_LAST_PRIVATE}]")

_Turn = dict[str, str]
_Piece = tuple[str, bool, bool]  # text, whether it is trained, whether control tokens in it are meant


class ChatTemplate:
    """A Jinja chat template as `transformers` renders it, without the time of day: the same rows give the same text.

    Raises:
        PlanError: When the template is not valid.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        try:
            self._render = compile_chat_template(source, where="data.conversation_template: tokenizer", knows_time=False)
        except TemplateFailure as error:
            raise PlanError("the tokenizer's chat template", f"is not valid Jinja ({error})", "", "") from None
        self._special_tokens = dict(special_tokens)

    def render(self, turns: list[_Turn], *, opens_answer: bool = False) -> str:
        """The text of a conversation. `opens_answer`: with what comes before the assistant's next words.

        Raises:
            PlanError: When the template refuses these turns.
        """
        try:
            return self._render(turns, add_generation_prompt=opens_answer, **self._special_tokens)
        except TemplateFailure as error:
            raise PlanError("the tokenizer's chat template", f"refuses a conversation ({error})", "", "") from None

    def iter_turns(self, turns: list[_Turn]) -> Iterator[tuple[str, str]]:
        """For each turn, what stands before the words and the words with all that ends them; joined they are the text.

        Raises:
            PlanError: When a longer conversation does not start like a shorter one, so that turns cannot be told apart.
        """
        done = ""
        for index in range(len(turns)):
            whole = self.render(turns[: index + 1])
            opened = self.render(turns[:index], opens_answer=True) if index and turns[index]["role"] == _TRAINED_ROLE else done
            if not whole.startswith(done):
                raise PlanError(
                    "the tokenizer's chat template",
                    f"turn {index + 1} changes what is written of the turns before it",
                    "a template that only adds to them",
                    "Take data.conversation_format: sender, or another template.",
                )
            start = len(opened) if whole.startswith(opened) and opened.startswith(done) else len(done)
            yield whole[len(done) : start], whole[start:]
            done = whole


class ChatConversation:
    """Rows of turns, written by a chat template. The assistant's turns are trained, from its first word to their end."""

    name = "conversation"

    def __init__(self, config: TemplateConfig, template: ChatTemplate | None, control_tokens: Iterable[str]) -> None:
        self._template = template
        self._key = config.conversation_key or _DEFAULT_KEY
        self.named_by: str | None = KEY_OPTION
        self._sender_key = config.conversation_sender_key or _DEFAULT_SENDER_KEY
        self._field = next(iter(config.conversation_input_key_map), _DEFAULT_FIELD)
        self._names = config.conversation_sender_value_map
        self._masks, self._trained = choose_masks(config), config.trained_senders
        self._prefix_mask = config.conversation_prefix_mask
        self._keeps_control = config.special_tokens_in_text
        spelled = "|".join(map(re.escape, sorted(control_tokens, key=len, reverse=True)))
        self._protected = re.compile(f"{spelled}|{_PRIVATE.pattern}" if spelled else _PRIVATE.pattern)
        inner = [text_field(self._sender_key), text_field(self._field)]
        self.fields = [pa.field(self._key, pa.large_list(pa.struct(inner)))]
        self.wants = f"turns with {self._sender_key} and {self._field} in {self._key}"

    def find(self, rows: pa.RecordBatch) -> Flags:
        _, offsets = flatten_turns(rows, self._key, self.fields[0].type)
        return np.asarray(np.diff(offsets) > 0, np.bool_)

    def lay_out(self, rows: pa.RecordBatch) -> Pieces:
        turns, offsets = flatten_turns(rows, self._key, self.fields[0].type)
        senders = turns.column(self._sender_key).to_pylist()
        words = turns.column(self._field).to_pylist()
        pieces: list[_Piece] = []
        row_offsets = [0]
        for row, (first, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            try:
                pieces += self._iter_pieces(senders[first:end], words[first:end])
            except PlanError as error:
                raise PlanError(f"{error.where}, {_place(rows, row)}", error.found, error.expected, error.next_step) from None
            row_offsets.append(len(pieces))
        return Pieces(
            texts=pa.array([text for text, _, _ in pieces], pa.large_string()),
            weights=np.array([weight for _, weight, _ in pieces], np.uint8),
            row_offsets=np.array(row_offsets, np.int64),
            is_control=np.array([is_control for _, _, is_control in pieces], np.bool_),
        )

    def join_values(self, rows: pa.RecordBatch) -> pa.LargeStringArray:
        turns, offsets = flatten_turns(rows, self._key, self.fields[0].type)
        return join_items(turns.column(self._field).fill_null(""), offsets)

    def iter_named(self, rows: pa.RecordBatch) -> Iterator[Named]:
        turns, _ = flatten_turns(rows, self._key, self.fields[0].type)
        senders = turns.column(self._sender_key)
        yield SENDER_OPTION, self._sender_key, senders
        masks = name_trained(senders, self._trained) if self._trained is not None else {MASK_OPTION: self._masks}
        yield from iter_senders(senders, {**masks, NAMES_OPTION: self._names})
        yield "data.conversation_input_key_map", self._field, turns.column(self._field)

    def _iter_pieces(self, senders: list[str | None], words: list[str | None]) -> Iterator[_Piece]:
        assert self._template is not None, "text is made with the vocabulary at hand"
        kept: list[str] = []

        def keep(found: re.Match[str]) -> str:
            kept.append(found[0])
            return chr(ord(_FIRST_PRIVATE) + len(kept) - 1)

        def protect(text: str) -> str:
            return text if self._keeps_control else self._protected.sub(keep, text)

        # A control token that a user typed must not become one: it is out of the text while the template is at work.
        turns = [
            {"role": str(self._names[sender]) if sender in self._names else protect(sender), "content": protect(text or "")}
            for sender, text in zip((sender or "" for sender in senders), words, strict=True)
        ]
        for sender, turn, (before, said) in zip(senders, turns, self._template.iter_turns(turns), strict=True):
            weight = self._masks.get(sender or "", self._masks.get(OTHERS, turn["role"] == _TRAINED_ROLE))
            header = bool(self._prefix_mask) if turn["role"] == _TRAINED_ROLE else weight
            yield from _cut(before, header, kept)
            yield from _cut(said, weight, kept)


def _cut(text: str, weight: bool, kept: list[str]) -> Iterator[_Piece]:
    """The pieces of a rendered text, with what was kept out of it back in its places, as plain text."""
    last = 0
    for found in _PRIVATE.finditer(text) if kept else ():
        if found.start() > last:
            yield text[last : found.start()], weight, True
        yield kept[ord(found[0]) - ord(_FIRST_PRIVATE)], weight, False
        last = found.end()
    if last < len(text):
        yield text[last:], weight, True


def _place(rows: pa.RecordBatch, row: int) -> str:
    names = rows.schema.names
    if "file_index" not in names or "line" not in names:
        return f"row {row}"
    return f"file {rows.column('file_index')[row].as_py()}, line {rows.column('line')[row].as_py()}"


def make_chat_template(source: str | None, special_tokens: Mapping[str, Any]) -> ChatTemplate:
    """The chat template of a vocabulary.

    Raises:
        PlanError: When it has none.
    """
    if source is None:
        raise PlanError(
            "data.conversation_template",
            "is tokenizer, but this tokenizer has no chat template",
            "one with a chat_template in its tokenizer_config.json",
            "Take another tokenizer, or data.conversation_format: sender.",
        )
    return ChatTemplate(source, special_tokens)
