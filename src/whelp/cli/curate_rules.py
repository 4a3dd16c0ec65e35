"""What is asked of each source that is curated, with what the rules need of other rooms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.cli.mixture import OF_ALL_SOURCES, MixtureEntry
from whelp.curate.config import RULES, CurateConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from whelp.cli.prepare import OpenedSource
    from whelp.cli.recipe import Recipe
    from whelp.corpus import Source
    from whelp.curate import Pipeline
    from whelp.curate.rules.contamination import EvaluationIndex
    from whelp.prepare.template import Template
    from whelp.tokenizer.vocabulary import Vocabulary

# What the columns of sets of questions are usually called.
_EVALUATION_COLUMNS = (
    *("question", "answer", "prompt", "completion", "canonical_solution", "test", "problem", "solution", "instruction"),
    *("input", "output", "query", "passage", "context", "ctx", "goal", "sentence", "text"),
)


def make_pipelines(recipe: Recipe, opened: Sequence[OpenedSource], templates: Sequence[Template]) -> list[Pipeline]:
    """The rules of each source, with what they need of other rooms: templates, evaluation texts, vocabularies.

    Raises:
        MissingExtraError: When a rule needs a package that is not installed.
    """
    from whelp.curate import Pipeline

    index = _index_evaluations(recipe, opened)
    load = cache(_load_vocabulary)
    pipelines = []
    for one, template in zip(opened, templates, strict=True):
        config = _choose_rules(recipe, one)
        per_token = config.find("characters_per_token")
        vocabulary = None if per_token is None else load(per_token.tokenizer)
        pipelines.append(Pipeline(config, index=index, vocabulary=vocabulary, join=template.join_values))
        _ = pipelines[-1].rules  # what is missing, or wrong, is said before anything is read
    return pipelines


def _choose_rules(recipe: Recipe, one: OpenedSource) -> CurateConfig:
    """What is asked of a source: its own rules, or those of the section; rows are written and compared as the section says."""
    section = recipe.curate
    own = one.config.curate if isinstance(one.config, MixtureEntry) else None
    if own is None:
        return section
    shared: dict[str, Any] = {name: getattr(section, name) for name in OF_ALL_SOURCES if name not in RULES}
    shared |= {name: section.find(name) or False for name in OF_ALL_SOURCES if name in RULES}
    shared["exact_duplicates"] = bool(shared["exact_duplicates"])
    return dataclasses.replace(own, **shared)


def _load_vocabulary(name: str) -> Vocabulary:
    from whelp.tokenizer import load_tokenizer

    return load_tokenizer(name)


def _index_evaluations(recipe: Recipe, opened: Sequence[OpenedSource]) -> EvaluationIndex | None:
    """Index the texts to decontaminate against; None where there are none."""
    from whelp.corpus import SourceConfig, iter_texts, open_source
    from whelp.curate import make_index

    asked = recipe.curate.find("decontaminate")
    if asked is None:
        return None
    sets: dict[str, Iterator[pa.LargeStringArray]] = {}
    for name in asked.against:
        found = open_source(SourceConfig(source=name, on_bad_rows="skip"), _EvaluationShape())
        sets[Path(name).name] = iter_texts(found)
    own = [one.source for one in opened if any(file.split == "test" for file in one.source.files)]
    if asked.own_test_split and own:
        sets["the test split"] = chain.from_iterable(_iter_test_texts(source, recipe.curate.keep_columns) for source in own)
    return make_index(sets, asked.num_words) if sets else None


def _iter_test_texts(source: Source, keep: Sequence[str]) -> Iterator[pa.LargeStringArray]:
    from whelp.corpus.columns import iter_leaves

    for partition in source.iter_partitions():
        if partition.split == "test":
            texts = [name for name in partition.batch.schema.names if name not in {"file_index", "line", *keep}]
            for leaf, _ in iter_leaves(partition.batch.select(texts)):
                yield leaf.drop_null()


class _EvaluationShape:
    """The columns that sets of questions usually have; a file without any is read for its one column of text."""

    def __init__(self) -> None:
        import pyarrow as pa

        self.schema = pa.schema([(name, pa.large_string()) for name in _EVALUATION_COLUMNS])
        self.companions: dict[str, str] = {}
        self.named: dict[str, str] = {}

    def find_bad(self, rows: pa.RecordBatch) -> dict[int, Any]:
        """None: a question without an answer is one, too."""
        return {}
