"""Parts and what was found in all of them to the files of a corpus: FOLDER/kept, FOLDER/dropped, FOLDER/test.

Each source of a mixture has folders of its own in these.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.curate.columns import PLACES, TextColumns, add_reasons, set_column
from whelp.curate.config import CurateConfig, DuplicateParagraphsConfig
from whelp.curate.duplicates import Duplicates
from whelp.curate.kept_columns import JSON, decode_column, find_types
from whelp.curate.ledger import Ledger, add_sizes
from whelp.curate.parts import Part
from whelp.curate.pipeline import count_bytes, count_sizes
from whelp.curate.shards import ShardWriter
from whelp.curate.signatures import choose_paragraphs
from whelp.curate.texts import Mask, iter_blocks, join

KEPT, DROPPED, TEST = "kept", "dropped", "test"
EXACT, NEAR = ("exact_duplicates", "equal to an earlier document"), ("near_duplicates", "nearly as an earlier document")
LITTLE_LEFT = ("duplicate_paragraphs", "little left without repeated paragraphs")
_CHANGE = "duplicate_paragraphs: paragraphs taken out"
_MEGABYTE = 1 << 20


@dataclass(kw_only=True)
class CuratedSource:
    """One source on its way to its files: its parts in order, its rows held out for testing, and what becomes of all of them.

    `folder` is its own in each of kept, dropped and test; the empty word where it is the only source.
    """

    columns: TextColumns
    config: CurateConfig
    name: str | None = None
    folder: str = ""
    parts: list[Part] = field(default_factory=list)
    held_out: list[pa.RecordBatch] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)


def name_folders(names: Sequence[str | None]) -> list[str]:
    """A folder for each source: its name, as far as every file system takes it, and a number where two would be the same.

    >>> name_folders(["books", "my/code", "my code"])
    ['books', 'my_code', 'my_code_2']
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^\w.-]+|^\.+", "_", name or "")
        taken = {folder.lower() for folder in found}
        number = 1
        while (made := plain if number == 1 else f"{plain}_{number}").lower() in taken:
            number += 1
        found.append(made)
    return found


def write_corpus(folder: Path, sources: Sequence[CuratedSource], found: Duplicates, labels: Sequence[str]) -> list[str]:
    """Write the rows that are kept and those that are dropped, count them, and return the names of the files.

    The files that were there before go.

    Args:
        found: Of the rows and paragraphs of all parts, one source after the other.
        labels: Names of the files of all sources.
    """
    for name in (KEPT, DROPPED, TEST):
        shutil.rmtree(folder / name, ignore_errors=True)
    names = pa.array(labels, pa.large_string())
    origins = _Origins(sources, names)
    written, first_row, first_paragraph = list[str](), 0, 0
    for source in sources:
        end_row = first_row + sum(part.num_kept for part in source.parts)
        end_paragraph = first_paragraph + sum(part.num_paragraphs for part in source.parts)
        own = found.cut(slice(first_row, end_row), slice(first_paragraph, end_paragraph))
        first_row, first_paragraph = end_row, end_paragraph
        written += _write_source(folder, source, own, origins, names)
        written += _write_held_out(folder, source, names)
    return written


def _write_source(
    folder: Path, source: CuratedSource, found: Duplicates, origins: _Origins, names: pa.LargeStringArray
) -> list[str]:
    config, ledger, columns = source.config, source.ledger, source.columns
    fields = _list_fields(source)
    asked = config.find("duplicate_paragraphs")
    first_row = first_paragraph = 0
    with _open_shards(folder, KEPT, source) as kept_writer, _open_shards(folder, DROPPED, source) as dropped_writer:
        for part in source.parts:
            rows = part.read_rows(KEPT)
            here = found.cut(
                slice(first_row, first_row + part.num_kept), slice(first_paragraph, first_paragraph + part.num_paragraphs)
            )
            first_row += part.num_kept
            first_paragraph += part.num_paragraphs
            changed, is_short = rows, np.zeros(rows.num_rows, np.bool_)
            if asked is not None and here.is_repeated.any():
                name = columns.find_single(rows.schema)
                assert name is not None, "paragraphs are of rows of one text"
                texts, is_short = remove_paragraphs(rows.column(name), here.is_repeated, asked)
                changed = set_column(rows, name, texts)
                ledger.changes[_CHANGE] += int(np.count_nonzero(here.is_repeated))
            is_kept = (here.original < 0) & ~is_short
            kept = _lay_out(changed.filter(pa.array(is_kept)), fields, names)
            kept_writer.write(kept)
            kept_texts = columns.read(kept)
            ledger.documents_kept += kept.num_rows
            ledger.bytes_kept += count_bytes(kept_texts)
            ledger.sizes_kept = add_sizes(ledger.sizes_kept, count_sizes(kept_texts))
            repeats = _describe_repeats(rows, here, ~is_kept, origins)
            for batch in (part.read_rows(DROPPED), repeats):
                dropped = _lay_out(batch, fields, names, is_dropped=True)
                dropped_writer.write(dropped)
                ledger.add_dropped(dropped, columns.read(dropped), config.examples)
    ledger.check()
    return [f"{writer.folder.relative_to(folder)}/{name}" for writer in (kept_writer, dropped_writer) for name in writer.names]


def _write_held_out(folder: Path, source: CuratedSource, names: pa.LargeStringArray) -> list[str]:
    """Write the rows that the source holds out for testing as they are."""
    if not source.held_out:
        return []
    tables = [pa.Table.from_batches([batch]) for batch in source.held_out]
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    fields = _list_fields(source)
    with _open_shards(folder, TEST, source) as writer:
        for batch in table.to_batches():
            for name in source.config.keep_columns:
                if name in batch.schema.names:
                    place = batch.schema.get_field_index(name)
                    column = decode_column(batch.column(name), fields[name]) if fields[name] != JSON else batch.column(name)
                    batch = batch.set_column(place, name, column)
            origin = names.take(batch.column("file_index"))
            place = batch.schema.get_field_index("file_index")
            writer.write(batch.set_column(place, pa.field("origin", pa.large_string()), origin))
    source.ledger.documents_test = table.num_rows
    return [f"{writer.folder.relative_to(folder)}/{name}" for name in writer.names]


def _open_shards(folder: Path, name: str, source: CuratedSource) -> ShardWriter:
    config = source.config
    return ShardWriter(folder / name / source.folder, config.format, config.shard_megabytes * _MEGABYTE)


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

    def __init__(self, sources: Sequence[CuratedSource], names: pa.LargeStringArray) -> None:
        self._parts = [(part, source.name) for source in sources for part in source.parts]
        self._names = names
        self._bounds = np.concatenate(([0], np.cumsum([part.num_kept for part, _ in self._parts], dtype=np.int64)))
        self._last: tuple[int, pa.LargeStringArray] | None = None

    def describe(self, rows: npt.NDArray[np.int64]) -> list[str | None]:
        """`file:line` of each row, in a mixture `source: file:line`; None of -1."""
        found: list[str | None] = [None] * len(rows)
        numbers = np.searchsorted(self._bounds, rows, side="right") - 1
        for place in np.lexsort((rows, numbers)):
            if rows[place] >= 0:
                number = int(numbers[place])
                found[place] = self._open(number)[int(rows[place] - self._bounds[number])].as_py()
        return found

    def _open(self, number: int) -> pa.LargeStringArray:
        if self._last is None or self._last[0] != number:
            part, source = self._parts[number]
            rows = part.read_rows(KEPT)
            lines = rows.column("line").cast(pa.large_string())
            files = self._names.take(rows.column("file_index"))
            places = pc.binary_join_element_wise(files, lines, pa.scalar(":", pa.large_string()))
            if source is not None:
                head, nothing = (pa.scalar(text, pa.large_string()) for text in (f"{source}: ", ""))
                places = pc.binary_join_element_wise(head, places, nothing)
            self._last = number, places
        return self._last[1]


def _describe_repeats(rows: pa.RecordBatch, found: Duplicates, is_out: Mask, origins: _Origins) -> pa.RecordBatch:
    """Rows that are dropped because of others, with the reason and the row that each repeats."""
    rows = rows.filter(pa.array(is_out))
    original, is_equal, similarity = found.original[is_out], found.is_equal[is_out], found.similarity[is_out]
    kinds = np.where(original < 0, 2, np.where(is_equal, 0, 1))
    rows = add_reasons(rows, (EXACT, NEAR, LITTLE_LEFT), pa.array(kinds))
    rows = rows.append_column(
        pa.field("duplicate_of", pa.large_string()), pa.array(origins.describe(original), pa.large_string())
    )
    shown = pa.array(np.round(similarity.astype(np.float64), 3), mask=(original < 0) | is_equal)
    return rows.append_column(pa.field("similarity", pa.float64()), shown)


def _list_fields(source: CuratedSource) -> dict[str, pa.DataType]:
    """The columns of all parts of a source: those of text first."""
    found: dict[str, pa.DataType] = {}
    for part in source.parts:
        found.update({field.name: field.type for field in part.read_schema() if field.name not in PLACES})
    kept = source.config.keep_columns
    texts = {name: kind for name, kind in found.items() if name not in kept}
    if source.config.format == "parquet":
        batches = chain(*((part.read_rows(KEPT), part.read_rows(DROPPED)) for part in source.parts), source.held_out)
        return texts | find_types(batches, kept)
    return texts | {name: found.get(name, JSON) for name in kept}


def _lay_out(
    rows: pa.RecordBatch, fields: dict[str, pa.DataType], names: pa.LargeStringArray, *, is_dropped: bool = False
) -> pa.RecordBatch:
    """Rows with the columns that all files have, and where each comes from."""

    def find(name: str, kind: pa.DataType) -> pa.Array:
        if name not in rows.schema.names:
            return pa.nulls(rows.num_rows, kind)
        return rows.column(name) if kind == JSON else decode_column(rows.column(name), kind)

    columns = {name: find(name, kind) for name, kind in fields.items()}
    columns |= {"origin": names.take(rows.column("file_index")), "line": rows.column("line")}
    if is_dropped:
        columns |= {name: find(name, pa.large_string()) for name in ("rule", "reason", "duplicate_of")}
        columns["similarity"] = find("similarity", pa.float64())
    return pa.RecordBatch.from_pydict(columns)
