"""Templates over conversations: pairs, or turns that name their sender."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import to_arrow, to_numpy
from whelp.base.join_texts import join_columns, join_items
from whelp.prepare.column_templates import IsControl, Named, read_column, text_field
from whelp.prepare.config import OTHERS, TemplateConfig
from whelp.prepare.escapes import decode_escapes
from whelp.prepare.segments import Flags, Pieces, Slots, has_text

_DEFAULT_SENDER_KEY = "sender"
_NAME = "{sender}"  # in a prefix
KEY_OPTION, SENDER_OPTION = "data.conversation_key", "data.conversation_sender_key"
OPTIONS_OF_SENDERS = MASK_OPTION, NAMES_OPTION, SUFFIX_OPTION, TRAINED_OPTION = (
    "data.conversation_sender_mask",
    "data.conversation_sender_value_map",
    "data.conversation_sender_suffix",
    "data.conversation_trained_senders",
)
_CHAT_KEY, _CHAT_FIELD, _CHAT_PREFIX, _CHAT_SUFFIX = (
    "turns",
    "text",
    "{sender}: ",
    "\n",
)  # as `whelp collect folder` writes chats
_MOST_SENDERS = 20  # that are named beside those who are asked for


def _complete_chat(config: TemplateConfig) -> TemplateConfig:
    """Where it is only said whose words are trained, how chats are written: `Name: words`, a line each."""
    return dataclasses.replace(
        config,
        conversation_format="sender",
        conversation_key=config.conversation_key or _CHAT_KEY,
        conversation_input_key_map=config.conversation_input_key_map or {_CHAT_FIELD: _CHAT_PREFIX},
        conversation_sender_suffix=config.conversation_sender_suffix or {OTHERS: _CHAT_SUFFIX},
    )


def choose_masks(config: TemplateConfig) -> dict[str, bool]:
    """Whose words are trained; `OTHERS` stands for all who are not named."""
    if config.trained_senders is None:
        return config.conversation_sender_mask
    return {**dict.fromkeys(config.trained_senders, True), OTHERS: False}


class Conversation:
    """Rows that hold a list of turns, or that are one turn each.

    `iopairs`: each field of a turn in the order of `conversation_input_key_prefix_map`, with its prefix and suffix.
    `sender`: each field of `conversation_input_key_map`, with a prefix that may name the sender, and the sender's suffix.
    """

    name = "conversation"

    def __init__(self, config: TemplateConfig, is_control: IsControl) -> None:
        assert config.conversation_format is not None, "a conversation has a format"
        self._key = config.conversation_key
        self._is_control = is_control
        self._has_senders = config.conversation_format == "sender"
        self._fields_option = f"data.conversation_input_key_{'map' if self._has_senders else 'prefix_map'}"
        self.named_by: str | None = self._fields_option if self._key is None else KEY_OPTION
        self._sender_key = config.conversation_sender_key or _DEFAULT_SENDER_KEY
        self._names = config.conversation_sender_value_map
        prefixes = config.conversation_input_key_map if self._has_senders else config.conversation_input_key_prefix_map
        self._prefixes = {field: decode_escapes(text) for field, text in prefixes.items()}
        masks = choose_masks(config) if self._has_senders else config.conversation_input_key_mask
        self._masks: dict[str, bool] = masks
        self._trained = config.trained_senders
        if not self._has_senders:
            self._prefixes |= {field: "" for field in masks if field not in prefixes}
        self._suffixes = {key: decode_escapes(text) for key, text in config.conversation_sender_suffix.items()}
        self._end = decode_escapes(config.conversation_end_of_conversation or "")
        self._prefix_mask, self._suffix_mask = config.conversation_prefix_mask, config.conversation_suffix_mask
        self._end_mask = config.conversation_end_mask
        inner = [text_field(field) for field in [*([self._sender_key] if self._has_senders else []), *self._prefixes]]
        if self._key is None:
            self.fields = inner
            self.wants = f"one of {', '.join(self._prefixes)}" if len(self._prefixes) > 1 else next(iter(self._prefixes))
        else:
            self.fields = [pa.field(self._key, pa.large_list(pa.struct(inner)))]
            self.wants = f"turns with {' or '.join(self._prefixes)} in {self._key}"

    def find(self, rows: pa.RecordBatch) -> Flags:
        turns, offsets = self._read_turns(rows)
        has_any = np.zeros(turns.num_rows, np.bool_)
        for field in self._prefixes:
            has_any |= has_text(read_column(turns, field))
        before = np.concatenate(([0], np.cumsum(has_any)))
        return np.asarray(before[offsets[1:]] > before[offsets[:-1]], np.bool_)

    def lay_out(self, rows: pa.RecordBatch) -> Pieces:
        turns, offsets = self._read_turns(rows)
        if not self._end:
            return self._lay_out_turns(turns).lay_out(offsets)
        # The end is a piece of its own turn, one more at the end of each row.
        num_rows, num_turns = rows.num_rows, turns.num_rows
        order = np.insert(np.arange(num_turns), offsets[1:], np.arange(num_turns, num_turns + num_rows))
        blank = pa.nulls(num_rows, turns.schema.field(0).type)
        longer = pa.record_batch(
            [pa.concat_arrays([column, blank]).take(to_arrow(order)) for column in turns.columns], names=turns.schema.names
        )
        slots = self._lay_out_turns(longer)
        slots.add_constant(self._end, order >= num_turns, 1, is_control=self._is_control(self._end))
        pieces = slots.lay_out(offsets + np.arange(num_rows + 1))
        last = pieces.row_offsets[1:] - 1
        pieces.weights[last] = pieces.weights[last - 1] if self._end_mask is None else self._end_mask
        return pieces

    def join_values(self, rows: pa.RecordBatch) -> pa.LargeStringArray:
        turns, offsets = self._read_turns(rows)
        return join_items(join_columns([read_column(turns, field) for field in self._prefixes]), offsets)

    def iter_named(self, rows: pa.RecordBatch) -> Iterator[Named]:
        turns, _ = self._read_turns(rows)
        if self._has_senders:
            senders = read_column(turns, self._sender_key)
            yield SENDER_OPTION, self._sender_key, senders
            masks = name_trained(senders, self._trained) if self._trained is not None else {MASK_OPTION: self._masks}
            yield from iter_senders(senders, {**masks, NAMES_OPTION: self._names, SUFFIX_OPTION: self._suffixes})
        yield from ((self._fields_option, field, read_column(turns, field)) for field in self._prefixes)

    def _lay_out_turns(self, turns: pa.RecordBatch) -> Slots:
        slots = Slots(turns.num_rows)
        nobody = np.zeros(turns.num_rows, np.int64)
        for field, prefix in self._prefixes.items():
            values = read_column(turns, field)
            senders, which = self._read_senders(turns) if self._has_senders else ([field], nobody)
            after_others, are_others_trained = self._suffixes.get(OTHERS, ""), self._masks.get(OTHERS, True)
            suffixes = [self._suffixes.get(sender, after_others) for sender in senders]
            weights = np.array([self._masks.get(sender, are_others_trained) for sender in senders], np.uint8)[which]
            is_filled = has_text(values)
            prefix_weights = weights if self._prefix_mask is None else self._prefix_mask
            self._add_prefix(slots, prefix, senders, which, is_filled, prefix_weights)
            slots.add(values, is_filled, weights)
            self._add(slots, suffixes, which, is_filled, weights if self._suffix_mask is None else self._suffix_mask)
        return slots

    def _add_prefix(
        self, slots: Slots, prefix: str, senders: list[str], which: npt.NDArray[np.int64], is_filled: Flags, weights: object
    ) -> None:
        """The prefix before what each sender says. A name in the data that spells a control token is text, in a piece of its own."""
        if not self._has_senders:
            self._add(slots, [prefix], which, is_filled, weights)
            return
        names = [str(self._names.get(sender, sender)) for sender in senders]
        is_apart = [sender not in self._names and self._is_control(sender) for sender in senders]
        whole = ["" if apart else prefix.replace(_NAME, name) for name, apart in zip(names, is_apart, strict=True)]
        self._add(slots, whole, which, is_filled, weights)
        for number, part in enumerate(prefix.split(_NAME) if any(is_apart) else []):
            if number:
                texts = [name if apart else "" for name, apart in zip(names, is_apart, strict=True)]
                slots.add_choice(texts, which, is_filled, weights)
            self._add(slots, [part if apart else "" for apart in is_apart], which, is_filled, weights)

    def _add(self, slots: Slots, texts: list[str], which: npt.NDArray[np.int64], is_filled: Flags, weights: object) -> None:
        is_control = any(self._is_control(text) for text in texts)
        slots.add_choice(texts, which, is_filled, weights, is_control=is_control)

    def _read_senders(self, turns: pa.RecordBatch) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The senders there are, and which one each turn names; a turn without one is from nobody."""
        encoded = pc.fill_null(read_column(turns, self._sender_key), "").dictionary_encode()
        which = to_numpy(encoded.indices).astype(np.int64)
        return encoded.dictionary.to_pylist() or [""], which

    def _read_turns(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """The fields of all turns, and where the turns of each row start (rows + 1)."""
        if self._key is None:
            columns = [read_column(rows, field.name) for field in self.fields]
            return pa.record_batch(columns, names=[field.name for field in self.fields]), np.arange(rows.num_rows + 1)
        return flatten_turns(rows, self._key, self.fields[0].type)


def make_conversation(config: TemplateConfig, is_control: IsControl) -> Conversation:
    """The template of conversations that is asked for: written out, or by whose words are trained."""
    if config.conversation_format is not None:
        return Conversation(config, is_control)
    conversation = Conversation(_complete_chat(config), is_control)
    conversation.named_by = KEY_OPTION if config.conversation_key is not None else TRAINED_OPTION
    return conversation


def iter_senders(senders: pa.LargeStringArray, options: Mapping[str, Iterable[str]]) -> Iterator[Named]:
    """The senders that options call by name, each as often as it speaks."""
    for option, names in options.items():
        for name in (name for name in names if name != OTHERS):
            yield option, name, senders.filter(pc.fill_null(pc.equal(senders, name), False))


def name_trained(senders: pa.LargeStringArray, trained: Iterable[str]) -> dict[str, list[str]]:
    """The senders whose words are trained, and beside them some who speak most, to be named where one of those never does."""
    counts = pc.value_counts(senders.drop_null()).to_pylist()
    most = sorted(counts, key=lambda item: (-item["counts"], item["values"]))[:_MOST_SENDERS]
    return {TRAINED_OPTION: list(dict.fromkeys([*trained, *(item["values"] for item in most if item["values"])]))}


def flatten_turns(rows: pa.RecordBatch, key: str, kind: pa.DataType) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """The fields of all turns of a column of lists, and where the turns of each row start (rows + 1)."""
    if key not in rows.schema.names:
        turns = pa.array([], kind.value_type)
        offsets = np.zeros(rows.num_rows + 1, np.int64)
    else:
        lists = rows.column(key).cast(kind)
        turns = lists.flatten()
        lengths = to_numpy(pc.fill_null(pc.list_value_length(lists), 0))
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    names = [kind.value_type.field(index).name for index in range(kind.value_type.num_fields)]
    return pa.record_batch([pc.struct_field(turns, name) for name in names], names=names), offsets
