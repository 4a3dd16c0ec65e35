"""Open a source of text; read it as partitions of documents.

A partition is the unit of work and of resuming. Where one ends depends on the bytes of the files and on the config
alone: small files are grouped in order, and a document of a large file goes to the partition that its first byte falls
into. So neither the number of workers nor the size of a read changes a row.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.errors import SourceError
from whelp.base.hashing import hash_bytes, hash_file, hash_json
from whelp.corpus._files import SkippedFile, expand, look_at
from whelp.corpus.config import SourceConfig
from whelp.corpus.packed import DAMAGED, split_name, unpack
from whelp.corpus.rows import BadRows, Rows, find_format, iter_rows, make_documents, name_unit
from whelp.corpus.split import Documents, PatternTooLong, iter_documents, make_splitter
from whelp.corpus.stdlib import list_stdlib
from whelp.corpus.text import BadFile, Inspection, changed_while_reading, inspect, iter_text

PARTITION_BYTES = 8 << 20
BLOCK_BYTES = 1 << 20
SCHEMA = pa.schema([("text", pa.large_string()), ("file_index", pa.int32()), ("line", pa.int64())])

NOTE_WINDOWS_1252 = "files read as Windows-1252"
NOTE_CARRIAGE_RETURNS = "files with CR LF turned into LF"
NOTE_BYTE_ORDER_MARK = "files with a byte order mark"
NOTE_EMPTY = "empty documents dropped"
ROW = "row"


@dataclass(frozen=True)
class SourceFile:
    """A file to read. `label` is its path below the root of the source, with `/`; `is_named` when the user named it."""

    path: Path
    label: str
    num_bytes: int
    mtime_ns: int
    is_named: bool
    format: str | None = None  # of rows; None for text


@dataclass(frozen=True)
class Partition:
    """Some documents of a source.

    `batch` has one row per document: `text`, `file_index` (into `Source.files`) and `line`, where the document starts,
    from 1. It may have no row when every file of its group was skipped. `fingerprint` names texts and provenance.
    `notes` counts what was done on the way, in words.
    """

    index: int
    batch: pa.RecordBatch
    fingerprint: str
    skipped: list[SkippedFile]
    notes: dict[str, int]


@dataclass(frozen=True)
class Source:
    """A list of files, and how to read documents from them. Make one with `open_source`.

    `skipped` are the files that were left out by name or size before any was read. `document` is never auto: it is `row`
    where the files hold rows, and `row or file` where some do.
    """

    config: SourceConfig
    name: str
    root: Path
    document: str
    files: tuple[SourceFile, ...]
    skipped: tuple[SkippedFile, ...]
    _inspections: dict[int, Inspection] = field(default_factory=dict, repr=False, compare=False)
    _fingerprints: list[str] = field(default_factory=list, repr=False, compare=False)

    @property
    def num_bytes(self) -> int:
        """The size of all files on disk."""
        return sum(file.num_bytes for file in self.files)

    def iter_partitions(self, partition_bytes: int = PARTITION_BYTES, block_bytes: int = BLOCK_BYTES) -> Iterator[Partition]:
        """Read the documents, in order. Memory is flat: a few partitions, or the largest document.

        Raises:
            SourceError: When a file that must be good is not text, or when no document has any text.
        """
        assert partition_bytes > 0, partition_bytes
        assert block_bytes > 0, block_bytes
        index = num_rows = 0
        for group in self._plan_groups(partition_bytes):
            if self._is_cut(group[0], partition_bytes):
                builders = self._iter_cut(group[0], partition_bytes, block_bytes)
            else:
                builders = self._iter_group(group, partition_bytes, block_bytes)
            for builder in builders:
                partition = builder.build(index, self.files)
                num_rows += partition.batch.num_rows
                index += 1
                yield partition
        if num_rows == 0:
            raise SourceError(self.name, "no document has any text", "text", "Look at the files, and at the option document.")

    def fingerprints(self) -> list[str]:
        """Fingerprint the bytes of each file (read once, then remembered)."""
        if not self._fingerprints:
            self._fingerprints.extend(_fingerprint(file) for file in self.files)
        return list(self._fingerprints)

    def describe(self) -> dict[str, Any]:
        """Return what the documents depend on, for a manifest: files with size, time and fingerprint; options."""
        rows = zip(self.files, self.fingerprints(), strict=True)
        return {
            "name": self.name,
            "root": _printable(str(self.root)),
            "files": [
                {"path": file.label, "bytes": file.num_bytes, "mtime_ns": file.mtime_ns, "fingerprint": fingerprint}
                for file, fingerprint in rows
            ],
            "options": self.options(),
        }

    def options(self) -> dict[str, Any]:
        """Return the options that change documents."""
        options = {
            "document": self.document,
            "document_regex": self.config.document_regex,
            "encoding": self.config.encoding,
            "strip_carriage_returns": self.config.strip_carriage_returns,
        }
        if self.document.startswith(ROW):  # else a store of plain text would go stale for options it does not read
            options |= {"custom_text_key": self.config.custom_text_key, "on_bad_rows": self.config.on_bad_rows}
        return options

    def changed_since(self, description: dict[str, Any]) -> list[str]:
        """Say in sentences what differs from an earlier `describe()`; an empty list when nothing does.

        A file with another time but the same bytes has not changed, nor has a source that moved as a whole.
        """
        before = {entry["path"]: entry for entry in description["files"]}
        changes = []
        for index, file in enumerate(self.files):
            old = before.pop(file.label, None)
            if old is None:
                changes.append((file.label, f"{file.label}: added"))
            elif old["bytes"] != file.num_bytes:
                changes.append((file.label, f"{file.label}: edited ({old['bytes']:,} -> {file.num_bytes:,} bytes)"))
            elif old["mtime_ns"] != file.mtime_ns and old["fingerprint"] != self._fingerprint_of(index):
                changes.append((file.label, f"{file.label}: edited (still {file.num_bytes:,} bytes)"))
        changes += [(label, f"{label}: removed") for label in before]
        old_options = description.get("options", {})
        options = [
            f"{name}: was {old_options.get(name)!r}, now {value!r}"
            for name, value in self.options().items()
            if old_options.get(name) != value
        ]
        return [sentence for _, sentence in sorted(changes)] + options

    def _fingerprint_of(self, index: int) -> str:
        return self._fingerprints[index] if self._fingerprints else _fingerprint(self.files[index])

    def _is_cut(self, index: int, partition_bytes: int) -> bool:
        file = self.files[index]
        if file.format is not None or self._text_document == "file":
            return False
        return file.num_bytes > partition_bytes or split_name(file.path)[1] is not None

    @property
    def _text_document(self) -> str:
        """What one document of a text file is."""
        return "file" if self.document.startswith(ROW) else self.document

    def _plan_groups(self, partition_bytes: int) -> Iterator[list[int]]:
        group: list[int] = []
        num_bytes = 0
        for index, file in enumerate(self.files):
            # A file that is cut is alone; a packed one says nothing of how large it is.
            is_alone = self._is_cut(index, partition_bytes)
            if group and (is_alone or num_bytes + file.num_bytes > partition_bytes):
                yield group
                group, num_bytes = [], 0
            group.append(index)
            num_bytes += file.num_bytes
            if is_alone:
                yield group
                group, num_bytes = [], 0
        if group:
            yield group

    def _iter_group(self, group: list[int], partition_bytes: int, block_bytes: int) -> Iterator[_Builder]:
        """Read whole text files, and rows. A row goes to the partition that its first byte of text falls into."""
        builder = _Builder()
        place = offset = 0  # in the text of the group's rows
        for index in group:
            file = self.files[index]
            if file.format is None:
                self._read_text_file(index, builder)
                continue
            bad = self._make_bad_rows(file)
            num_given = 0
            try:
                for rows in self._iter_rows(file, bad, block_bytes):
                    documents = make_documents(rows, offset)
                    for new_place, first, end in _iter_places(documents, partition_bytes):
                        if new_place != place and builder.num_rows:
                            yield builder
                            builder = _Builder()
                        place = new_place
                        builder.add(index, documents, first, end)
                    offset += int(pc.sum(pc.binary_length(rows.texts)).as_py() or 0)
                    num_given += len(rows.texts)
                    builder.notes.update(bad.counts)
                    bad.counts.clear()
            except BadFile as error:
                if num_given or bad.counts:
                    raise self._stop(file, error, "a whole file") from error
                builder.skipped.append(self._skip(file, error))
            builder.notes.update(bad.counts)
        yield builder

    def _read_text_file(self, index: int, builder: _Builder) -> None:
        file = self.files[index]
        try:
            data = b"".join(_iter_blocks(file, max(file.num_bytes, BLOCK_BYTES)))
            inspection = self._inspections.get(index) or _inspect_bytes(data, self.config.encoding)
            builder.note_file(inspection, self.config)
            for documents in self._split([data], inspection):
                builder.add(index, documents)
        except BadFile as error:
            builder.skipped.append(self._skip(file, error))

    def _iter_rows(self, file: SourceFile, bad: BadRows, block_bytes: int) -> Iterator[Rows]:
        assert file.format is not None, file
        return iter_rows(file.format, lambda: _open_checked(file), self.config.custom_text_key, bad, block_bytes)

    def _make_bad_rows(self, file: SourceFile) -> BadRows:
        assert file.format is not None, file
        where = file.path if file.is_named else file.label
        return BadRows(where, name_unit(file.format), stops=self.config.on_bad_rows == "stop")

    def _iter_cut(self, index: int, partition_bytes: int, block_bytes: int) -> Iterator[_Builder]:
        file = self.files[index]
        builder = _Builder()
        place = 0  # which stretch of partition_bytes the builder's documents start in
        try:
            inspection = self._inspections.get(index) or inspect_file(file, self.config.encoding)
        except BadFile as error:
            builder.skipped.append(self._skip(file, error))
            yield builder
            return
        builder.note_file(inspection, self.config)
        try:
            for documents in self._split(_iter_blocks(file, block_bytes), inspection):
                for new_place, first, end in _iter_places(documents, partition_bytes):
                    if new_place != place and builder.num_rows:
                        yield builder
                        builder = _Builder()
                    place = new_place
                    builder.add(index, documents, first, end)
        except BadFile as error:  # some of its documents are out already, so it cannot be skipped any more
            raise SourceError(file.label, error.reason, "a file that stays as it is", error.next_step) from error
        yield builder

    def _split(self, blocks: Iterable[bytes], inspection: Inspection) -> Iterator[Documents]:
        text = iter_text(blocks, inspection, strip_carriage_returns=self.config.strip_carriage_returns)
        try:
            yield from iter_documents(text, make_splitter(self._text_document, self.config.document_regex))
        except PatternTooLong as error:
            raise SourceError(
                "document_regex",
                f"a match of {self.config.document_regex!r} depends on more than {error.horizon_bytes:,} bytes of text",
                "a pattern that finds a short separator",
                "Make it match less, or cut the file into smaller ones.",
            ) from None

    def _skip(self, file: SourceFile, error: BadFile) -> SkippedFile:
        # Half of a file that was found is a mishap, not a file of another kind: passing it over must be asked for.
        is_strict = file.is_named or error.kind == DAMAGED
        if self.config.on_bad_files == "stop" or (self.config.on_bad_files == "auto" and is_strict):
            expected = "text" if file.format is None else "rows with text"
            hint = "" if file.is_named else " Or set on_bad_files to skip."
            raise self._stop(file, error, expected, hint) from None
        return SkippedFile(file.label, error.reason, error.kind)

    def _stop(self, file: SourceFile, error: BadFile, expected: str, hint: str = "") -> SourceError:
        return SourceError(file.path if file.is_named else file.label, error.reason, expected, error.next_step + hint)


def open_source(config: SourceConfig) -> Source:
    """List the files of a source and look at the first; read no document yet.

    Files named by the user are looked through whole, so that a bad one is known before any work is done.

    Raises:
        SourceError: When a path is missing, a glob matches nothing, a named file is not text, or no file has text.
    """
    items = config.source if isinstance(config.source, list) else [config.source]
    found: list[tuple[Path, bool]] = []
    skipped: list[SkippedFile] = []
    roots = []
    for item in items:
        if item == "stdlib":
            root, paths, left_out = list_stdlib()
            is_named = False
        else:
            root, paths, left_out, is_named = expand(item, config.include_suffixes)
        roots.append(root)
        found += [(path, is_named) for path in paths]
        skipped += left_out
    root = Path(os.path.commonpath(roots))
    files, left_out = _list_files(found, root, config)
    skipped = [replace(file, path=_make_label(Path(file.path), root)) for file in [*skipped, *left_out]]
    single_file = len(found) == 1 and found[0][1]
    document: str = config.document
    if document == "auto":
        num_of_rows = sum(file.format is not None for file in files)
        document = "blank_line" if single_file else "file"
        if num_of_rows:
            document = ROW if num_of_rows == len(files) else f"{ROW} or file"
    source = Source(config, _make_name(items), root, document, tuple(files), tuple(skipped))
    _look_for_text(source)
    return source


def inspect_file(file: SourceFile, encoding: str) -> Inspection:
    """Decide whether a file is text, and in which encoding, in flat memory.

    Raises:
        BadFile: When it is not text or cannot be read.
    """
    return inspect(lambda: _iter_blocks(file, BLOCK_BYTES), encoding)


def _inspect_bytes(data: bytes, encoding: str) -> Inspection:
    return inspect(lambda: iter([data]), encoding)


def iter_texts(source: Source, max_bytes: int | None = None) -> Iterator[pa.LargeStringArray]:
    """Yield the texts alone, as Arrow arrays: what a vocabulary is learned from.

    With `max_bytes`, take every k-th document, so that the texts come from all over the source, and cut the last one
    where the bytes end. The same source gives the same texts.
    """
    step = 1 if max_bytes is None else max(1, -(-source.num_bytes // max(1, max_bytes)))
    left = max_bytes
    num_seen = 0
    for partition in source.iter_partitions():
        texts = partition.batch.column("text")
        rows = np.arange(-num_seen % step, len(texts), step)
        num_seen += len(texts)
        if step > 1:
            texts = texts.take(pa.array(rows))
        if left is not None:
            ends = np.cumsum(pc.binary_length(texts).to_numpy())
            num_whole = int(np.searchsorted(ends, left, side="right"))
            if num_whole < len(texts):
                num_bytes = left - int(ends[num_whole - 1]) if num_whole else left
                cut = texts[num_whole].as_buffer()[:num_bytes].to_pybytes().decode(errors="ignore")
                last = pa.array([cut] if cut else [], pa.large_string())
                texts, left = pa.concat_arrays([texts[:num_whole], last]), 0
            else:
                left -= int(ends[-1]) if len(ends) else 0
        if len(texts):
            yield texts
        if left == 0:
            return


def count_skipped(skipped: Iterable[SkippedFile]) -> dict[str, int]:
    """Count skipped files by kind, most first.

    >>> count_skipped([SkippedFile("a", "contains NUL bytes (first at byte 0)", "NUL bytes")])
    {'NUL bytes': 1}
    """
    return dict(Counter(file.kind for file in skipped).most_common())


def _iter_places(documents: Documents, partition_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Cut documents into (which stretch of `partition_bytes` they start in, first, end)."""
    places = documents.offsets // partition_bytes
    first = 0
    while first < len(places):
        place = int(places[first])
        end = int(np.searchsorted(places, place, side="right"))
        yield place, first, end
        first = end


class _Builder:
    """Gathers the documents of one partition."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.notes: Counter[str] = Counter()
        self.skipped: list[SkippedFile] = []
        self._texts: list[pa.LargeStringArray] = []
        self._files: list[npt.NDArray[np.int32]] = []
        self._lines: list[npt.NDArray[np.int64]] = []

    def note_file(self, inspection: Inspection, config: SourceConfig) -> None:
        self.notes[NOTE_WINDOWS_1252] += inspection.is_guessed
        self.notes[NOTE_CARRIAGE_RETURNS] += inspection.has_carriage_returns and config.strip_carriage_returns
        self.notes[NOTE_BYTE_ORDER_MARK] += inspection.num_mark_bytes > 0

    def add(self, index: int, documents: Documents, first: int = 0, end: int | None = None) -> None:
        is_kept = ~documents.is_empty[first:end]
        num_kept = int(np.count_nonzero(is_kept))
        texts, lines = documents.texts[first:end], documents.lines[first:end]
        if num_kept < len(is_kept):
            texts, lines = texts.filter(pa.array(is_kept)), lines[is_kept]
            self.notes[NOTE_EMPTY] += len(is_kept) - num_kept
        self._texts.append(texts)
        self._lines.append(lines)
        self._files.append(np.full(num_kept, index, np.int32))
        self.num_rows += num_kept

    def build(self, index: int, files: tuple[SourceFile, ...]) -> Partition:
        texts = pa.concat_arrays(self._texts) if self._texts else pa.array([], pa.large_string())
        file_indices = np.concatenate(self._files) if self._files else np.zeros(0, np.int32)
        lines = np.concatenate(self._lines) if self._lines else np.zeros(0, np.int64)
        batch = pa.RecordBatch.from_arrays([texts, pa.array(file_indices), pa.array(lines)], schema=SCHEMA)
        labels = [files[int(number)].label for number in np.unique(file_indices)]
        fingerprint = hash_bytes(*_iter_text_bytes(texts), file_indices.data, lines.data, hash_json(labels).encode())
        notes = {note: count for note, count in self.notes.items() if count}
        return Partition(index, batch, fingerprint, self.skipped, notes)


def _iter_text_bytes(texts: pa.LargeStringArray) -> Iterator[bytes | memoryview]:
    """The lengths, then the bytes; the same for equal texts however their buffers are laid out."""
    if not len(texts):
        return
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    yield np.diff(offsets).tobytes()
    yield memoryview(data)[int(offsets[0]) : int(offsets[-1])]


def _list_files(found: list[tuple[Path, bool]], root: Path, config: SourceConfig) -> tuple[list[SourceFile], list[SkippedFile]]:
    files: list[SourceFile] = []
    skipped: list[SkippedFile] = []
    seen: set[str] = set()
    for path, is_named in found:
        is_strict = config.on_bad_files == "stop" or (config.on_bad_files == "auto" and is_named)
        status = look_at(path)
        if isinstance(status, SkippedFile):
            if is_strict:
                raise SourceError(path, status.reason, "a text file", "Name another file, or save its text to one.")
            skipped.append(status)
            continue
        if status.st_size == 0:
            if is_strict and is_named:
                raise SourceError(path, "the file is empty", "text", "Put some text into it, or name another file.")
            skipped.append(SkippedFile(str(path), "empty file", "empty"))
            continue
        real = os.path.realpath(path)
        if real in seen:
            skipped.append(SkippedFile(str(path), "listed already", "listed twice"))
            continue
        seen.add(real)
        format = find_format(path) if config.document == "auto" else None
        files.append(SourceFile(path, _make_label(path, root), status.st_size, status.st_mtime_ns, is_named, format))
    return files, skipped


def _look_for_text(source: Source) -> None:
    """Look through every file the user named, and through the others up to the first that has text."""
    has_text = False
    bad: list[SkippedFile] = []
    for index, file in enumerate(source.files):
        if has_text and not file.is_named:
            continue
        try:
            if file.format is not None:
                if _has_rows_of_text(source, file):
                    has_text = True
                else:
                    bad.append(SkippedFile(file.label, "no row has any text", "only white space"))
                continue
            inspection = inspect_file(file, source.config.encoding)
        except BadFile as error:
            bad.append(source._skip(file, error))
            continue
        source._inspections[index] = inspection
        if inspection.has_text:
            has_text = True
        else:
            bad.append(SkippedFile(file.label, "only white space", "only white space"))
    if has_text:
        return
    counts = count_skipped([*source.skipped, *bad])
    if not counts:
        raise SourceError(source.name, "the folder is empty", "a folder with text", "Put text files into it, or name another.")
    if len(source.files) == 1 and source.files[0].is_named:
        raise SourceError(source.files[0].path, f"not text: {bad[0].reason}", "text", "Put some text into it.")
    reasons = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    example = (bad or list(source.skipped))[0]
    raise SourceError(
        source.name,
        f"none of the {sum(counts.values()):,} files found can be read as text ({reasons})",
        "at least one text file",
        f"The first: {example.path}: {example.reason}.",
    )


def _has_rows_of_text(source: Source, file: SourceFile) -> bool:
    """Read rows up to the first that has text."""
    some_rows = source._iter_rows(file, source._make_bad_rows(file), BLOCK_BYTES)
    return any(not make_documents(rows, 0).is_empty.all() for rows in some_rows)


def _make_name(items: list[str]) -> str:
    first = items[0]
    if first == "stdlib":
        name = f"Python {sys.version_info.major}.{sys.version_info.minor} standard library"
    else:
        name = _printable(first)
    return name if len(items) == 1 else f"{name} and {len(items) - 1} more"


def _make_label(path: Path, root: Path) -> str:
    return _printable((path.relative_to(root) if path.is_relative_to(root) else path).as_posix())


def _printable(name: str) -> str:
    """File names may be any bytes; what goes into JSON may not."""
    return name.encode("utf-8", "backslashreplace").decode()


def _fingerprint(file: SourceFile) -> str:
    try:
        return hash_file(file.path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


@contextmanager
def _open_checked(file: SourceFile) -> Iterator[Any]:
    """Open a file, unpacked where its name says so; it must be the one that was listed, and stay it."""
    listed = (file.num_bytes, file.mtime_ns)
    try:
        with open(file.path, "rb", buffering=0) as handle:
            if _size_and_time(handle) != listed:
                raise changed_while_reading()
            yield unpack(handle, file.path)
            if _size_and_time(handle) != listed:
                raise changed_while_reading()
    except OSError as error:
        reason = f"cannot be read ({(error.strerror or error.__class__.__name__).lower()})"
        raise BadFile("unreadable", reason, "Change its permissions, or name another file.") from error


def _size_and_time(handle: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(handle.fileno())
    return status.st_size, status.st_mtime_ns


def _iter_blocks(file: SourceFile, block_bytes: int) -> Iterator[bytes]:
    with _open_checked(file) as handle:
        while block := handle.read(block_bytes):
            yield block
