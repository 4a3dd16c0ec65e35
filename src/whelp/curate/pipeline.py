"""All rules that look at one document alone, in order: rows of a partition in, kept and dropped rows out.

    pipeline = Pipeline(CurateConfig(preset="prose"))
    part = pipeline.apply(batch)            # part.kept, part.dropped (with rule and reason), part.counts

A pipeline travels to other machines as its configuration; the rules are made where they run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.errors import PlanError
from whelp.curate.config import CurateConfig
from whelp.curate.rules.boilerplate import BoilerplateLines
from whelp.curate.rules.c4 import C4
from whelp.curate.rules.characters_per_token import CharactersPerToken, EncoderLike
from whelp.curate.rules.code import ConfigOrTest, FewSignsOfCode, GeneratedCode
from whelp.curate.rules.contamination import Contamination, EvaluationIndex
from whelp.curate.rules.encoding_repair import EncodingRepair
from whelp.curate.rules.fineweb import FineWeb
from whelp.curate.rules.gopher_quality import GopherQuality
from whelp.curate.rules.language import Language
from whelp.curate.rules.lengths import Alphanumeric, Length, LineLengths
from whelp.curate.rules.outcome import KEEP, Outcome, Rule
from whelp.curate.rules.personal_data import PersonalData
from whelp.curate.rules.repetition import Repetition
from whelp.curate.signatures import Signatures, join_signatures, make_signatures
from whelp.curate.texts import Texts, cut_blocks

PLACES = ("file_index", "line")
NOTE_SEVERAL_COLUMNS = "rows of several columns: lines and paragraphs stay as they are"
_RULES: dict[str, Callable[[Any], Rule]] = {
    "encoding_repair": EncodingRepair,
    "personal_data": PersonalData,
    "boilerplate_lines": BoilerplateLines,
    "c4": C4,
    "length": Length,
    "alphanumeric": Alphanumeric,
    "line_lengths": LineLengths,
    "repetition": Repetition,
    "gopher_quality": GopherQuality,
    "fineweb": FineWeb,
    "generated_code": GeneratedCode,
    "config_or_test": ConfigOrTest,
    "few_signs_of_code": FewSignsOfCode,
    "language": Language,
}
_OF_VALUES = {"encoding_repair", "personal_data"}  # they change each value of a row by itself
_OF_LINES = {"boilerplate_lines", "c4"}  # they need a row that is one text
_WORTH_KEEPING = 0.8  # of the texts of a block, so many must be left
_NUM_SIZES = 40  # powers of two


@dataclass(frozen=True, kw_only=True)
class CuratedPart:
    """A partition after the rules: `kept` rows as they are now; `dropped` rows as they were, with `rule` and `reason`.

    `sizes_in` and `sizes_kept` count documents by the power of two of their characters.
    """

    kept: pa.RecordBatch
    dropped: pa.RecordBatch
    signatures: Signatures
    documents_in: int
    bytes_in: int
    bytes_kept: int
    changes: dict[str, int]  # "rule: what" -> how many
    notes: dict[str, int]
    sizes_in: list[int]
    sizes_kept: list[int]


class Pipeline:
    """The rules of a configuration.

    Args:
        index: What the model is to be measured on, where that is to be dropped.
        vocabulary: What counts tokens, where characters per token are asked for.
    """

    def __init__(
        self, config: CurateConfig, *, index: EvaluationIndex | None = None, vocabulary: EncoderLike | None = None
    ) -> None:
        self.config, self.index, self.vocabulary = config, index, vocabulary

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "index": self.index, "vocabulary": self.vocabulary}

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """The rules that are on, in order."""
        made: dict[str, Rule] = {}
        for name, config in self.config.rules().items():
            if name in _RULES:
                made[name] = _RULES[name](config)
            elif name == "characters_per_token":
                assert self.vocabulary is not None, "characters per token need a vocabulary"
                made[name] = CharactersPerToken(config, self.vocabulary)
            elif name == "decontaminate" and self.index is not None and self.index.runs:
                made[name] = Contamination(self.index)
        return made

    def apply(self, batch: pa.RecordBatch) -> CuratedPart:
        """Judge the rows of a partition.

        Args:
            batch: Columns of text, those to keep beside them, `file_index` and `line`.

        Raises:
            PlanError: When a column holds conversations.
        """
        names = self._text_columns(batch)
        whole = join_columns(batch, names)
        changes, reasons = Counter[str](), _Reasons()
        paragraphs = self.config.find("duplicate_paragraphs") if len(names) == 1 else None
        near = self.config.find("near_duplicates")
        kept, codes, signatures = [], [], []
        for first, end in cut_blocks(whole):
            block = _Block(batch.slice(first, end - first), names)
            self._apply_to_block(block, changes, reasons)
            kept.append(block.kept)
            codes.append(block.codes)
            signatures.append(make_signatures(block.texts, near, paragraphs).choose(block.is_open))
        code = np.concatenate(codes) if codes else np.zeros(0, np.int64)
        rows = pa.Table.from_batches(kept, batch.schema).combine_chunks().to_batches() if kept else []
        left = rows[0] if rows else batch.slice(0, 0)
        text = join_columns(left, names)
        return CuratedPart(
            kept=left,
            dropped=reasons.add_columns(batch, code),
            signatures=join_signatures(signatures or [make_signatures(Texts(text), near, paragraphs)]),
            documents_in=batch.num_rows,
            bytes_in=_num_bytes(whole),
            bytes_kept=_num_bytes(text),
            changes=dict(changes),
            notes={NOTE_SEVERAL_COLUMNS: batch.num_rows} if len(names) > 1 and _OF_LINES & set(self.rules) else {},
            sizes_in=count_sizes(whole),
            sizes_kept=count_sizes(text),
        )

    def _text_columns(self, batch: pa.RecordBatch) -> list[str]:
        others = {*PLACES, *self.config.keep_columns}
        names = [name for name in batch.schema.names if name not in others]
        for name in names:
            if not pa.types.is_large_string(batch.schema.field(name).type):
                raise PlanError(
                    "whelp curate",
                    f"the column {name} holds conversations",
                    "columns of text",
                    "Set data.custom_text_key to a column of text.",
                )
        return names

    def _apply_to_block(self, block: _Block, changes: Counter[str], reasons: _Reasons) -> None:
        """Judge the rows of a block, one rule after the other, and change them."""
        several = len(block.names) > 1
        for name, rule in self.rules.items():
            if several and name in _OF_LINES:
                continue
            if several and name in _OF_VALUES:
                block.change_values(rule, name, changes)
                continue
            outcome = rule.apply(block.texts)
            changes.update({f"{name}: {what}": count for what, count in outcome.changes.items()})
            block.settle(outcome, reasons.number(name, outcome))


class _Block:
    """Rows that are judged together. `codes` has for every row KEEP or the number of its reason.

    Rows that are dropped stay among `texts` until these are made anew: so long as they are few, that would take longer than to
    judge them again. `is_open` says which of `texts` are not dropped.
    """

    def __init__(self, batch: pa.RecordBatch, names: list[str]) -> None:
        self.names = names
        self.codes = np.full(batch.num_rows, KEEP, np.int64)
        self._batch, self._rows = batch, np.arange(batch.num_rows)
        self._begin()

    def _begin(self) -> None:
        self.texts = Texts(join_columns(self._batch, self.names))
        self.is_open = np.ones(len(self.texts), np.bool_)

    @property
    def kept(self) -> pa.RecordBatch:
        """The rows that are not dropped, as they are now."""
        return self._batch if self.is_open.all() else self._batch.filter(pa.array(self.is_open))

    def settle(self, outcome: Outcome, numbers: npt.NDArray[np.int64]) -> None:
        """Give rows their reasons (`numbers` of them, by the outcome's own), and the others their new texts."""
        is_out = (outcome.codes != KEEP) & self.is_open
        self.codes[self._rows[is_out]] = numbers[outcome.codes[is_out]]
        self.is_open &= ~is_out
        if outcome.texts is not None:
            self._batch = _set_column(self._batch, self.names[0], outcome.texts)
        if outcome.texts is not None or np.count_nonzero(self.is_open) < _WORTH_KEEPING * len(self.is_open):
            self._batch, self._rows = self.kept, self._rows[self.is_open]
            self._begin()

    def change_values(self, rule: Rule, rule_name: str, changes: Counter[str]) -> None:
        """Let a rule change each column by itself; null stays null."""
        for name in self.names:
            column = self._batch.column(name)
            outcome = rule.apply(Texts(column))
            changes.update({f"{rule_name}: {what}": count for what, count in outcome.changes.items()})
            if outcome.texts is not None:
                nothing = pa.scalar(None, pa.large_string())
                self._batch = _set_column(self._batch, name, pc.if_else(column.is_null(), nothing, outcome.texts))
        self._batch, self._rows = self.kept, self._rows[self.is_open]
        self._begin()


class _Reasons:
    """Numbers the reasons of all rules as they turn up."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}

    def number(self, rule: str, outcome: Outcome) -> npt.NDArray[np.int64]:
        """The number of each reason of a rule."""
        return np.array([self._numbers.setdefault((rule, reason), len(self._numbers)) for reason in outcome.reasons], np.int64)

    def add_columns(self, batch: pa.RecordBatch, code: npt.NDArray[np.int64]) -> pa.RecordBatch:
        """The rows that have a reason, with the columns `rule` and `reason`."""
        is_out = code != KEEP
        dropped, numbers = batch.filter(pa.array(is_out)), pa.array(code[is_out])
        for place, name in enumerate(("rule", "reason")):
            words = pa.array([key[place] for key in self._numbers], pa.large_string())
            dropped = dropped.append_column(pa.field(name, pa.large_string()), words.take(numbers))
        return dropped


def join_columns(batch: pa.RecordBatch, names: list[str]) -> pa.LargeStringArray:
    """The text of every row: its one column, or the values of several that are there, each on a line of its own."""
    if len(names) == 1:
        column = batch.column(names[0])
        return column.fill_null("") if column.null_count else column
    columns = [batch.column(name) for name in names] or [pa.array([""] * batch.num_rows, pa.large_string())]
    return pc.binary_join_element_wise(*columns, pa.scalar("\n", pa.large_string()), null_handling="skip")


def count_sizes(array: pa.LargeStringArray) -> list[int]:
    """How many texts have 1, 2 to 3, 4 to 7, ... characters; empty ones count as one."""
    lengths = np.maximum(pc.utf8_length(array).to_numpy(zero_copy_only=False), 1)
    counts = np.bincount(np.floor(np.log2(lengths)).astype(np.int64), minlength=_NUM_SIZES)
    return [int(count) for count in counts]


def _set_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    place = batch.schema.get_field_index(name)
    return batch.set_column(place, batch.schema.field(place), values)


def _num_bytes(array: pa.LargeStringArray) -> int:
    return int(pc.sum(pc.binary_length(array)).as_py() or 0)
