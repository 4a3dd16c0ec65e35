"""Parts and what was found in all of them to the files of a corpus: FOLDER/kept, FOLDER/dropped."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.curate.config import CurateConfig, DuplicateParagraphsConfig
from whelp.curate.duplicates import Duplicates
from whelp.curate.ledger import Ledger, add_sizes
from whelp.curate.parts import Part
from whelp.curate.pipeline import PLACES, count_sizes, join_columns
from whelp.curate.shards import ShardWriter
from whelp.curate.signatures import choose_paragraphs
from whelp.curate.texts import Mask, iter_blocks, join

KEPT, DROPPED, TEST = "kept", "dropped", "test"
EXACT, NEAR = ("exact_duplicates", "equal to an earlier document"), ("near_duplicates", "nearly as an earlier document")
LITTLE_LEFT = ("duplicate_paragraphs", "little left without repeated paragraphs")
_CHANGE = "duplicate_paragraphs: paragraphs taken out"
_MEGABYTE = 1 << 20


def write_corpus(
    folder: Path, parts: Sequence[Part], found: Duplicates, config: CurateConfig, labels: Sequence[str], ledger: Ledger
) -> list[str]:
    """Write the rows that are kept and those that are dropped, count them, and return the names of the files.

    The files that were there before go.
    """
    for name in (KEPT, DROPPED):
        shutil.rmtree(folder / name, ignore_errors=True)
    fields = _list_fields(parts, config)
    names = pa.array(labels, pa.large_string())
    shard_bytes = config.shard_megabytes * _MEGABYTE
    asked = config.find("duplicate_paragraphs")
    origins = _Origins(parts, names)
    first_row = first_paragraph = 0
    with (
        ShardWriter(folder / KEPT, config.format, shard_bytes) as kept_writer,
        ShardWriter(folder / DROPPED, config.format, shard_bytes) as dropped_writer,
    ):
        for part in parts:
            rows = part.read_rows(KEPT)
            text_names = [name for name in rows.schema.names if name not in {*PLACES, *config.keep_columns}]
            here = slice(first_row, first_row + part.num_kept)
            first_row += part.num_kept
            original, similarity, is_equal = found.original[here], found.similarity[here], found.is_equal[here]
            is_repeated = found.is_repeated[first_paragraph : first_paragraph + part.num_paragraphs]
            first_paragraph += part.num_paragraphs
            changed, is_short = rows, np.zeros(rows.num_rows, np.bool_)
            if asked is not None and is_repeated.any():
                place = rows.schema.get_field_index(text_names[0])
                texts, is_short = remove_paragraphs(rows.column(place), is_repeated, asked)
                changed = rows.set_column(place, rows.schema.field(place), texts)
                ledger.changes[_CHANGE] += int(np.count_nonzero(is_repeated))
            is_kept = (original < 0) & ~is_short
            kept = _lay_out(changed.filter(pa.array(is_kept)), fields, names)
            kept_writer.write(kept)
            kept_texts = join_columns(kept, [name for name in fields if name not in config.keep_columns])
            ledger.documents_kept += kept.num_rows
            ledger.bytes_kept += int(pc.sum(pc.binary_length(kept_texts)).as_py() or 0)
            ledger.sizes_kept = add_sizes(ledger.sizes_kept, count_sizes(kept_texts))
            of_rules = part.read_rows(DROPPED)
            out = ~is_kept
            repeats = _describe_repeats(rows.filter(pa.array(out)), original[out], is_equal[out], similarity[out], origins)
            for batch in (of_rules, repeats):
                dropped = _lay_out(batch, fields, names, is_dropped=True)
                dropped_writer.write(dropped)
                text = join_columns(dropped, [name for name in fields if name not in config.keep_columns])
                ledger.add_dropped(dropped, text, config.examples)
    ledger.check()
    return [f"{KEPT}/{name}" for name in kept_writer.names] + [f"{DROPPED}/{name}" for name in dropped_writer.names]


def remove_paragraphs(
    array: pa.LargeStringArray, is_repeated: Mask, config: DuplicateParagraphsConfig
) -> tuple[pa.LargeStringArray, Mask]:
    """The texts without repeated paragraphs, and which have too little left.

    Args:
        is_repeated: Of every paragraph that `choose_paragraphs` finds in the texts. What is left of a text that loses some is
            joined by blank lines; other texts stay as they are.
    """
    made, short, first = [], [], 0
    for texts in iter_blocks(array):
        chosen = choose_paragraphs(texts, config)
        repeated = is_repeated[first : first + len(chosen)]
        first += len(chosen)
        every = texts.paragraphs
        is_out = np.zeros(len(every), np.bool_)
        is_out[every.lengths >= config.min_characters] = repeated
        is_changed = every.sum(is_out) > 0
        kept = every.choose(~is_out)
        shorter = join(texts.take_segments(kept), kept.counts, "\n\n")
        made.append(pc.if_else(pa.array(is_changed), shorter, texts.array))
        short.append(is_changed & (pc.utf8_length(shorter).to_numpy(zero_copy_only=False) < config.min_characters_left))
    return pa.concat_arrays(made), np.concatenate(short)


class _Origins:
    """Where rows of any part come from, in words."""

    def __init__(self, parts: Sequence[Part], names: pa.LargeStringArray) -> None:
        self._parts, self._names = parts, names
        self._bounds = np.concatenate(([0], np.cumsum([part.num_kept for part in parts], dtype=np.int64)))
        self._last: tuple[int, pa.LargeStringArray] | None = None

    def describe(self, rows: npt.NDArray[np.int64]) -> list[str | None]:
        """`file:line` of each row; None of -1."""
        found: list[str | None] = [None] * len(rows)
        numbers = np.searchsorted(self._bounds, rows, side="right") - 1
        for place in np.lexsort((rows, numbers)):
            if rows[place] >= 0:
                number = int(numbers[place])
                found[place] = self._open(number)[int(rows[place] - self._bounds[number])].as_py()
        return found

    def _open(self, number: int) -> pa.LargeStringArray:
        if self._last is None or self._last[0] != number:
            rows = self._parts[number].read_rows(KEPT)
            lines = rows.column("line").cast(pa.large_string())
            files = self._names.take(rows.column("file_index"))
            self._last = number, pc.binary_join_element_wise(files, lines, pa.scalar(":", pa.large_string()))
        return self._last[1]


def _describe_repeats(
    rows: pa.RecordBatch,
    original: npt.NDArray[np.int64],
    is_equal: Mask,
    similarity: npt.NDArray[np.float32],
    origins: _Origins,
) -> pa.RecordBatch:
    """Rows that are dropped because of others, with the reason and the row that each repeats."""
    kinds = np.where(original < 0, 2, np.where(is_equal, 0, 1))
    for place, name in enumerate(("rule", "reason")):
        words = pa.array([pair[place] for pair in (EXACT, NEAR, LITTLE_LEFT)], pa.large_string())
        rows = rows.append_column(pa.field(name, pa.large_string()), words.take(pa.array(kinds)))
    rows = rows.append_column(
        pa.field("duplicate_of", pa.large_string()), pa.array(origins.describe(original), pa.large_string())
    )
    shown = pa.array(np.round(similarity.astype(np.float64), 3), mask=(original < 0) | is_equal)
    return rows.append_column(pa.field("similarity", pa.float64()), shown)


def _list_fields(parts: Sequence[Part], config: CurateConfig) -> dict[str, pa.DataType]:
    """The columns of all parts: those of text first."""
    found: dict[str, pa.DataType] = {}
    for part in parts:
        found.update({field.name: field.type for field in part.read_schema() if field.name not in PLACES})
    texts = {name: kind for name, kind in found.items() if name not in config.keep_columns}
    return texts | {name: pa.large_string() for name in config.keep_columns}


def _lay_out(
    rows: pa.RecordBatch, fields: dict[str, pa.DataType], names: pa.LargeStringArray, *, is_dropped: bool = False
) -> pa.RecordBatch:
    """Rows with the columns that all files have, and where each comes from."""

    def find(name: str, kind: pa.DataType) -> pa.Array:
        return rows.column(name) if name in rows.schema.names else pa.nulls(rows.num_rows, kind)

    columns = {name: find(name, kind) for name, kind in fields.items()}
    columns |= {"origin": names.take(rows.column("file_index")), "line": rows.column("line")}
    if is_dropped:
        columns |= {name: find(name, pa.large_string()) for name in ("rule", "reason", "duplicate_of")}
        columns["similarity"] = find("similarity", pa.float64())
    return pa.RecordBatch.from_pydict(columns)
