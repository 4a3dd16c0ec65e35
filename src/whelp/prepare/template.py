"""From the columns of a row to pieces of text, each trained or not.

    template = make_template(TemplateConfig())
    template.schema                     # the columns that it can use: instruction, input, output, prompt, ...
    template.segment(rows)              # pieces: texts, weights, row_offsets

Of several ways to make text of a row the first that fits it is taken, row by row: `custom_text_key`, a conversation, several
columns, prompt and completion, `text`. `pieces` stands instead of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.arrays import to_arrow
from whelp.base.errors import ConfigError, PlanError
from whelp.base.hashing import hash_json
from whelp.prepare.chat_template import ChatConversation, make_chat_template
from whelp.prepare.column_templates import (
    ANSWER,
    MultiColumn,
    PieceByPiece,
    PromptCompletion,
    Strategy,
    TextColumn,
    make_multi_column,
)
from whelp.prepare.config import TemplateConfig
from whelp.prepare.conversation_templates import make_conversation
from whelp.prepare.segments import Pieces, Segments, has_text, merge, no_pieces
from whelp.prepare.spelled import SpelledTokens

NO_TEXT = "no text for the template"
_NOT_COLUMNS = ("file_index", "line")


class SpellerLike(Protocol):
    """What a template asks of a vocabulary."""

    @property
    def eos_id(self) -> int | None: ...
    @property
    def bos_id(self) -> int | None: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def chat_template(self) -> str | None: ...
    def id_of(self, token: str) -> int | None: ...
    def token_text(self, token_id: int) -> str: ...


@dataclass(frozen=True)
class BadValue:
    """Why a row cannot be used: what it is counted as, and two parts of an error."""

    reason: str
    found: str
    expected: str


class Template:
    """Makes pieces of text of rows. `config` says how, `strategies` are tried in order.

    `chat_template` is the vocabulary's, where it is used.
    """

    def __init__(
        self,
        config: TemplateConfig,
        strategies: Sequence[Strategy],
        text_key: str | None,
        vocabulary: SpellerLike | None,
        chat_template: str | None = None,
    ) -> None:
        self.config, self.strategies, self._text_key, self._vocabulary = config, tuple(strategies), text_key, vocabulary
        self.chat_template = chat_template
        self._spelled = SpelledTokens(_list_control_tokens(vocabulary))
        self._wanted = "text in " + ", or in ".join(strategy.wants for strategy in strategies)
        fields: dict[str, pa.Field] = {}
        for field in (field for strategy in strategies for field in strategy.fields):
            known = fields.setdefault(field.name, field)
            if known.type != field.type:
                raise ConfigError("data", [f"the column {field.name} cannot hold both text and a conversation"])
        self.schema = pa.schema(list(fields.values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_again, (self.config, self._text_key, self._vocabulary)

    @property
    def options(self) -> dict[str, Any]:
        """The options that it was made from."""
        values = asdict(self.config)
        return {field.name: values[field.name] for field in fields(TemplateConfig)}

    @property
    def fingerprint(self) -> str:
        """The same for templates that make the same of the same rows."""
        return hash_json({**self.options, "custom_text_key": self._text_key, "chat_template": self.chat_template})

    @property
    def companions(self) -> dict[str, str]:
        """Columns that nobody named, and the one that a file must have as well for them to be used."""
        default = next((strategy for strategy in self.strategies if isinstance(strategy, MultiColumn)), None)
        if default is None or self.config.multi_column_keys is not None:
            return {}
        others = [strategy for strategy in self.strategies if not isinstance(strategy, MultiColumn)]
        named = {field.name for strategy in others for field in strategy.fields}
        return {field.name: ANSWER for field in default.fields if field.name != ANSWER and field.name not in named}

    @property
    def named(self) -> dict[str, str]:
        """Columns that the recipe calls by name, and the option that does."""
        named = dict.fromkeys(self.config.multi_column_keys or [], "data.multi_column_keys")
        for strategy in self.strategies:
            if strategy.named_by is not None:
                named |= {field.name: strategy.named_by for field in strategy.fields}
        return {column: option for column, option in named.items() if column in self.schema.names}

    def find_bad(self, rows: pa.RecordBatch) -> dict[int, BadValue]:
        """The rows that no strategy can make text of, by their index in the batch."""
        bad = {}
        for row in np.flatnonzero(self._choose(rows) < 0).tolist():
            one = rows.slice(row, 1)
            names = [name for name in rows.schema.names if name not in _NOT_COLUMNS and _has_any(one.column(name))]
            if names:
                found = f"text is in {', '.join(names)} alone, of the columns that are looked for"
            else:
                found = "null, empty or missing text in every column that is looked for"
            bad[row] = BadValue(NO_TEXT, found, self._wanted)
        return bad

    def segment(self, rows: pa.RecordBatch) -> Segments:
        """The pieces of all rows; a row that no strategy can make text of has none."""
        chosen = self._choose(rows)
        used = np.unique(chosen).tolist()
        if len(used) == 1:
            pieces = self._lay_out(used[0], rows)
        else:
            masks = [chosen == number for number in used]
            groups = [self._lay_out(number, rows.filter(to_arrow(mask))) for number, mask in zip(used, masks, strict=True)]
            pieces = merge(groups, np.searchsorted(used, chosen)) if groups else no_pieces(rows.num_rows)
        return Segments(**vars(pieces), strategies=chosen, names=tuple(strategy.name for strategy in self.strategies))

    def join_values(self, rows: pa.RecordBatch) -> pa.LargeStringArray:
        """What each row says by itself, in the columns that its strategy reads: each value on a line.

        Of a row that no strategy can make text of it is the empty text.
        """
        chosen = self._choose(rows)
        order = np.argsort(chosen, kind="stable")
        parts = []
        for number in np.unique(chosen).tolist():
            here = rows if chosen[order[0]] == chosen[order[-1]] else rows.filter(to_arrow(chosen == number))
            nothing = pa.array([""] * here.num_rows, pa.large_string())
            parts.append(nothing if number < 0 else self.strategies[number].join_values(here))
        if len(parts) < 2:
            return parts[0] if parts else pa.array([], pa.large_string())
        return pa.concat_arrays(parts).take(to_arrow(np.argsort(order)))

    def count_named(self, rows: pa.RecordBatch) -> dict[str, int]:
        """In how many rows, or turns, there is text where the recipe looks by name: `OPTION: NAME`, and the count."""
        named = [one for strategy in self.strategies for one in strategy.iter_named(rows)]
        return {f"{option}: {name}": int(np.count_nonzero(has_text(values))) for option, name, values in named}

    def count_spelled(self, pieces: Pieces) -> int:
        """How many pieces spell a control token that stays text: nobody meant it to be one, or has not said so."""
        if self.config.special_tokens_in_text:
            return 0
        is_control = pieces.is_control
        return self._spelled.count_texts(pieces.texts if is_control is None else pieces.texts.filter(to_arrow(~is_control)))

    def _lay_out(self, number: int, rows: pa.RecordBatch) -> Pieces:
        return no_pieces(rows.num_rows) if number < 0 else self.strategies[number].lay_out(rows)

    def _choose(self, rows: pa.RecordBatch) -> npt.NDArray[np.int8]:
        """Which strategy each row takes; -1: none fits."""
        chosen = np.full(rows.num_rows, -1, np.int8)
        columns = zip(rows.schema.names, rows.columns, strict=True)
        names = {name for name, values in columns if values.null_count < len(values)}  # nothing is found where all is null
        for number, strategy in enumerate(self.strategies):
            if not names.isdisjoint(field.name for field in strategy.fields):
                chosen[(chosen < 0) & strategy.find(rows)] = number
        return chosen


def _has_any(values: pa.Array) -> bool:
    """Whether the first value of a column is neither null nor empty."""
    value = values[0].as_py()
    return value is not None and len(value) > 0


def make_template(config: TemplateConfig, *, text_key: str | None = None, vocabulary: SpellerLike | None = None) -> Template:
    """Make a template.

    Args:
        text_key: The column of `custom_text_key`: where a row has it, it is the text.
        vocabulary: Spells control tokens, and has the chat template. Without one, `schema` and `find_bad` are all there is.

    Raises:
        PlanError: When the vocabulary lacks a control token, or the chat template, that is asked for.
    """
    control = _list_control_tokens(vocabulary)

    def is_control(text: str) -> bool:
        return any(token in text for token in control)

    def spell(special: str) -> str:
        return _spell_control(special, vocabulary)

    if config.pieces:
        return Template(config, [PieceByPiece(config.pieces, is_control, spell)], None, vocabulary)
    strategies: list[Strategy] = []
    if text_key is not None:
        strategies.append(TextColumn("custom_text_key", text_key))
    source = None
    if config.conversation_template is not None:
        chat = None
        if vocabulary is not None:
            source = vocabulary.chat_template
            chat = make_chat_template(source, _name_control_tokens(vocabulary))
        strategies.append(ChatConversation(config, chat, control))
    elif config.conversation_format is not None or config.conversation_trained_senders is not None:
        strategies.append(make_conversation(config, is_control))
    strategies += make_multi_column(config, is_control)
    strategies.append(PromptCompletion(trains_prompt=config.disable_prompt_completion_mask))
    if text_key != "text":
        strategies.append(TextColumn("text", "text"))
    return Template(config, strategies, text_key, vocabulary, source)


def _make_again(config: TemplateConfig, text_key: str | None, vocabulary: SpellerLike | None) -> Template:
    """A template elsewhere, from what it was made from."""
    return make_template(config, text_key=text_key, vocabulary=vocabulary)


def _list_control_tokens(vocabulary: SpellerLike | None) -> list[str]:
    if vocabulary is None:
        return []
    return sorted(vocabulary.token_text(token_id) for token_id in vocabulary.special_ids)


def _name_control_tokens(vocabulary: SpellerLike) -> dict[str, str]:
    """As chat templates call them."""
    ids = {"eos_token": vocabulary.eos_id, "bos_token": vocabulary.bos_id}
    return {name: "" if token_id is None else vocabulary.token_text(token_id) for name, token_id in ids.items()}


def _spell_control(special: str, vocabulary: SpellerLike | None) -> str:
    if vocabulary is None:
        return special
    roles = {"eos": vocabulary.eos_id, "bos": vocabulary.bos_id}
    token_id = roles[special] if special in roles else vocabulary.id_of(special)
    if token_id is None or token_id not in vocabulary.special_ids:
        known = ", ".join(_list_control_tokens(vocabulary)) or "none"
        raise PlanError(
            "data.pieces",
            f"special: {special} is no control token of this tokenizer",
            f"eos, bos or one of those it has ({known})",
            "",
        )
    return vocabulary.token_text(token_id)
