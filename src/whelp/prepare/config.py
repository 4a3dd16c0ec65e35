"""How documents become a store, and how a store becomes rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from whelp.base.config import option
from whelp.base.errors import ConfigError
from whelp.prepare.escapes import decode_escapes

DEFAULT_KEYS = ("instruction", "input", "output")
_NOT_OF_CHAT_TEMPLATES = {
    "conversation_input_key_prefix_map",
    "conversation_input_key_mask",
    "conversation_sender_suffix",
    "conversation_end_of_conversation",
    "conversation_suffix_mask",
    "conversation_end_mask",
}
_OF_CONVERSATIONS = _NOT_OF_CHAT_TEMPLATES | {
    "conversation_key",
    "conversation_sender_key",
    "conversation_sender_value_map",
    "conversation_input_key_map",
    "conversation_sender_mask",
    "conversation_prefix_mask",
}
OTHERS = "*"  # in options that go by senders: those that are not named


@dataclass(frozen=True, kw_only=True)
class PieceConfig:
    """One piece of a template: a text of yours, a column, or a control token."""

    text: str | None = option(None, "a text, the same in every row")
    column: str | None = option(None, "a column; a row where it is null or empty has neither it nor its prefix and suffix")
    special: str | None = option(None, "a control token: eos, bos, or one that the vocabulary has, as it spells it")
    train: bool = option(True, "whether its tokens are trained")
    prefix: str = option("", "a text before the column")
    suffix: str = option("", "a text after the column")
    prefix_mask: bool | None = option(None, "whether the prefix is trained; nothing: as the column")
    suffix_mask: bool | None = option(None, "whether the suffix is trained; nothing: as the column")

    def __post_init__(self) -> None:
        given = [name for name in ("text", "column", "special") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ConfigError("data", [f"a piece of data.pieces has {found} of text, column and special, but expected one"])
        if self.column is None and (self.prefix or self.suffix):
            raise ConfigError("data", [f"data.pieces: only a column has a prefix and a suffix, not {given[0]}"])


@dataclass(frozen=True, kw_only=True)
class TemplateConfig:
    """Part of the `data` section: from the columns of a row to text, and which of it is trained.

    A mask says what is trained: true, or false. In prefixes, suffixes and separators `\\n`, `\\t` and `\\r` work.
    """

    multi_column_keys: list[str] | None = option(
        None, "columns that make a text together; nothing: instruction, input, output; []: no such columns"
    )
    multi_column_prefix: list[str | None] | None = option(
        None, "a text before each column; nothing: Instruction:\\n, Input:\\n, Output:\\n before those three, else none"
    )
    multi_column_suffix: list[str | None] | None = option(None, "a text after each column")
    multi_column_train_mask: list[bool] | None = option(
        None, "whether each column is trained; nothing: all but input of those three, else all"
    )
    multi_column_separator: str | None = option(r"\n\n", "a text between two columns")
    multi_column_prefix_mask: bool | list[bool] | None = option(
        None, "whether prefixes are trained, one for all or one each; nothing: as their columns"
    )
    multi_column_suffix_mask: bool | list[bool] | None = option(
        None, "whether suffixes are trained, one for all or one each; nothing: as their columns"
    )
    multi_column_separator_mask: bool | None = option(
        None, "whether separators are trained; nothing: as the column that follows"
    )
    disable_prompt_completion_mask: bool = option(False, "train prompts, too, not completions alone")
    conversation_format: Literal["iopairs", "sender"] | None = option(
        None, "rows that are conversations: of pairs with a field for each side, or of turns that name their sender"
    )
    conversation_template: Literal["tokenizer"] | None = option(
        None, "tokenizer: write conversations of turns as the chat template of the vocabulary does"
    )
    conversation_key: str | None = option(
        None, "the column that holds the turns; nothing: the row itself is one (of a chat template: messages)"
    )
    conversation_input_key_prefix_map: dict[str, Any] = option({}, "iopairs: each field of a pair, and the text before it")
    conversation_input_key_mask: dict[str, Any] = option({}, "iopairs: whether each field is trained; default: yes")
    conversation_sender_key: str | None = option(
        None, "the field of a turn that names the sender; nothing: sender (of a chat template: role)"
    )
    conversation_sender_value_map: dict[str, Any] = option({}, "sender: what senders are called in the text")
    conversation_input_key_map: dict[str, Any] = option(
        {}, "sender: each field of a turn that holds text, and the text before it, with {sender} in it"
    )
    conversation_sender_suffix: dict[str, Any] = option(
        {}, "the text after what a sender says (iopairs: after a field); '*': after what all others say"
    )
    conversation_sender_mask: dict[str, Any] = option(
        {},
        "whether what each sender says is trained, and '*': what all others say; default: yes (of a chat template: the assistant's)",
    )
    conversation_trained_senders: str | list[str] | None = option(
        None,
        "train what this sender says, or these (a list), given what the others say; without another option of conversations, in chats as "
        "`whelp collect folder` writes them",
        known_as=("train_on_sender", "roles_to_train"),
    )
    conversation_end_of_conversation: str | None = option(None, "a text after the last turn")
    conversation_prefix_mask: bool | None = option(None, "whether prefixes are trained; nothing: as what follows them")
    conversation_suffix_mask: bool | None = option(None, "whether suffixes are trained; nothing: as what they follow")
    conversation_end_mask: bool | None = option(
        None, "whether conversation_end_of_conversation is trained; nothing: as what it follows"
    )
    pieces: list[PieceConfig] = option([], "a template of your own, piece by piece, instead of all others")
    data_prefix_skip_mask: int = option(0, "so many tokens at the start of every row are not trained", at_least=0)
    special_tokens_in_text: bool = option(
        False, "a control token spelled in your text, such as <|endoftext|>, becomes one; false: it stays text"
    )

    def __post_init__(self) -> None:
        problems = [*self._check_columns(), *self._check_conversation()]
        if self.pieces:
            others = [
                name
                for name in ("conversation_format", "conversation_template", "conversation_trained_senders")
                if getattr(self, name) is not None
            ]
            others += ["multi_column_keys"] if self.multi_column_keys else []
            problems += [f"data.pieces and data.{name} are both set. Keep one of them" for name in others]
            if not any(piece.column for piece in self.pieces):
                problems.append("data.pieces names no column, so every row would be the same")
        if problems:
            raise ConfigError("data", problems)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a text of several, in order."""
        return DEFAULT_KEYS if self.multi_column_keys is None else tuple(self.multi_column_keys)

    def _check_columns(self) -> list[str]:
        problems = []
        for name in ("prefix", "suffix", "train_mask", "prefix_mask", "suffix_mask"):
            values = getattr(self, f"multi_column_{name}")
            if self.columns and isinstance(values, list) and len(values) != len(self.columns):
                problems.append(
                    f"data.multi_column_{name} has {len(values)} entries, but data.multi_column_keys {len(self.columns)}"
                )
        if len(set(self.columns)) < len(self.columns):
            problems.append("data.multi_column_keys names a column twice")
        return problems

    @property
    def trained_senders(self) -> list[str] | None:
        """Those whose words alone are trained; None where it is not said so."""
        senders = self.conversation_trained_senders
        return [senders] if isinstance(senders, str) else senders

    def _check_conversation(self) -> list[str]:
        problems = []
        for name in ("input_key_mask", "sender_mask"):
            for key, value in getattr(self, f"conversation_{name}").items():
                if not isinstance(value, bool):
                    problems.append(f"data.conversation_{name}.{key} is {value!r}, but expected true or false")
        for name in ("input_key_prefix_map", "sender_value_map", "input_key_map", "sender_suffix"):
            for key, value in getattr(self, f"conversation_{name}").items():
                if not isinstance(value, str):
                    problems.append(f"data.conversation_{name}.{key} is {value!r}, but expected text")
        given = [
            field.name
            for field in fields(self)
            if field.name in _OF_CONVERSATIONS and getattr(self, field.name) not in (None, {})
        ]
        if self.conversation_template is not None:
            problems += [
                f"data.{name} is set, but a chat template decides that. Remove it, or use data.conversation_format"
                for name in given
                if name in _NOT_OF_CHAT_TEMPLATES
            ]
        elif self.conversation_format is None and self.conversation_trained_senders is None and given:
            problems.append(
                f"data.{given[0]} is set, but no conversation is asked for: set data.conversation_format or conversation_template"
            )
        if self.conversation_trained_senders is not None:
            if self.conversation_format == "iopairs":
                problems.append(
                    "data.conversation_trained_senders is set, but pairs name no sender. Set data.conversation_input_key_mask"
                )
            if self.conversation_sender_mask:
                problems.append(
                    "data.conversation_trained_senders and data.conversation_sender_mask are both set. Keep one of them"
                )
            if not self.conversation_trained_senders:
                problems.append("data.conversation_trained_senders is empty, so nothing is trained; leave it out")
            elif OTHERS in (self.trained_senders or []):
                problems.append(
                    f"data.conversation_trained_senders takes names, and {OTHERS!r} is none. Leave it out to train all"
                )
        if self.conversation_format is not None and self.conversation_template is not None:
            problems.append("data.conversation_format and data.conversation_template are both set. Keep one of them")
        if self.conversation_format == "iopairs" and not self.conversation_input_key_prefix_map:
            problems.append(
                "data.conversation_format is iopairs, but data.conversation_input_key_prefix_map names no field. "
                "Example: {question: 'Q: ', answer: 'A: '}"
            )
        if self.conversation_format == "sender" and not self.conversation_input_key_map:
            problems.append(
                "data.conversation_format is sender, but data.conversation_input_key_map names no field. "
                "Example: {message: '\\n\\n{sender}: '}"
            )
        return problems


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Part of the `data` section: from documents to the store."""

    separator: str = option("eos", "what follows every document: eos, newline, none, or any text of your own (\\n works in it)")
    separator_mask: bool = option(True, "whether what follows every document is trained")
    min_token_size: int = option(1, "drop documents of fewer tokens, the separator not counted", at_least=0)
    max_token_size: int = option(-1, "drop documents of more tokens; -1: no limit", at_least=-1)
    test_split: int | float = option(
        0.01,
        "held-out documents: a share below 1, or a number of documents; 0: none",
        at_least=0,
        known_as=("test_size", "val_split", "validation_split", "val_size"),
    )
    test_split_by: Literal["auto", "document", "tail"] = option(
        "auto", "hold out whole documents, or the tail of each document; auto: the tail when there are fewer than 20"
    )
    test_split_shuffle: bool = option(True, "hold out documents drawn evenly at random; false: the last ones")

    def __post_init__(self) -> None:
        if 0 <= self.max_token_size < self.min_token_size:
            raise ConfigError(
                "data", [f"data.max_token_size ({self.max_token_size}) is below data.min_token_size ({self.min_token_size})"]
            )
        if self.test_split > 1 and not float(self.test_split).is_integer():
            raise ConfigError(
                "data", [f"data.test_split is {self.test_split}: give a share below 1 or a whole number of documents"]
            )
        if self.test_split_by == "tail" and self.test_split >= 1:
            raise ConfigError("data", ["data.test_split_by: tail needs a data.test_split below 1, a share of each document"])

    @property
    def separator_text(self) -> str | None:
        """The literal text after every document; None for `eos`, "" for `none`."""
        if self.separator == "eos":
            return None
        if self.separator in ("none", "newline"):
            return "" if self.separator == "none" else "\n"
        return decode_escapes(self.separator)


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """The `pack` section: from the store to rows."""

    context_tokens: int = option(
        256,
        "tokens in a training row",
        at_least=2,
        known_as=(
            "block_size",
            "context_length",
            "seq_length",
            "seq_len",
            "sequence_length",
            "sequence_len",
            "max_seq_len",
            "max_length",
            "ctx_len",
            "n_ctx",
            "n_positions",
        ),
    )
    plan: Literal["concat", "best_fit", "none", "stream"] = option(
        "concat",
        "concat: documents joined end to end, cut into rows; best_fit: whole documents put together so that rows are full; "
        "none: one document a row; stream: as concat, the documents in a new order every epoch",
        known_as=("packing", "pack"),
    )
    last: Literal["pad", "drop", "carry"] = option(
        "pad", "concat: the last, shorter row: pad it (pads are never targets), drop it, or let it open the next epoch"
    )
    long: Literal["split", "truncate"] = option(
        "split", "none: a document longer than a row: split it over several rows, or leave its rest out"
    )
    pad_to: Literal["longest", "context"] = option(
        "longest", "none: pad a batch to its longest row, or always to context_tokens (one shape, for train.compile)"
    )
    isolate_documents: bool | Literal["auto"] = option(
        "auto", "documents in one row do not see each other, and positions begin anew in each; auto: with best_fit and none"
    )

    def __post_init__(self) -> None:
        problems = [
            f"pack.{name} is for the plan {plan}, but pack.plan is {self.plan}. Remove it, or use pack.plan={plan}"
            for name, default, plan in (("last", "pad", "concat"), ("long", "split", "none"), ("pad_to", "longest", "none"))
            if getattr(self, name) != default and self.plan != plan
        ]
        if self.plan == "none" and self.isolate_documents is False:
            problems.append("pack.isolate_documents is false, but with pack.plan=none a row is one document. Remove it")
        if problems:
            raise ConfigError("pack", problems)

    @property
    def isolates(self) -> bool:
        """Whether documents in one row are kept from each other."""
        return self.plan in ("best_fit", "none") if self.isolate_documents == "auto" else self.isolate_documents
