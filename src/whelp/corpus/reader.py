"""Read the files of a source as partitions.

Where a partition ends depends on the bytes of the files and on the config alone: small files are grouped in order, and a
document of a large file goes to the partition that its first byte falls into. So neither the number of workers nor the
size of a read changes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.errors import SourceError
from whelp.base.hashing import hash_bytes
from whelp.corpus.compressed import DAMAGED
from whelp.corpus.config import SourceConfig
from whelp.corpus.document_splitters import Documents, PatternTooLong, iter_documents, make_splitter
from whelp.corpus.encodings import BadFile, Inspection, inspect, inspect_bytes, iter_text
from whelp.corpus.find_files import SkippedFile
from whelp.corpus.open_file import BLOCK_BYTES, SourceFile, iter_blocks, open_checked
from whelp.corpus.partition import TEXT_SCHEMA, Builder
from whelp.corpus.row_shape import RowShape, too_long
from whelp.corpus.row_window import Window
from whelp.corpus.rows import TABLE, BadRows, Reading, Rows, iter_rows, measure, name_unit
from whelp.corpus.whole_files import WholeFiles


@dataclass(frozen=True)
class Reader:
    """The files of a source, and how they are read. `document` is what one document of a text file is."""

    config: SourceConfig
    shape: RowShape
    document: str
    files: tuple[SourceFile, ...]
    inspections: dict[int, Inspection]
    fingerprints: dict[int, str]  # of files that were read whole on the way

    def iter_builders(self, partition_bytes: int, block_bytes: int, window: Window) -> Iterator[Builder]:
        """Read the documents, in order, a partition at a time. `window` chooses among those of the train split."""
        for group in self._plan_groups(partition_bytes):
            split = self.files[group[0]].split
            chosen = window if split == "train" else Window()
            if chosen.is_done:
                continue
            if self._is_cut(self.files[group[0]], partition_bytes):
                yield from self._iter_cut(group[0], partition_bytes, block_bytes, chosen)
            else:
                yield from self._iter_group(group, split, partition_bytes, block_bytes, chosen)

    def _plan_groups(self, partition_bytes: int) -> Iterator[list[int]]:
        group: list[int] = []
        num_bytes = 0
        for index, file in enumerate(self.files):
            # A file that is cut is alone; a packed one says nothing of how large it is. A partition has one split.
            is_alone = self._is_cut(file, partition_bytes)
            is_other = bool(group) and file.split != self.files[group[0]].split
            if group and (is_alone or is_other or num_bytes + file.num_bytes > partition_bytes):
                yield group
                group, num_bytes = [], 0
            group.append(index)
            num_bytes += file.num_bytes
            if is_alone:
                yield group
                group, num_bytes = [], 0
        if group:
            yield group

    def _is_cut(self, file: SourceFile, partition_bytes: int) -> bool:
        """Whether a text file is read in pieces."""
        if file.format is not None or self.document == "file":
            return False
        return file.num_bytes > partition_bytes or file.is_packed

    def _iter_group(
        self, group: list[int], split: str, partition_bytes: int, block_bytes: int, window: Window
    ) -> Iterator[Builder]:
        """Read whole text files, and rows. A row goes to the partition that its first byte of text falls into."""
        builder = Builder(split)
        whole = WholeFiles(self.files, self.config, self.inspections, self.fingerprints, self.skip)
        place = offset = 0  # in the text of the group's rows
        for index in group:
            if window.is_done:
                break
            file = self.files[index]
            is_long = file.num_bytes > self.config.max_row_bytes
            if file.format is None and self.document == "file" and not file.is_packed and not is_long:
                whole.add(index)
                continue
            whole.move_to(builder, window)
            if file.format is None:
                self._read_text_file(index, builder, window)
                continue
            bad = self.make_bad_rows(file)
            num_given = 0
            try:
                for rows in self.iter_rows(file, bad, block_bytes, window):
                    sizes, is_empty = measure(rows.batch)
                    ends = offset + np.cumsum(sizes)
                    for new_place, first, end in _iter_places(ends - sizes, partition_bytes):
                        if new_place != place and builder.num_rows:
                            yield builder
                            builder = Builder(split)
                        place = new_place
                        builder.add(index, rows.batch.slice(first, end - first), rows.numbers[first:end], is_empty[first:end])
                    offset = int(ends[-1]) if len(ends) else offset
                    num_given += len(ends)
                    builder.note_bad(bad)
            except BadFile as error:
                if num_given or bad.counts:
                    raise self._stop(file, error, "a whole file" if error.kind == DAMAGED else "rows with text") from error
                builder.skipped.append(self.skip(file, error))
            if bad.guess is not None:
                builder.note_guess(bad.guess)
            builder.note_bad(bad)
        whole.move_to(builder, window)
        yield builder

    def reads_whole(self, file: SourceFile, partition_bytes: int) -> bool:
        """Whether the bytes of a file lie in memory at once while it is read, so that it is fingerprinted on the way."""
        is_long = self.document == "file" and file.num_bytes > self.config.max_row_bytes
        return file.format is None and not file.is_packed and not is_long and not self._is_cut(file, partition_bytes)

    def _read_text_file(self, index: int, builder: Builder, window: Window) -> None:
        """A file that is no larger than a partition, or one document, which may be too long."""
        file = self.files[index]
        bad = self.make_bad_rows(file)
        try:
            data = self._read_short(file)
            if data is not None and not file.is_packed:
                self.fingerprints[index] = hash_bytes(data)
            inspection = self.inspections.get(index)
            if inspection is None:
                encoding = self.config.encoding
                inspection = inspect_file(file, encoding) if data is None else inspect_bytes(data, encoding)
            builder.note_file(inspection, self.config)
            blocks = iter_blocks(file, BLOCK_BYTES) if data is None else [data]
            for documents in self._split(blocks, inspection, bad, window):
                _add_texts(builder, index, documents, *window.take(len(documents.texts)))
        except BadFile as error:
            builder.skipped.append(self.skip(file, error))
        builder.note_bad(bad)

    def _read_short(self, file: SourceFile) -> bytes | None:
        """The bytes of a file; None where they are too many for a row."""
        blocks: list[bytes] = []
        num_bytes = 0
        for block in iter_blocks(file, BLOCK_BYTES if file.is_packed else min(file.num_bytes, self.config.max_row_bytes) + 1):
            blocks.append(block)
            num_bytes += len(block)
            if num_bytes > self.config.max_row_bytes and self.document == "file":
                return None
        return b"".join(blocks)

    def iter_rows(self, file: SourceFile, bad: BadRows, block_bytes: int, window: Window) -> Iterator[Rows]:
        """Read the good rows of a file of rows, or of a table."""
        assert file.format is not None, file
        config = self.config
        reading = Reading(
            lambda: open_checked(file, config.encoding, bad.tell_guess),
            self.shape,
            config.custom_text_key,
            bad,
            window,
            block_bytes,
            config.max_row_bytes,
            config.csv_delimiter,
            tuple(config.column_names or ()),
            config.quoted_fields,
            config.sheet,
            frozenset(config.html_columns or ()),
        )
        if file.format == TABLE:
            from whelp.corpus.arrow_rows import iter_table_rows

            assert file.table is not None, file
            return iter_table_rows(file.table, reading)
        return iter_rows(file.format, reading)

    def make_bad_rows(self, file: SourceFile, *, stops: bool | None = None) -> BadRows:
        """What is told of bad rows; it stops at the first where the config says so."""
        stops = self.config.on_bad_rows == "stop" if stops is None else stops
        unit = "row" if file.is_labelled and file.keep is not None else name_unit(file.format)
        return BadRows(file.where, file.label, unit, stops=stops)

    def _iter_cut(self, index: int, partition_bytes: int, block_bytes: int, window: Window) -> Iterator[Builder]:
        file = self.files[index]
        builder = Builder(file.split)
        place = 0  # which stretch of partition_bytes the builder's documents start in
        try:
            inspection = self.inspections.get(index) or inspect_file(file, self.config.encoding)
        except BadFile as error:
            builder.skipped.append(self.skip(file, error))
            yield builder
            return
        builder.note_file(inspection, self.config)
        bad = self.make_bad_rows(file)
        try:
            for documents in self._split(iter_blocks(file, block_bytes), inspection, bad, window):
                builder.note_bad(bad)
                wanted, stop = window.take(len(documents.texts))
                for new_place, first, end in _iter_places(documents.offsets[wanted:stop], partition_bytes):
                    if new_place != place and builder.num_rows:
                        yield builder
                        builder = Builder(file.split)
                    place = new_place
                    _add_texts(builder, index, documents, wanted + first, wanted + end)
                if window.is_done:
                    break
        except BadFile as error:  # some of its documents are out already, so it cannot be skipped any more
            raise SourceError(file.label, error.reason, "a file that stays as it is", error.next_step) from error
        builder.note_bad(bad)
        yield builder

    def _split(self, blocks: Iterable[bytes], inspection: Inspection, bad: BadRows, window: Window) -> Iterator[Documents]:
        """The documents of a text file; those that are too long are bad rows."""
        text = iter_text(blocks, inspection, strip_carriage_returns=self.config.strip_carriage_returns)
        limit = self.config.max_row_bytes
        try:
            for found in iter_documents(text, make_splitter(self.document, self.config.document_regex), limit):
                if isinstance(found, Documents):
                    yield found
                    continue
                first, end = window.take(1)
                if first < end:
                    bad.add(found.line, too_long("a document", limit), found.beginning.decode(errors="replace"))
        except PatternTooLong as error:
            raise SourceError(
                "document_regex",
                f"a match of {self.config.document_regex!r} depends on more than {error.horizon_bytes:,} bytes of text",
                "a pattern that finds a short separator",
                "Make it match less, or cut the file into smaller ones.",
            ) from None

    def skip(self, file: SourceFile, error: BadFile) -> SkippedFile:
        """A file that is not good, as one that is skipped.

        Raises:
            SourceError: When it must not be.
        """
        # Half of a file that was found is a mishap, not a file of another kind: passing it over must be asked for.
        is_strict = file.is_named or error.kind == DAMAGED
        if self.config.on_bad_files == "stop" or (self.config.on_bad_files == "auto" and is_strict):
            expected = "text" if file.format is None else "rows with text"
            hint = "" if file.is_named else " Or set on_bad_files to skip."
            raise self._stop(file, error, expected, hint) from None
        return SkippedFile(file.label, error.reason, error.kind)

    def _stop(self, file: SourceFile, error: BadFile, expected: str, hint: str = "") -> SourceError:
        return SourceError(file.where, error.reason, expected, error.next_step + hint)


def inspect_file(file: SourceFile, encoding: str) -> Inspection:
    """Decide whether a file is text, and in which encoding, in flat memory.

    Raises:
        BadFile: When it is not text or cannot be read.
    """
    return inspect(lambda: iter_blocks(file, BLOCK_BYTES), encoding)


def _add_texts(builder: Builder, index: int, documents: Documents, first: int, end: int) -> None:
    batch = pa.RecordBatch.from_arrays([documents.texts[first:end]], schema=TEXT_SCHEMA)
    builder.add(index, batch, documents.lines[first:end], documents.is_empty[first:end])


def _iter_places(offsets: npt.NDArray[np.int64], partition_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Cut documents into (which stretch of `partition_bytes` they start in, first, end)."""
    places = offsets // partition_bytes
    first = 0
    while first < len(places):
        place = int(places[first])
        end = int(np.searchsorted(places, place, side="right"))
        yield place, first, end
        first = end
