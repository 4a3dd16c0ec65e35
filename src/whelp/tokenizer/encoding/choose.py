"""Which engine encodes: the fastest one that agrees with the reference on a sample made to be nasty."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from whelp.base.arrays import to_texts
from whelp.base.hashing import hash_bytes
from whelp.base.log import log
from whelp.tokenizer._arrow import Encoded, Texts
from whelp.tokenizer._cache import keep, read_cached
from whelp.tokenizer._specification import dump_json
from whelp.tokenizer.encoding.borders import find_borders
from whelp.tokenizer.encoding.comparison import BROAD, NASTY, describe_failure, surround
from whelp.tokenizer.encoding.engine import Engine
from whelp.tokenizer.encoding.engines import FastEngine, PatternEngine, ReferenceEngine
from whelp.tokenizer.encoding.long_texts import PartwiseEngine, can_cut
from whelp.tokenizer.encoding.new_letters import AgreeingEngine
from whelp.tokenizer.encoding.normalizing import NORMAL_FORMS, NormalizingEngine
from whelp.tokenizer.encoding.pieces import PiecewiseEngine
from whelp.tokenizer.encoding.wordwise import WordwiseEngine

_KEPT_FROM_IDS = 16_384  # smaller ones are compared in no time
# package -> engine, the fastest first
_FAST: dict[str, type[FastEngine] | type[PatternEngine]] = {"gigatoken": FastEngine, "fastokens": PatternEngine}
_PECULIARITIES = ("single_word", "lstrip", "rstrip")  # of added tokens, which want to know what stands beside them


def open_engine(
    specification: dict[str, Any],
    open_reference: Callable[[], Tokenizer],
    literals: Sequence[str],
    id_type: type[np.uint16] | type[np.uint32],
    name: str,
    model_json: str | None = None,
) -> Engine:
    """Open the first fast engine that agrees with the reference on the nasty sample and on `literals`, else the reference.

    The comparison of a large vocabulary takes a second, most of it to build the reference; that it went well is kept.

    Args:
        model_json: The text of `specification["model"]`, where it is at hand: writing it again takes as long as encoding 20 MB.
    """
    peculiar = [entry["content"] for entry in specification["added_tokens"] if any(map(entry.get, _PECULIARITIES))]
    sample = [*NASTY, *(f"a {literal}{literal} b\n{literal}" for literal in literals), *map(surround, peculiar[:64])]
    if specification["model"].get("type", "BPE") != "BPE":  # no fast engine knows other kinds
        return _open_wordwise(specification, open_reference(), sample)
    written = _write(specification, model_json)
    is_large = len(specification["model"]["vocab"]) > _KEPT_FROM_IDS
    find_reference = functools.cache(lambda: ReferenceEngine(open_reference()))
    problem = ""
    for package, kind in _FAST.items():
        if importlib.util.find_spec(package) is None:
            problem += '; `pip install "whelp[patterns]"` may help'
            continue
        is_cut = kind is FastEngine and can_cut(specification)
        texts = [*sample, *BROAD] if kind is PatternEngine else sample  # what the classes of a pattern hold is its own matter
        record = _name_record(package, written, texts, is_cut) if is_large else None
        has_agreed = record is not None and read_cached(record) is not None
        try:
            opened = _open_fast(kind, specification, written, model_json)
            fast = AgreeingEngine(opened, lambda: ReferenceEngine(open_reference()))
            differs = None if has_agreed else _compare(fast, find_reference(), texts, is_cut=is_cut)
        except BaseException as error:
            problem = problem or f"the fast encoder cannot read it ({describe_failure(error)})"
            continue
        if differs is None:
            if record is not None and not has_agreed:
                keep(record, name)
            return _divide_work(fast, id_type, is_cut=is_cut) if kind is FastEngine else fast
        problem = problem or f"the fast encoder differs from the reference at {differs!r:.40}"
    log.warning("%s: %s; encoding with the slow one.", name, problem)
    return find_reference()


def _compare(fast: Engine, reference: Engine, texts: Sequence[str], *, is_cut: bool) -> str | None:
    """The first text of which the two give different ids, also when it is cut wherever it may be; or None."""
    strings = to_texts(texts)
    differs = _find_difference(fast, reference, strings)
    if differs is None and is_cut:
        differs = _find_difference(PartwiseEngine(fast, part_bytes=1), reference, strings)
    return differs


def _divide_work(fast: Engine, id_type: type[np.uint16] | type[np.uint32], *, is_cut: bool) -> Engine:
    """The same, on pieces of a batch and, where they may be cut, on parts of long texts."""
    piecewise = PiecewiseEngine(fast, id_type)
    return PartwiseEngine(piecewise) if is_cut else piecewise


def _open_wordwise(specification: dict[str, Any], tokenizer: Tokenizer, sample: Sequence[str]) -> Engine:
    """The reference behind a memory of words, where it is certain that texts may be cut into words; else the reference."""
    reference = ReferenceEngine(tokenizer)
    normalizer = tokenizer.normalizer
    added = {entry["content"] for entry in specification["added_tokens"]}
    hidden = [entry.content for entry in tokenizer.get_added_tokens_decoder().values() if entry.content not in added]
    borders = find_borders(specification, normalizer.normalize_str if normalizer else str, hidden)
    if borders is None:
        return reference
    wordwise = WordwiseEngine(reference, borders)
    strings = to_texts(sample)
    try:
        reference.encode_batch(strings)
    except Exception:  # there is no id for the unknown: nothing to compare; what `tokenizers` raises has no type of its own
        return PartwiseEngine(wordwise)
    return PartwiseEngine(wordwise) if _find_difference(wordwise, reference, strings) is None else reference


def _open_fast(
    engine: type[FastEngine] | type[PatternEngine], specification: dict[str, Any], written: str, model_json: str | None
) -> Engine:
    form = (specification.get("normalizer") or {}).get("type")
    if form in NORMAL_FORMS and all(not entry["special"] for entry in specification["added_tokens"]):
        return NormalizingEngine(engine(_write({**specification, "normalizer": None}, model_json)), form)
    return engine(written)


def _find_difference(fast: Engine, reference: Engine, strings: Texts) -> str | None:
    """The first text of which the two give different ids, or None."""
    found, expected = fast.encode_batch(strings), reference.encode_batch(strings)
    if all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
        return None
    rows = range(len(strings))
    row = next(row for row in rows if not np.array_equal(_read_row(found, row), _read_row(expected, row)))
    return str(strings[row].as_py())


def _read_row(encoded: Encoded, row: int) -> Any:
    ids, offsets = encoded
    return ids[offsets[row] : offsets[row + 1]]


def _write(specification: dict[str, Any], model_json: str | None) -> str:
    if model_json is None:
        model_json = dump_json(specification["model"])
    rest = dump_json({name: value for name, value in specification.items() if name != "model"})
    return f'{rest[:-1]}{"," if len(rest) > 2 else ""}"model":{model_json}}}'


def _name_record(package: str, written: str, sample: Sequence[str], is_cut: bool) -> str:
    """What is kept when a comparison went well: named by all that it depends on."""
    versions = [importlib.metadata.version(name) for name in (package, "tokenizers")]
    return f"{hash_bytes(json.dumps([package, versions, sample, is_cut]).encode(), written.encode())}.agrees"
