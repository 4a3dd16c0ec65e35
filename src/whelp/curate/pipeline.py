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

from whelp.curate.columns import ReadTexts, TextColumns, add_reasons, map_texts, set_column
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

NOTE_SEVERAL_COLUMNS = "rows of several columns or turns: lines and paragraphs stay as they are"
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
_OF_LINES = {"boilerplate_lines", "c4", "duplicate_paragraphs"}  # they need a row that is one text
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
        join: What the text of a row is, where it has several columns, or turns; without it, all its columns of strings.
    """

    def __init__(
        self,
        config: CurateConfig,
        *,
        index: EvaluationIndex | None = None,
        vocabulary: EncoderLike | None = None,
        join: ReadTexts | None = None,
    ) -> None:
        self.config, self.index, self.vocabulary = config, index, vocabulary
        self.columns = TextColumns(config.keep_columns, join)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("config", "index", "vocabulary", "columns")}

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
        """
        columns = self.columns
        whole = columns.read(batch)
        changes, reasons = Counter[str](), _Reasons()
        is_single = columns.find_single(batch.schema) is not None
        paragraphs = self.config.find("duplicate_paragraphs") if is_single else None
        near = self.config.find("near_duplicates")
        kept, codes, signatures = [], [], []
        for first, end in cut_blocks(whole):
            block = _Block(batch.slice(first, end - first), columns)
            self._apply_to_block(block, changes, reasons)
            kept.append(block.kept)
            codes.append(block.codes)
            signatures.append(make_signatures(block.texts, near, paragraphs).choose(block.is_open))
        code = np.concatenate(codes) if codes else np.zeros(0, np.int64)
        rows = pa.Table.from_batches(kept, batch.schema).combine_chunks().to_batches() if kept else []
        left = rows[0] if rows else batch.slice(0, 0)
        text = columns.read(left)
        return CuratedPart(
            kept=left,
            dropped=reasons.add_columns(batch, code),
            signatures=join_signatures(signatures or [make_signatures(Texts(text), near, paragraphs)]),
            documents_in=batch.num_rows,
            bytes_in=count_bytes(whole),
            bytes_kept=count_bytes(text),
            changes=dict(changes),
            notes={} if is_single or not _OF_LINES & set(self.config.rules()) else {NOTE_SEVERAL_COLUMNS: batch.num_rows},
            sizes_in=count_sizes(whole),
            sizes_kept=count_sizes(text),
        )

    def _apply_to_block(self, block: _Block, changes: Counter[str], reasons: _Reasons) -> None:
        """Judge the rows of a block, one rule after the other, and change them."""
        for name, rule in self.rules.items():
            if block.single is None and name in _OF_LINES:
                continue
            if block.single is None and name in _OF_VALUES:
                block.change_values(rule, name, changes)
                continue
            outcome = rule.apply(block.texts)
            changes.update({f"{name}: {what}": count for what, count in outcome.changes.items()})
            block.settle(outcome, reasons.number(name, outcome))


class _Block:
    """Rows that are judged together. `codes` has for every row KEEP or the number of its reason.

    Rows that are dropped stay among `texts` until these are made anew: so long as they are few, that would take longer than to
    judge them again. `is_open` says which of `texts` are not dropped. `single` is the column that is all the text, if one is.
    """

    def __init__(self, batch: pa.RecordBatch, columns: TextColumns) -> None:
        self._columns, self.single = columns, columns.find_single(batch.schema)
        self.codes = np.full(batch.num_rows, KEEP, np.int64)
        self._batch, self._rows = batch, np.arange(batch.num_rows)
        self._begin()

    def _begin(self) -> None:
        self.texts = Texts(self._columns.read(self._batch))
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
            assert self.single is not None, "a rule that changes whole texts needs rows of one text"
            self._batch = set_column(self._batch, self.single, outcome.texts)
        if outcome.texts is not None or np.count_nonzero(self.is_open) < _WORTH_KEEPING * len(self.is_open):
            self._batch, self._rows = self.kept, self._rows[self.is_open]
            self._begin()

    def change_values(self, rule: Rule, rule_name: str, changes: Counter[str]) -> None:
        """Let a rule change each text of the rows by itself."""

        def change(texts: pa.LargeStringArray) -> pa.LargeStringArray:
            outcome = rule.apply(Texts(texts))
            changes.update({f"{rule_name}: {what}": count for what, count in outcome.changes.items()})
            return texts if outcome.texts is None else outcome.texts

        for name in self._columns.list_names(self._batch.schema):
            self._batch = set_column(self._batch, name, map_texts(self._batch.column(name), change))
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
        return add_reasons(batch.filter(pa.array(is_out)), list(self._numbers), pa.array(code[is_out]))


def count_sizes(array: pa.LargeStringArray) -> list[int]:
    """How many texts have 1, 2 to 3, 4 to 7, ... characters; empty ones count as one."""
    lengths = np.maximum(pc.utf8_length(array).to_numpy(zero_copy_only=False), 1)
    counts = np.bincount(np.floor(np.log2(lengths)).astype(np.int64), minlength=_NUM_SIZES)
    return [int(count) for count in counts]


def count_bytes(array: pa.LargeStringArray) -> int:
    """Bytes of all texts."""
    return int(pc.sum(pc.binary_length(array)).as_py() or 0)
