"""The vocabulary of a recipe: loaded, or learned from its sources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import to_arrow
from whelp.corpus import iter_texts
from whelp.prepare.template import Template, make_template
from whelp.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from whelp.cli.prepare import OpenedSource
    from whelp.cli.recipe import Recipe
    from whelp.tokenizer.config import LearnConfig
    from whelp.tokenizer.vocabulary import Vocabulary

_WRITE_ANY_TEXT = ("bpe", "unigram")


def make_vocabulary(recipe: Recipe, opened: Sequence[OpenedSource]) -> tuple[Vocabulary, bool]:
    """Load the recipe's vocabulary, or learn it from the sources; true when it was learned.

    Sources of a mixture count by how much text they have, not by weight: another weight leaves the vocabulary as it is.
    """
    asked = recipe.data.tokenizer
    if isinstance(asked, str):
        return load_tokenizer(asked), False
    from whelp.tokenizer import learn  # it imports all learners

    return learn(_iter_all_texts(opened, asked), asked), True


def _iter_all_texts(opened: Sequence[OpenedSource], config: LearnConfig) -> Iterator[pa.LargeStringArray]:
    """The texts of all sources; `max_bytes` of them are taken evenly from all over.

    A vocabulary that cannot write every text learns from rows as their templates write them, with what the recipe puts between
    columns and turns; any other learns from what the rows say.
    """
    num_bytes = max(sum(one.source.num_bytes for one in opened), 1)
    for one in opened:
        most = None if config.max_bytes is None else max(config.max_bytes * one.source.num_bytes // num_bytes, 1)
        if config.retrain or config.learn in _WRITE_ANY_TEXT:
            yield from iter_texts(one.source, most)
            continue
        template = make_template(one.config, text_key=one.config.custom_text_key, vocabulary=_NotYetLearned(config))
        control = "|".join(map(re.escape, sorted(config.control_tokens(), key=len, reverse=True)))
        yield from iter_texts(one.source, most, read=partial(_iter_written, template, control))


def _iter_written(template: Template, control: str, rows: pa.RecordBatch) -> Iterator[pa.LargeStringArray]:
    """The texts of rows as a template writes them, without the control tokens that it means."""
    pieces = template.segment(rows)
    if pieces.is_control is None or not pieces.is_control.any():
        yield pieces.texts
        return
    is_control = to_arrow(pieces.is_control)
    yield pieces.texts.filter(pc.invert(is_control))
    parts = pc.split_pattern_regex(pieces.texts.filter(is_control), control).flatten()
    yield parts.cast(pa.large_string())


class _NotYetLearned:
    """What a template asks of a vocabulary, of one that is to be learned: its control tokens, the first of which ends a text."""

    eos_id = bos_id = 0

    def __init__(self, config: LearnConfig) -> None:
        self._tokens = config.control_tokens()
        self.special_ids = frozenset(range(len(self._tokens)))
        self.chat_template = config.chat_template()

    def id_of(self, token: str) -> int | None:
        return self._tokens.index(token) if token in self._tokens else None

    def token_text(self, token_id: int) -> str:
        return self._tokens[token_id]
