"""Templates over columns of text: one column, several of them, prompt and completion, pieces of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from whelp.base.arrays import find_valid
from whelp.base.join_texts import join_columns
from whelp.prepare.config import DEFAULT_KEYS, PieceConfig, TemplateConfig
from whelp.prepare.escapes import decode_escapes
from whelp.prepare.segments import Flags, Pieces, Slots, has_text

_DEFAULT_PREFIXES = {"instruction": "Instruction:\n", "input": "Input:\n", "output": "Output:\n"}
_UNTRAINED = {"input"}
ANSWER = "output"

IsControl = Callable[[str], bool]  # whether a text of the recipe spells a control token
Named = tuple[str, str, pa.LargeStringArray]  # an option, a name in it, and what stands there in each row or turn


class Strategy(Protocol):
    """One way to make text of a row.

    Attributes:
        name: As the ledger counts it.
        fields: The columns that it reads, as Arrow fields.
        wants: What a row must have, in words.
        named_by: The option of the recipe that calls its columns by name.
    """

    name: str
    fields: list[pa.Field]
    wants: str
    named_by: str | None

    def find(self, rows: pa.RecordBatch) -> Flags:
        """Which rows it can make text of."""

    def lay_out(self, rows: pa.RecordBatch) -> Pieces:
        """The pieces of rows that it can make text of."""

    def join_values(self, rows: pa.RecordBatch) -> pa.LargeStringArray:
        """What rows say by themselves, without names of senders and what the recipe puts around it: each value on a line."""

    def iter_named(self, rows: pa.RecordBatch) -> Iterator[Named]:
        """The columns, or the fields of turns, that the recipe calls by name."""


def text_field(name: str) -> pa.Field:
    """A column of text."""
    return pa.field(name, pa.large_string())


def read_column(rows: pa.RecordBatch, name: str) -> pa.LargeStringArray:
    """A column of text; nulls where the rows do not have it."""
    if name not in rows.schema.names:
        return pa.nulls(rows.num_rows, pa.large_string())
    column = rows.column(name)
    return column if pa.types.is_large_string(column.type) else column.cast(pa.large_string())


class _OfColumns:
    """A strategy over columns of text."""

    fields: list[pa.Field]
    named_by: str | None = None

    def join_values(self, rows: pa.RecordBatch) -> pa.LargeStringArray:
        return join_columns([read_column(rows, field.name) for field in self.fields])

    def iter_named(self, rows: pa.RecordBatch) -> Iterator[Named]:
        if self.named_by is not None:
            yield from ((self.named_by, field.name, read_column(rows, field.name)) for field in self.fields)


class TextColumn(_OfColumns):
    """One column is the text; all of it is trained."""

    def __init__(self, name: str, column: str) -> None:
        self.name, self.wants = name, column
        self.fields = [text_field(column)]
        self._column = column

    def find(self, rows: pa.RecordBatch) -> Flags:
        return find_valid(read_column(rows, self._column))

    def lay_out(self, rows: pa.RecordBatch) -> Pieces:
        return Pieces(
            texts=read_column(rows, self._column),
            weights=np.ones(rows.num_rows, np.uint8),
            row_offsets=np.arange(rows.num_rows + 1),
        )


class PromptCompletion(_OfColumns):
    """Two columns, nothing between them; the prompt is not trained unless asked for."""

    name = "prompt_completion"
    wants = "prompt and completion"

    def __init__(self, *, trains_prompt: bool) -> None:
        self.fields = [text_field("prompt"), text_field("completion")]
        self._trains_prompt = trains_prompt

    def find(self, rows: pa.RecordBatch) -> Flags:
        return find_valid(read_column(rows, "prompt")) & find_valid(read_column(rows, "completion"))

    def lay_out(self, rows: pa.RecordBatch) -> Pieces:
        slots = Slots(rows.num_rows)
        for name, weight in (("prompt", self._trains_prompt), ("completion", True)):
            values = read_column(rows, name)
            slots.add(values, has_text(values), weight)
        return slots.lay_out()


class MultiColumn(_OfColumns):
    """Several columns, each with a prefix and a suffix, a separator between two; a column without text is left out.

    A separator belongs to the column after it: it is there, and it is trained, as that one is. `sufficient` are the columns of
    which a row must have one.
    """

    def __init__(self, name: str, config: TemplateConfig, is_control: IsControl, sufficient: Sequence[str]) -> None:
        self.name, self._sufficient = name, sufficient
        self.named_by = None if config.columns == DEFAULT_KEYS else "data.multi_column_keys"
        self._columns = config.columns
        self.fields = [text_field(column) for column in self._columns]
        self._weights = _choose_trained(config)
        prefixes = config.multi_column_prefix
        if prefixes is None:
            prefixes = [_DEFAULT_PREFIXES[column] if _has_default_names(config) else "" for column in self._columns]
        self._prefixes = [decode_escapes(text or "") for text in prefixes]
        self._suffixes = [decode_escapes(text or "") for text in config.multi_column_suffix or [""] * len(self._columns)]
        self._separator = decode_escapes(config.multi_column_separator or "")
        self._prefix_weights = _choose_weights(config.multi_column_prefix_mask, self._weights)
        self._suffix_weights = _choose_weights(config.multi_column_suffix_mask, self._weights)
        self._separator_weights = _choose_weights(config.multi_column_separator_mask, self._weights)
        self._is_control = is_control
        self.wants = f"one of {', '.join(sufficient)}" if len(sufficient) > 1 else sufficient[0]

    def find(self, rows: pa.RecordBatch) -> Flags:
        return _have_text(rows, self._sufficient)

    def lay_out(self, rows: pa.RecordBatch) -> Pieces:
        slots = Slots(rows.num_rows)
        has_before = np.zeros(rows.num_rows, np.bool_)
        for index, column in enumerate(self._columns):
            values = read_column(rows, column)
            is_filled = has_text(values)
            self._add(slots, self._separator, is_filled & has_before, self._separator_weights[index])
            self._add(slots, self._prefixes[index], is_filled, self._prefix_weights[index])
            slots.add(values, is_filled, self._weights[index])
            self._add(slots, self._suffixes[index], is_filled, self._suffix_weights[index])
            has_before |= is_filled
        return slots.lay_out()

    def _add(self, slots: Slots, text: str, is_filled: Flags, weight: bool) -> None:
        slots.add_constant(text, is_filled, weight, is_control=self._is_control(text))


def make_multi_column(config: TemplateConfig, is_control: IsControl) -> list[MultiColumn]:
    """The ways to make text of several columns, if there are columns.

    Columns that nobody named must not turn a row of another kind into one of nothing to train, so one that is trained is
    needed; and rows without an answer are counted apart, since they may have it in a column of another name.
    """
    columns = config.columns
    if config.multi_column_keys is not None:
        return [MultiColumn("multi_column", config, is_control, columns)] if columns else []
    trained = [column for column, weight in zip(columns, _choose_trained(config), strict=True) if weight]
    answers = [column for column in trained if column == ANSWER]
    others = [column for column in trained if column != ANSWER]
    ways = [("multi_column", answers), (f"multi_column without {ANSWER}" if answers else "multi_column", others)]
    return [MultiColumn(name, config, is_control, sufficient) for name, sufficient in ways if sufficient]


def _has_default_names(config: TemplateConfig) -> bool:
    return set(config.columns) <= set(_DEFAULT_PREFIXES)


def _choose_trained(config: TemplateConfig) -> list[bool]:
    """Whether each column is trained."""
    if config.multi_column_train_mask is not None:
        return list(config.multi_column_train_mask)
    return [not _has_default_names(config) or column not in _UNTRAINED for column in config.columns]


class PieceByPiece(_OfColumns):
    """A template written out: texts, columns and control tokens in any order."""

    name = "pieces"
    named_by: str | None = "data.pieces"

    def __init__(self, pieces: Sequence[PieceConfig], is_control: IsControl, spell: Callable[[str], str]) -> None:
        self._pieces = pieces
        columns = list(dict.fromkeys(piece.column for piece in pieces if piece.column is not None))
        self.fields = [text_field(column) for column in columns]
        self.wants = f"one of {', '.join(columns)}" if len(columns) > 1 else columns[0]
        self._columns = columns
        self._is_control = is_control
        self._spelled = [spell(piece.special) if piece.special is not None else "" for piece in pieces]

    def find(self, rows: pa.RecordBatch) -> Flags:
        return _have_text(rows, self._columns)

    def lay_out(self, rows: pa.RecordBatch) -> Pieces:
        slots = Slots(rows.num_rows)
        everywhere = np.ones(rows.num_rows, np.bool_)
        for piece, spelled in zip(self._pieces, self._spelled, strict=True):
            if piece.special is not None:
                slots.add_constant(spelled, everywhere, piece.train, is_control=True)
            elif piece.text is not None:
                self._add(slots, piece.text, everywhere, piece.train)
            else:
                values = read_column(rows, piece.column or "")
                is_filled = has_text(values)
                before = piece.train if piece.prefix_mask is None else piece.prefix_mask
                after = piece.train if piece.suffix_mask is None else piece.suffix_mask
                self._add(slots, piece.prefix, is_filled, before)
                slots.add(values, is_filled, piece.train)
                self._add(slots, piece.suffix, is_filled, after)
        return slots.lay_out()

    def _add(self, slots: Slots, text: str, is_filled: Flags, weight: bool) -> None:
        decoded = decode_escapes(text)
        slots.add_constant(decoded, is_filled, weight, is_control=self._is_control(decoded))


def _have_text(rows: pa.RecordBatch, columns: Iterable[str]) -> Flags:
    """Whether any of the columns has text, row by row."""
    found = np.zeros(rows.num_rows, np.bool_)
    for column in columns:
        found |= has_text(read_column(rows, column))
    return found


def _choose_weights(asked: bool | list[bool] | None, weights: list[bool]) -> list[bool]:
    """What was asked, one for all or one each; nothing: as the columns."""
    if asked is None:
        return weights
    return list(asked) if isinstance(asked, list) else [asked] * len(weights)
