"""`whelp tokenizer report` and `whelp tokenizer guide`: how good vocabularies are for a text, and which size to choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whelp.base.as_list import as_list
from whelp.base.config import load_config
from whelp.base.errors import ArtifactError, ConfigError
from whelp.base.files import write_atomic
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.grouping import Grouping, choose_grouping, make_grouping
from whelp.cli.tokenizer import choose_source
from whelp.corpus.config import SourceConfig
from whelp.model.config import ModelConfig, make_spec
from whelp.tokenizer.config import LearnConfig

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from whelp.corpus import Partition, Source
    from whelp.tokenizer.measuring.tolerant import Tolerant

DEFAULT_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True, kw_only=True)
class VocabularyReport(ResultRepr):
    """One vocabulary, held against the corpus. The fields of `use` are explained in `whelp.tokenizer.measuring.corpus.Use`.

    Attributes:
        first, last: The first and the last ids, single bytes left out: in most vocabularies those learned first and last.
        numbers: `{"text": "2026", "tokens": ["20", "26"]}`, and more of the kind.
        indents: How many tokens runs of 1 to 16 spaces and tabs cost, alone and within code.
        keywords: For each list of keywords how many are one token, alone or after a space, and which are neither.
        texts: The texts asked for: tokens with byte offsets, and the stages of the pipeline.
    """

    name: str
    kind: str
    vocab_size: int
    num_special: int
    fingerprint: str
    use: dict[str, Any]
    first: list[dict[str, Any]]
    last: list[dict[str, Any]]
    numbers: list[dict[str, Any]]
    indents: dict[str, list[int | None]]
    keywords: dict[str, dict[str, Any]]
    texts: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TokenizerReport(ResultRepr):
    """What `whelp tokenizer report` found. `split_words` holds, for each word, its tokens in every vocabulary, in order."""

    corpus: dict[str, Any]
    vocabularies: list[VocabularyReport]
    split_words: list[dict[str, Any]]
    html: str | None

    def _repr_html_(self) -> str:
        from whelp.cli.screens.result_tables import make_html
        from whelp.cli.screens.show_vocabulary import show_tokenizer_report

        return make_html(show_tokenizer_report, self)


def report_tokenizer(
    names: str | Path | Sequence[str | Path],
    *,
    corpus: str | Path | Sequence[str | Path] | SourceConfig,
    texts: str | Sequence[str] = (),
    by: str | None = None,
    max_bytes: int | None = None,
    html: str | Path | None = None,
) -> TokenizerReport:
    """Measure how good one or more vocabularies are for a corpus, side by side.

    Args:
        names: Vocabularies, as `load_tokenizer` takes them.
        corpus: `stdlib`, a file, a folder, a glob, a list of those, or a whole `SourceConfig`.
        texts: Texts to show cut into tokens, and passing the stages of each vocabulary.
        by: How documents are grouped: `language` (the first folder, or at the top the name of the file), `suffix`,
            `folder`, `file`, or `column:NAME` (a column of text in files of rows). By default `folder`; `language` where
            there is one folder with a few files.
        max_bytes: Read only every k-th document, so that about so many bytes are read from all over the corpus.
        html: Where to write the report as one page with pictures; nothing: nowhere.

    Raises:
        TokenizerError: When a name is no vocabulary.
        SourceError: When there is no text.
        ConfigError: When `by` is no grouping.
        ArtifactError: When the page cannot be written there.
    """
    from whelp.corpus import open_source
    from whelp.tokenizer import load_tokenizer, make_tolerant, measure_corpus
    from whelp.tokenizer.measuring.probes import cut_words

    given = as_list(names)
    labels = list(dict.fromkeys(str(name) for name in given))
    if not labels:
        raise ConfigError("whelp tokenizer report", ["no vocabulary is named"], "Name one or more, for example gpt2.")
    texts = as_list(texts)
    _check_texts(texts)
    page = find_page_place(html)
    tolerant = [make_tolerant(load_tokenizer(label)) for label in labels]
    source = open_source(choose_source(corpus, "whelp tokenizer report"))
    by = by or choose_grouping(source)
    grouping = make_grouping(source, by, "whelp tokenizer report")
    measured = measure_corpus(tolerant, _iter_batches(source, grouping, max_bytes), grouping.names)
    reports = [
        _describe_vocabulary(label, one, asdict(use), texts)
        for label, one, use in zip(labels, tolerant, measured.uses, strict=True)
    ]
    words = [entry["word"] for entry in measured.split_words]
    cuts = [cut_words(one, words) for one in tolerant]
    total = measured.uses[0].total
    report = TokenizerReport(
        corpus={
            "name": source.name,
            "num_documents": total.num_documents,
            "num_bytes": total.num_bytes,
            "num_words": total.num_words,
            "num_distinct_words": measured.num_distinct_words,
            "by": by,
        },
        vocabularies=reports,
        split_words=[{**entry, "tokens": [cut[number] for cut in cuts]} for number, entry in enumerate(measured.split_words)],
        html=None if page is None else str(page),
    )
    if page is not None:
        from whelp.report import make_vocabulary_report

        write_atomic(page, make_vocabulary_report(asdict(report)))
    return report


def _describe_vocabulary(label: str, tolerant: Tolerant, use: dict[str, Any], texts: Sequence[str]) -> VocabularyReport:
    from whelp.tokenizer.measuring.corpus import find_ends
    from whelp.tokenizer.measuring.probes import NUMBERS, count_indents, cut_words, find_keywords
    from whelp.tokenizer.measuring.stages import cut_text, trace_stages

    vocabulary = tolerant.vocabulary
    first, last = find_ends(tolerant)
    cut_numbers = zip(NUMBERS, cut_words(tolerant, NUMBERS), strict=True)
    return VocabularyReport(
        name=label,
        kind=vocabulary.kind,
        vocab_size=vocabulary.size,
        num_special=len(vocabulary.special_ids),
        fingerprint=vocabulary.fingerprint,
        use=use,
        first=first,
        last=last,
        numbers=[{"text": text, "tokens": tokens} for text, tokens in cut_numbers],
        indents=count_indents(tolerant),
        keywords=find_keywords(tolerant),
        texts=[{**cut_text(tolerant, text), "stages": trace_stages(tolerant, text)} for text in texts],
    )


def _check_texts(texts: Sequence[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            problem = f"{text!r} is not Unicode text (character {error.start})"
            raise ConfigError("--text", [problem], "Write it in the encoding of your terminal.") from None


def find_page_place(html: str | Path | None) -> Path | None:
    """Where a page goes, if one is asked for; that it can be written there is found out before any work.

    Raises:
        ArtifactError: When it cannot.
    """
    if html is None:
        return None
    page = as_path(html)
    if not page.absolute().parent.is_dir():
        raise ArtifactError(page, "there is no such folder", "a file in a folder that exists", "Make the folder first.")
    if page.is_dir():
        raise ArtifactError(page, "is a folder", "the name of a file", "Choose another --html.")
    return page


def _iter_batches(source: Source, grouping: Grouping, max_bytes: int | None) -> Iterator[tuple[Any, npt.NDArray[np.int64]]]:
    """Yield documents with the numbers of their groups."""
    step = 1 if max_bytes is None else max(1, -(-source.num_bytes // max(1, max_bytes)))
    num_seen = 0
    for partition in source.iter_partitions():
        batch = _take_every(partition, step, num_seen)
        num_seen += len(partition.batch)
        if len(batch):
            yield batch.column("text"), grouping.find(batch)


def _take_every(partition: Partition, step: int, num_seen: int) -> pa.RecordBatch:
    import pyarrow as pa

    if step == 1:
        return partition.batch
    return partition.batch.take(pa.array(np.arange(-num_seen % step, len(partition.batch), step)))


@dataclass(frozen=True, kw_only=True)
class GuideRow(ResultRepr):
    """What one vocabulary size costs and buys.

    Attributes:
        embedding_parameters: Of the embedding, which is the output layer, too, when the two are tied.
        untied_parameters: Of both, when they are not.
        embedding_share, untied_share: Their share of the whole model's parameters.
        num_tokens, bytes_per_token: Of the corpus.
        num_rare_ids: Ids that occur less than 100 times in the corpus: there is little to learn them from.
        softmax_flops: Forward computation of the output layer for one token. Its share of the whole is `embedding_share`.
        flops_per_byte: Forward computation of the whole model for a byte of text; attention between positions is left out.
    """

    vocab_size: int
    embedding_parameters: int
    untied_parameters: int
    embedding_share: float
    untied_share: float
    num_tokens: int
    bytes_per_token: float
    num_rare_ids: int
    softmax_flops: int
    flops_per_byte: float


@dataclass(frozen=True, kw_only=True)
class TokenizerGuide(ResultRepr):
    """What `whelp tokenizer guide` found: a row for each size, smallest first.

    `cheapest_vocab_size` is the one with the least computation for a byte of text.
    """

    corpus: dict[str, Any]
    model: dict[str, Any]
    rows: list[GuideRow]
    cheapest_vocab_size: int
    html: str | None

    def _repr_html_(self) -> str:
        from whelp.cli.screens.result_tables import make_html
        from whelp.cli.screens.show_vocabulary import show_tokenizer_guide

        return make_html(show_tokenizer_guide, self)


def guide_tokenizer(
    *,
    corpus: str | Path | Sequence[str | Path] | SourceConfig,
    n_embd: int,
    n_layer: int = 6,
    family: str = "qwen3",
    sizes: int | Sequence[int] = DEFAULT_SIZES,
    max_bytes: int | None = None,
    html: str | Path | None = None,
) -> TokenizerGuide:
    """Say what vocabularies of several sizes would cost and buy, for a corpus and a width of the model.

    Learns one byte-level BPE, of the largest size; a smaller one is its beginning.

    Args:
        corpus: `stdlib`, a file, a folder, a glob, a list of those, or a whole `SourceConfig`.
        sizes: Vocabulary sizes; those that the text is too small for are left out.
        max_bytes: Learn from and measure about so many bytes, from all over the corpus.
        html: Where to write the guide as one page with pictures; nothing: nowhere.

    Raises:
        SourceError: When there is no text.
        ConfigError: When a size or a width is impossible.
        ArtifactError: When the page cannot be written there.
    """
    from whelp.corpus import iter_texts, open_source
    from whelp.model.build import count_parameters
    from whelp.tokenizer import learn, shrink
    from whelp.tokenizer.smaller_vocabularies import measure_sizes

    page = find_page_place(html)
    asked = sorted(set(as_list(sizes)))
    if not asked:
        raise ConfigError("whelp tokenizer guide", ["no size is given"], "Example: --sizes 1024,4096,16384")
    configs = [load_config(LearnConfig, {"vocab_size": size}, "whelp tokenizer guide") for size in asked]
    num_heads = next(heads for heads in (8, 4, 2, 1) if n_embd % (2 * heads) == 0 or heads == 1)
    values = {"family": family, "n_layer": n_layer, "n_head": num_heads, "n_embd": n_embd}
    model = load_config(ModelConfig, values, "whelp tokenizer guide")
    source = open_source(choose_source(corpus, "whelp tokenizer guide"))
    largest = learn(iter_texts(source, max_bytes), configs[-1])
    reached = sorted({min(size, largest.size) for size in asked})
    measures = measure_sizes([shrink(largest, size) for size in reached], iter_texts(source, max_bytes))
    specs = [make_spec(model, num_ids=size, context_tokens=1) for size in reached]  # rows padded to 64, as training does
    body = count_parameters(specs[0]) - specs[0].vocab_size * n_embd
    rows = []
    for measure, spec in zip(measures, specs, strict=True):
        embedding = spec.vocab_size * n_embd
        rows.append(
            GuideRow(
                vocab_size=measure.vocab_size,
                embedding_parameters=embedding,
                untied_parameters=2 * embedding,
                embedding_share=embedding / (body + embedding),
                untied_share=2 * embedding / (body + 2 * embedding),
                num_tokens=measure.num_tokens,
                bytes_per_token=measure.bytes_per_token,
                num_rare_ids=measure.num_rare_ids,
                softmax_flops=2 * embedding,
                flops_per_byte=2 * (body + embedding) / measure.bytes_per_token,
            )
        )
    guide = TokenizerGuide(
        corpus={"name": source.name, "num_bytes": measures[0].num_bytes},
        model={"family": family, "n_layer": n_layer, "n_embd": n_embd, "body_parameters": body},
        rows=rows,
        cheapest_vocab_size=min(rows, key=lambda row: row.flops_per_byte).vocab_size,
        html=None if page is None else str(page),
    )
    if page is not None:
        from whelp.report import make_vocabulary_guide

        write_atomic(page, make_vocabulary_guide(asdict(guide)))
    return guide
