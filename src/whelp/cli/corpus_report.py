"""`whelp corpus report`: what is in a corpus, before it becomes a model."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.as_list import as_list
from whelp.base.config import parse_overrides
from whelp.base.errors import ConfigError, MissingExtraError, SourceError
from whelp.base.files import write_atomic
from whelp.base.result_repr import ResultRepr
from whelp.cli.grouping import Grouping, choose_grouping, make_grouping, read_column
from whelp.cli.prepare import OpenedSource, name_sources, open_recipe_sources
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.tokenizer_report import find_page_place
from whelp.corpus.config import SourceConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from whelp.corpus import Partition, Source
    from whelp.corpus.measuring.languages import Identify
    from whelp.corpus.measuring.meter import CorpusMeter, Measured
    from whelp.corpus.measuring.reference import Reference

COMMAND = "whelp corpus report"
AUTO, NONE = "auto", "none"
COLUMNS = ("license", "licence", "source", "url", "language", "lang")

_PARTITION_BYTES = 4 << 20  # what is made of a partition is many times as large
_MOST_GROUPS = 1000
_PROBED_FILES = 20
_UNITS = {"blank_line": "stretch between blank lines", "regex": "stretch between matches"}
_DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True, kw_only=True)
class CorpusReport(ResultRepr):
    """What `whelp corpus report` found; plain values, explained at `whelp.corpus.measuring.meter.Measured`.

    Attributes:
        source: `name`, `num_files`, `num_file_bytes` (on disk), `document` (what one is), `splits` (documents in each).
        skipped: What is not measured, counted by its reason: files, rows, empty documents; `changed` counts what was done
            to files on the way.
        total, groups, by: Sizes of all and of each group; `by` says what a group is, `num_groups` how many there are, of
            which the largest 1,000 are listed.
        columns: Of rows: the values of columns that often tell of rights and origins.
        notes: What was not done, and why.
    """

    source: dict[str, Any]
    skipped: dict[str, int]
    changed: dict[str, int]
    total: dict[str, int]
    by: str
    num_groups: int
    groups: list[dict[str, Any]]
    lengths: dict[str, Any]
    duplicates: dict[str, Any]
    lines: dict[str, Any]
    words: dict[str, Any]
    ngrams: list[dict[str, Any]]
    languages: list[dict[str, Any]] | None
    licences: dict[str, Any]
    columns: dict[str, dict[str, Any]]
    vocabulary: dict[str, Any] | None
    notes: list[str]
    html: str | None

    def _repr_html_(self) -> str:
        from whelp.cli.screens.result_tables import make_html
        from whelp.cli.screens.show_corpus import show_corpus_report

        return make_html(show_corpus_report, self)


def report_corpus(
    source: str | Path | Sequence[str | Path] | Mapping[str, Any] | Recipe,
    *,
    overrides: Sequence[str] = (),
    reference: str = AUTO,
    by: str | None = None,
    columns: str | Sequence[str] = (),
    html: str | Path | None = None,
) -> CorpusReport:
    """Measure what is in a corpus: sizes, languages, sources, lengths, duplicates, frequent lines and words, rights.

    The text is read once, as `prepare` would read it and lay it out, in memory that does not grow with it.

    Args:
        source: What `data.source` takes, or several of these; or a recipe (a YAML file, a mapping with `data`).
        overrides: `data.field=value`, as in a recipe.
        reference: What words are held against: `auto` (the word list of the corpus's main language), the code of a
            language, another source, or `none`.
        by: How documents are grouped: `folder`, `language` (the first folder, or the file's name), `suffix`, `file`,
            `column:NAME`; of a mixture, its sources.
        columns: Further columns of rows whose values are counted, beside those that often tell of rights and origins.
        html: Where to write the report as one page with pictures; nothing: nowhere.

    Raises:
        SourceError: When there is no text.
        ConfigError: When an option does not fit.
        ArtifactError: When the page cannot be written there.
        MissingExtraError: When a language is named as the reference, and `wordfreq` is not installed.
    """
    from whelp.corpus.measuring.meter import CorpusMeter

    page = find_page_place(html)
    sources = open_recipe_sources(_load(source, overrides))
    by, grouping = _group(sources, by)
    notes: list[str] = []
    _check_reference(reference)
    num_bytes = sum(one.source.num_bytes for one in sources)
    meter = CorpusMeter(grouping.names, identify=_open_identifier(notes), num_bytes=num_bytes)
    seen = _Seen()
    for batch in _iter_batches(sources, seen):
        meter.add(batch, grouping.find(batch))
    measured = meter.finish(_open_reference(reference, meter, notes))
    files = [file.label for one in sources for file in one.source.files]
    report = _compose(sources, seen, measured, files, by, count_columns(sources, as_list(columns)), notes, page)
    if page is not None:
        from whelp.report import make_corpus_report

        write_atomic(page, make_corpus_report(asdict(report)))
    return report


def _load(source: str | Path | Sequence[str | Path] | Mapping[str, Any] | Recipe, overrides: Sequence[str]) -> Recipe:
    """The data section that is meant: of a recipe, or of a source alone."""
    others = sorted(parse_overrides(overrides).keys() - {"data"})
    if others:
        raise ConfigError(COMMAND, [f"unknown section {others[0]}"], "Only data.field=value says how a source is read.")
    if isinstance(source, (Mapping, Recipe)) or (isinstance(source, (str, Path)) and Path(source).suffix in (".yaml", ".yml")):
        recipe = load_recipe(source, overrides)
    else:
        words = [str(word) for word in as_list(source)]
        recipe = load_recipe({"data": {"source": words if len(words) > 1 else words[0]}}, overrides)
    if any(config.conversation_template is not None for config in recipe.data.entries.values()):
        problem = "data.conversation_template needs a vocabulary, and there is none yet"
        raise ConfigError(COMMAND, [problem], "Set data.conversation_format=sender for the report.")
    return recipe


def _group(sources: list[OpenedSource], by: str | None) -> tuple[str, Grouping]:
    """What a group is, and the group of every file of all sources."""
    import numpy as np

    if len(sources) == 1:
        chosen = by or choose_grouping(sources[0].source)
        chosen = "file" if by is None and chosen == "language" else chosen  # a few files, whose names say more
        return chosen, make_grouping(sources[0].source, chosen, COMMAND)
    if by is not None:
        raise ConfigError(
            COMMAND, ["by is given, but the source is a mixture"], "Leave it out: a mixture is grouped by source."
        )
    sizes = [len(one.source.files) for one in sources]
    return "source", Grouping([str(one.name) for one in sources], np.repeat(np.arange(len(sources)), sizes))


class _Seen:
    """What came by on the way."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.splits: Counter[str] = Counter()

    def add(self, partition: Partition, num_empty: int) -> None:
        from whelp.corpus import count_skipped

        for kind, count in count_skipped(partition.skipped).items():
            self.skipped[f"files: {kind}"] += count
        for note, count in partition.notes.items():
            is_loss = note.startswith(("rows", "empty"))
            (self.skipped if is_loss else self.changed)[note] += count
        self.skipped["empty documents dropped"] += num_empty
        self.splits[partition.split] += partition.batch.num_rows - num_empty


def _iter_batches(sources: list[OpenedSource], seen: _Seen) -> Iterator[pa.RecordBatch]:
    """Documents as their templates lay them out: text, file_index (among the files of all sources) and line."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from whelp.prepare import make_template

    for one in sources:
        template = make_template(one.config, text_key=one.config.custom_text_key)
        for partition in one.source.iter_partitions(partition_bytes=_PARTITION_BYTES):
            batch = partition.batch
            texts = _join_pieces(template.segment(batch)) if batch.num_rows else pa.array([], pa.large_string())
            files = pc.add(batch.column("file_index"), pa.scalar(one.first_file, pa.int32()))
            laid_out = pa.RecordBatch.from_pydict({"text": texts, "file_index": files, "line": batch.column("line")})
            kept = laid_out.filter(pc.greater(pc.binary_length(texts), 0))
            seen.add(partition, laid_out.num_rows - kept.num_rows)
            yield kept


def _join_pieces(segments: Any) -> pa.LargeStringArray:
    """One text for each row: its pieces lie one after the other already."""
    import numpy as np
    import pyarrow as pa

    pieces = pa.concat_arrays([segments.texts])
    _, offset_buffer, data = pieces.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[pieces.offset : pieces.offset + len(pieces) + 1]
    joined = np.ascontiguousarray(offsets[segments.row_offsets])
    return pa.LargeStringArray.from_buffers(len(joined) - 1, pa.py_buffer(joined), data)


def _open_identifier(notes: list[str]) -> Identify | None:
    from whelp.corpus.measuring.languages import open_identifier

    try:
        return open_identifier()
    except MissingExtraError as error:
        notes.append(f"{error}")
        return None


def _check_reference(reference: str) -> None:
    """Find out before any work whether there is such a reference."""
    if reference not in (AUTO, NONE) and not _is_language(reference):
        from whelp.corpus import open_source

        open_source(SourceConfig(source=reference))


def _is_language(reference: str) -> bool:
    """Whether a word that is no path is the code of a language.

    Raises:
        ConfigError: When it looks like one that has no word list.
    """
    from whelp.corpus.measuring.reference import list_word_lists

    if not (reference.isascii() and reference.isalpha() and 2 <= len(reference) <= 3) or Path(reference).exists():
        return False
    known = list_word_lists()
    if reference not in known:
        problem = f"reference is {reference!r}, but expected a source, or a language with a word list: {', '.join(known)}"
        raise ConfigError(COMMAND, [problem])
    return True


def _open_reference(reference: str, meter: CorpusMeter, notes: list[str]) -> Reference | None:
    from whelp.corpus import iter_texts, open_source
    from whelp.corpus.measuring.reference import Reference, find_word_list, open_word_list
    from whelp.corpus.measuring.words import WordTable

    if reference == NONE:
        return None
    if reference == AUTO:
        language = meter.main_language or _DEFAULT_LANGUAGE
        try:
            found = find_word_list(language)
        except MissingExtraError as error:
            notes.append(f"{error}")
            return None
        if found is None:
            notes.append(f"words are held against no reference: there is no word list of the main language, {language}")
        return None if found is None else open_word_list(found)
    if _is_language(reference):
        return open_word_list(reference)
    source = open_source(SourceConfig(source=reference))
    table = WordTable()
    for texts in iter_texts(source):
        table.add(texts)
    if not table.num_distinct:
        raise SourceError(source.name, "has no words", "a text with words to compare with", "Choose another reference.")
    return Reference.of_table(source.name, table)


def count_columns(sources: list[OpenedSource], asked: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The values of some columns of rows, each read on its own.

    Raises:
        SourceError: When a column that was asked for is in no file.
    """
    found = {}
    for column in dict.fromkeys([*COLUMNS, *asked]):
        try:
            values = _count_column(sources, column, is_asked_for=column in asked)
        except SourceError as error:
            if column in asked:
                raise SourceError(f"--column {column}", str(error).rstrip(), "", "Name a column of text.") from None
            continue
        if values is not None:
            found[column] = values
        elif column in asked:
            raise SourceError(f"--column {column}", "there are no files of rows", "a source of rows", "Leave it out.")
    return found


def _count_column(sources: list[OpenedSource], column: str, *, is_asked_for: bool) -> dict[str, Any] | None:
    from whelp.corpus.measuring.values import ValueCounter

    counter, is_there, problem = ValueCounter(), False, None
    for one in sources:
        if one.source.document != "row" or one.config.custom_text_key == column:
            continue
        try:
            source = _open_column(one, column)
            if not is_asked_for:  # else every one of many files would be opened for each column that might be there
                few = dataclasses.replace(source, files=source.files[:_PROBED_FILES], _num_rows=[])
                any(partition.batch.num_rows for partition in few.iter_partitions())  # an error where none has it
            for partition in source.iter_partitions():
                counter.add(partition.batch.column("text"))
                is_there = True
        except SourceError as error:
            problem = error
    if problem is not None and not is_there:
        raise problem
    return counter.finish() if is_there else None


def _open_column(one: OpenedSource, column: str) -> Source:
    """A source of which one column is the text."""
    from whelp.corpus import TextShape, open_source

    config = read_column(one.config, column)
    if any(file.table is not None for file in one.source.files):  # the table may hold the columns alone that were asked for
        return open_source(config)
    return dataclasses.replace(
        one.source, config=config, shape=TextShape(column), _inspections={}, _fingerprints={}, _num_rows=[]
    )


def _compose(
    sources: list[OpenedSource],
    seen: _Seen,
    measured: Measured,
    files: list[str],
    by: str,
    columns: dict[str, dict[str, Any]],
    notes: list[str],
    page: Path | None,
) -> CorpusReport:
    """Everything in one object, with names of files for their numbers."""
    from whelp.corpus import count_skipped

    skipped = Counter(seen.skipped)
    for one in sources:
        for kind, count in count_skipped(one.source.skipped).items():
            skipped[f"files: {kind}"] += count

    def name(entry: dict[str, Any]) -> dict[str, Any]:
        return {**{key: value for key, value in entry.items() if key != "file_index"}, "file": files[entry["file_index"]]}

    values = {field.name: getattr(measured, field.name) for field in dataclasses.fields(measured)}
    groups = sorted(measured.groups, key=lambda group: -group["num_bytes"])
    values["groups"] = groups[:_MOST_GROUPS]
    values["duplicates"] = {**measured.duplicates, "most": [name(entry) for entry in measured.duplicates["most"]]}
    values["licences"] = {**measured.licences, "signs": [name(entry) for entry in measured.licences["signs"]]}
    return CorpusReport(
        source={
            "name": name_sources(sources),
            "num_files": len(files),
            "num_file_bytes": sum(one.source.num_bytes for one in sources),
            "document": " or ".join(dict.fromkeys(_UNITS.get(one.source.document, one.source.document) for one in sources)),
            "splits": dict(seen.splits),
        },
        skipped={reason: count for reason, count in skipped.most_common() if count},
        changed=dict(seen.changed.most_common()),
        by=by,
        num_groups=len(groups),
        columns=columns,
        notes=notes,
        html=None if page is None else str(page),
        **values,
    )
